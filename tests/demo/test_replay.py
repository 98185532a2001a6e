"""What the application saw is told as it was, through the real SDK against a provider that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from demo.result import Outcome, Result
from demo.trace import Row

from demo import replay, workload
from turnout_operator.sim import Sim

# The application names a route; here the provider has a model of that name.
PROFILE = {
    "models": [{"name": name, "prices": {"input": "1", "output": "1"}} for name in ("support-answer", "case-draft")]
}


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim(profile=PROFILE) as provider:
        yield provider


def _asks(count: int) -> tuple[workload.Ask, ...]:
    return workload.asks(tuple(Row(0, 60, 20) for _ in range(count)), speed=1, sidecars=1)


def _results(sim: Sim, count: int = 5) -> dict[bool, list[Result]]:
    """By whether it was a stream."""
    heard: list[Result] = []

    async def run() -> None:
        client = replay.client(sim.openai_url).with_options(max_retries=0)
        await replay.replay(_asks(count), [client], heard.append)
        await client.close()

    asyncio.run(run())
    assert len(heard) == count
    return {kind: [r for r in heard if r.ask.stream is kind] for kind in (True, False)}


def _break(sim: Sim, *effects: dict[str, Any]) -> None:
    sim.set_script({"rules": [{"effects": list(effects)}]})


def test_whole_answers_are_answered_with_all_their_tokens(sim: Sim) -> None:
    found = _results(sim)
    assert {(r.outcome, r.tokens, r.finish) for r in [*found[True], *found[False]]} == {(Outcome.ANSWERED, 20, "stop")}


def test_only_streams_have_a_time_to_first_token(sim: Sim) -> None:
    found = _results(sim)
    assert all(r.first_token_ms is not None and r.first_token_ms <= r.total_ms for r in found[True])
    assert all(r.first_token_ms is None for r in found[False])


def test_a_stream_that_ends_cleanly_in_the_middle_is_short(sim: Sim) -> None:
    _break(sim, {"cut": {"chunks": 3, "ending": "Clean"}})
    assert {r.outcome for r in _results(sim)[True]} == {Outcome.SHORT}


def test_a_stream_without_its_last_words_but_with_a_finish_reason_is_short(sim: Sim) -> None:
    _break(sim, {"answer": {"text": "too little", "finishReason": "stop"}})
    found = _results(sim)
    assert {r.outcome for r in [*found[True], *found[False]]} == {Outcome.SHORT}


def test_a_stream_that_is_reset_is_broken_and_not_short(sim: Sim) -> None:
    _break(sim, {"reset": {"at": "AfterChunks", "chunks": 3}})
    assert {r.outcome for r in _results(sim)[True]} == {Outcome.BROKEN}


def test_a_stream_that_says_an_error_is_broken_and_not_short(sim: Sim) -> None:
    _break(sim, {"errorEvent": {"chunks": 3, "message": "overloaded"}})
    assert {r.outcome for r in _results(sim)[True]} == {Outcome.BROKEN}


def test_a_refusal_tells_its_status_and_code(sim: Sim) -> None:
    _break(sim, {"status": {"code": 429, "errorCode": "budget_exhausted"}})
    found = _results(sim)
    assert {(r.outcome, r.status, r.code) for r in [*found[True], *found[False]]} == {
        (Outcome.REFUSED, 429, "budget_exhausted")
    }


def test_no_answer_at_all_is_lost(sim: Sim) -> None:
    sim.down()
    found = _results(sim)
    assert {r.outcome for r in [*found[True], *found[False]]} == {Outcome.LOST}
