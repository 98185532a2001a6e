"""What the official openai SDK makes of the engine's answers, in real Envoy: it must neither retry nor take a cut for success."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import openai
import pytest

from turnout_testing import waiting
from turnout_testing.realbed import RealBed
from turnout_testing.scenario import parse

pytestmark = pytest.mark.envoy

_Result = TypeVar("_Result")
MESSAGES: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[RealBed]:
    bed = RealBed(tmp_path)
    yield bed
    bed.close()


def say(bed: RealBed, *lines: str) -> None:
    for line in lines:
        bed.run(parse(line)[0].commands[0])


def client(bed: RealBed, name: str = "sdk") -> openai.OpenAI:
    return openai.OpenAI(base_url=bed.foreign(name), api_key="not-used", timeout=30)


def meanwhile(call: Callable[[], _Result]) -> "Future[_Result]":
    """The call on a thread of its own, while the test plays the provider."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as e:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(e)

    threading.Thread(target=run, daemon=True).start()
    return future


def streamed(sdk: openai.OpenAI) -> list[openai.types.chat.ChatCompletionChunk]:
    return list(sdk.chat.completions.create(model="answer", messages=MESSAGES, stream=True))


def test_a_degraded_answer_names_who_served_and_why(bed: RealBed) -> None:
    say(bed, "policy retry=none")
    sdk = client(bed)
    answer = meanwhile(lambda: sdk.chat.completions.with_raw_response.create(model="answer", messages=MESSAGES))
    say(bed, "upstream 1 refusal server_error status=500", 'upstream 2 answer "Hi" 9 2')
    raw = answer.result(30)
    assert raw.headers["x-turnout-degraded"] == "Unavailable"
    completion = raw.parse()
    assert completion.model == "qwen"
    assert (completion.model_extra or {})["turnout"]["to"] == "local"


def test_a_stream_is_read_to_its_end(bed: RealBed) -> None:
    say(bed, "policy")
    sdk = client(bed)
    answer = meanwhile(lambda: streamed(sdk))
    say(bed, "upstream 1 role", 'upstream 1 chunk "Hel"', 'upstream 1 chunk "lo"', "upstream 1 finish")
    say(bed, "upstream 1 usage 9 2", "upstream 1 done end")
    assert "".join(c.choices[0].delta.content or "" for c in answer.result(30)) == "Hello"


def test_a_stream_of_an_anthropic_provider_is_read_to_its_end(bed: RealBed) -> None:
    say(bed, "policy order=claude")
    sdk = client(bed)
    answer = meanwhile(lambda: streamed(sdk))
    say(bed, "upstream 1 role", 'upstream 1 chunk "Hel"', 'upstream 1 chunk "lo"', "upstream 1 finish")
    say(bed, "upstream 1 done end")
    chunks = answer.result(30)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello"
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("end", ["reset", "end", "error server_error"])
def test_a_broken_stream_raises_and_is_not_taken_for_success(bed: RealBed, end: str) -> None:
    say(bed, "policy")
    sdk = client(bed)
    seen: list[openai.types.chat.ChatCompletionChunk] = []
    answer = meanwhile(lambda: seen.extend(sdk.chat.completions.create(model="answer", messages=MESSAGES, stream=True)))
    say(bed, "upstream 1 role", 'upstream 1 chunk "Hel"')
    waiting.until(lambda: len(seen) >= 2, what="the client to have the first content", within=30)
    say(bed, f"upstream 1 {end}")
    with pytest.raises((openai.APIError, openai.APIConnectionError)):
        answer.result(30)
    assert bed.attempts("sdk") == 1, "nobody takes over, and the SDK does not ask again"


def test_an_exhausted_budget_is_asked_for_once(bed: RealBed) -> None:
    say(bed, "policy limit.day=1", "grant day 0.000001 of=0.000001 exhausted")
    with pytest.raises(openai.RateLimitError) as told:
        client(bed).chat.completions.create(model="answer", messages=MESSAGES)
    assert told.value.code == "budget_exhausted"
    assert told.value.type == "insufficient_quota"
    assert told.value.response.headers["x-should-retry"] == "false"
    assert "x-stainless-retry-count" in told.value.request.headers
    assert told.value.request.headers["x-stainless-retry-count"] == "0"


def test_a_held_budget_is_asked_for_again(bed: RealBed) -> None:
    say(bed, "policy limit.day=1 lease_wait=1ms hold_wait=1ms")
    with pytest.raises(openai.RateLimitError) as told:
        client(bed).chat.completions.create(model="answer", messages=MESSAGES)
    assert told.value.code == "budget_held"
    assert told.value.request.headers["x-stainless-retry-count"] == "2", "the SDK's own two retries"


def test_an_unavailable_route_is_asked_for_once(bed: RealBed) -> None:
    say(bed, "policy path.Unavailable=503 retry=none", "provider small gone")
    with pytest.raises(openai.InternalServerError) as told:
        client(bed).chat.completions.create(model="answer", messages=MESSAGES)
    assert told.value.code == "upstream_unavailable"
    assert told.value.request.headers["x-stainless-retry-count"] == "0"


def test_the_models_are_the_routes(bed: RealBed) -> None:
    say(bed, "policy")
    assert [(m.id, m.owned_by) for m in client(bed).models.list()] == [("answer", "team-support")]


def test_an_unknown_model_is_not_found(bed: RealBed) -> None:
    say(bed, "policy")
    with pytest.raises(openai.NotFoundError) as told:
        client(bed).chat.completions.create(model="gpt-5", messages=MESSAGES)
    assert told.value.code == "model_not_found"
