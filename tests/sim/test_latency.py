"""The profile's waits stand where a provider's stand, and pacing changes no byte."""

import re
from typing import Any

import pytest

from turnout_operator.sim import Sim
from turnout_testing.rawwire import RawClient, request, split_head

DELTA = b'"delta":{"content":'


def profile(first: str, inter: str, **more: Any) -> dict[str, Any]:
    latency = {"firstToken": {"fixed": first}, "interToken": {"fixed": inter}}
    return {"models": [{"name": "m", "prices": {"input": "1", "output": "1"}, "latency": latency}], **more}


def ask(*, stream: bool) -> bytes:
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "[sim:output=7]"}]}
    return request("/v1/chat/completions", body)


def test_the_first_token_is_waited_for_after_head_and_role() -> None:
    with Sim(profile=profile("1h", "0s")) as sim, RawClient(sim.host, sim.port) as client:
        client.send(ask(stream=True))
        assert b'"role":"assistant"' in client.read_until(b"}\n\n\r\n")
        assert client.is_silent()
        assert DELTA not in client.seen


def test_each_later_token_is_waited_for() -> None:
    with Sim(profile=profile("1ms", "1h")) as sim, RawClient(sim.host, sim.port) as client:
        client.send(ask(stream=True))
        assert client.read_until(DELTA).count(DELTA) == 1
        assert client.is_silent()


def test_a_plain_answer_waits_for_all_its_tokens_before_its_head() -> None:
    with Sim(profile=profile("0s", "1h")) as sim, RawClient(sim.host, sim.port) as client:
        client.send(ask(stream=False))
        sim.wait_for(lambda server: server.state().in_flight == 1)
        assert client.is_silent()
        assert client.seen == b""


@pytest.mark.parametrize("more", [{}, {"eventsPerWrite": 4}, {"tokensPerChunk": 3}])
@pytest.mark.parametrize("stream", [True, False])
def test_waits_and_joined_writes_change_neither_answer_nor_bill(more: dict[str, Any], stream: bool) -> None:
    answers, bills = [], []
    for first, inter in (("0s", "0s"), ("2ms", "1ms")):
        with Sim(profile=profile(first, inter, **more)) as sim, RawClient(sim.host, sim.port) as client:
            client.send(ask(stream=stream))
            answer = split_head(client.read_until(b"0\r\n\r\n" if stream else b"}}}"))[2]
            answers.append(re.sub(rb'"created":[0-9]+', b"", answer))
            bills.append(sim.bill())
    assert answers[0] == answers[1]
    assert answers[0].count(DELTA) == (0 if not stream else 3 if "tokensPerChunk" in more else 7)
    assert bills[0] == bills[1]
    assert bills[0].output_tokens == 7
