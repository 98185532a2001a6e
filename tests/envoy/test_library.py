"""The library in real Envoy: it loads, it refuses a foreign Envoy, it says what is wrong with a machine that cannot build it."""

import httpx
from turnout_testing.envoy import Envoy


def test_an_answer_passes_whole_through_the_engine(double: Envoy, upstream) -> None:
    answer = httpx.post(f"http://127.0.0.1:{double.port('in')}/v1/chat/completions", content=b'{"a":1}')
    assert answer.status_code == 200
    assert answer.json() == {"answer": "x" * 300}
    assert answer.headers["x-genuine"] == "True"
    assert answer.headers["x-retry"] == "7"
    assert upstream.seen[0][":body"] == '{"a":1}'
    assert upstream.seen[0]["host"] == "up.test"
    assert upstream.seen[0]["content-length"] == "7"
