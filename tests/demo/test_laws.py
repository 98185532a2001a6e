"""A demo that went wrong says so: each law of it, broken once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from demo.books import NANO, Balance, Charges, Limit
from demo.drill import Drill
from demo.result import Outcome, Result
from demo.trace import Row

from demo import laws, workload
from turnout_operator.sim.bill import Line

ASKS = workload.asks((Row(0, 30, 5),) * 4, speed=1, sidecars=2)
DRILL = Drill(
    name="d",
    route="support-answer",
    fault="Unavailable",
    verdict="Passed",
    expected=("small:Unavailable", "local:ok"),
    observed=("small:Unavailable", "local:ok"),
    samples=6,
    cost=7,
    words="",
)
ANSWERED = Result(ask=ASKS[0], outcome=Outcome.ANSWERED, status=200, candidate="small", finish="stop")
FELL_BACK = replace(ANSWERED, ask=ASKS[2], candidate="local", degraded="Unavailable", step="candidate:local")
RAN_OUT = Result(ask=ASKS[3], outcome=Outcome.REFUSED, status=429, code="budget_exhausted")
RESULTS = (ANSWERED, FELL_BACK, RAN_OUT)
LIMIT = Limit(route="support-answer", name="day", tenant="", amount=NANO)
BALANCE = Balance(limit=LIMIT, spent=900, held=100, billed=900)


def _line(tag: str, model: str, cost: int = 0) -> Line:
    return Line(key="k", model=model, tag=tag, requests=1, cost_nano_usd=cost)


CHARGES = (
    Charges(provider="openai", lines=(_line(ASKS[0].tag, "gpt-5-mini", 900),)),
    Charges(provider="vllm", lines=(_line(ASKS[2].tag, "qwen3-8b"),)),
)


def test_a_demo_in_which_all_went_well_has_broken_nothing() -> None:
    assert laws.breaches(RESULTS, (BALANCE,), CHARGES, DRILL) == ()


@pytest.mark.parametrize(
    ("balance", "words"),
    [
        (replace(BALANCE, billed=NANO + 1, spent=NANO + 1), "the providers billed"),
        (replace(BALANCE, held=NANO), "the ledger gave out"),
        (replace(BALANCE, billed=901), "the ledger knows of"),
    ],
)
def test_a_budget_that_did_not_hold_is_told(balance: Balance, words: str) -> None:
    (breach, *_) = laws.breaches(RESULTS, (balance,), CHARGES, DRILL)
    assert breach.startswith("budget: support-answer day")
    assert any(words in b for b in laws.breaches(RESULTS, (balance,), CHARGES, DRILL))


def test_a_limit_over_two_windows_may_be_spent_twice() -> None:
    twice = replace(BALANCE, spent=2 * NANO, held=0, billed=2 * NANO, windows=2)
    assert laws.breaches(RESULTS, (twice,), CHARGES, DRILL) == ()


def test_bills_of_nothing_prove_nothing() -> None:
    free = (Charges(provider="openai", lines=(_line(ASKS[0].tag, "gpt-5-mini"),)), CHARGES[1])
    assert laws.breaches(RESULTS, (BALANCE,), free, DRILL) == (
        "budget: no provider billed anything, so nothing was compared",
    )


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (replace(ANSWERED, outcome=Outcome.SHORT), "ended as if whole"),
        (replace(ANSWERED, outcome=Outcome.LOST, status=0, code="APIConnectionError"), "got no answer at all"),
        (replace(ANSWERED, outcome=Outcome.REFUSED, status=500, code="internal_error"), "for no declared reason"),
        (replace(FELL_BACK, degraded=""), "did not say so"),
        (replace(FELL_BACK, step=""), "named no step"),
    ],
)
def test_an_answer_that_breaks_a_promise_is_told(result: Result, words: str) -> None:
    found = [b for b in laws.breaches((*RESULTS, result), (BALANCE,), CHARGES, DRILL) if words in b]
    assert len(found) == 1
    assert f"#{result.ask.number}" in found[0]


def test_an_answer_that_claims_the_first_choice_is_checked_against_the_bills() -> None:
    lying = replace(ANSWERED, ask=ASKS[2])  # billed by the fallback only
    assert any("did not say so" in b for b in laws.breaches((*RESULTS, lying), (BALANCE,), CHARGES, DRILL))


def test_a_refusal_by_a_declared_step_and_a_broken_stream_that_says_so_are_in_order() -> None:
    step = Result(ask=ASKS[1], outcome=Outcome.REFUSED, status=503, code="upstream_unavailable", degraded="Unavailable")
    broken = Result(ask=ASKS[1], outcome=Outcome.BROKEN, status=200, code="upstream_unavailable")
    assert laws.breaches((*RESULTS, step, broken), (BALANCE,), CHARGES, DRILL) == ()


@pytest.mark.parametrize("verdict", ["Failed", "Inconclusive", ""])
def test_a_drill_that_did_not_pass_is_told_with_its_reason(verdict: str) -> None:
    drill = replace(DRILL, verdict=verdict, words="probe 3: expected local")
    (breach,) = laws.breaches(RESULTS, (BALANCE,), CHARGES, drill)
    assert "probe 3: expected local" in breach


def test_probes_that_cost_more_than_the_drill_says_are_told() -> None:
    probes = (*CHARGES, Charges(provider="openai", lines=(_line("", "gpt-5-mini", 8),)))
    (breach,) = laws.breaches(RESULTS, (BALANCE,), probes, DRILL)
    assert breach.startswith("drill: its probes were billed")


def test_a_demo_in_which_nothing_ran_out_or_nothing_fell_back_proves_nothing() -> None:
    assert laws.breaches((ANSWERED, FELL_BACK), (BALANCE,), CHARGES, DRILL) == ("nothing proven: no budget ran out",)
    (breach,) = laws.breaches((ANSWERED, RAN_OUT), (BALANCE,), CHARGES, DRILL)
    assert "fell back" in breach


def test_a_fallback_because_of_the_budget_is_no_outage() -> None:
    over = replace(FELL_BACK, degraded="OverBudget")
    assert laws.ran_out(over)
    assert not laws.fell_back(over)
