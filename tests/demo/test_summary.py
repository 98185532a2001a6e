"""Figures are measured values, money is never shown smaller than it is, and the table can be drawn."""

import io
from dataclasses import replace

import msgspec
import pytest
from demo.books import NANO, Balance, Charges, Limit
from demo.drill import Drill
from demo.result import Outcome, Result
from demo.summary import Summary
from demo.trace import Row
from rich.console import Console

from demo import summary, tables, workload

ASKS = workload.asks((Row(0, 30, 5),) * 6, speed=1, sidecars=2)
DRILL = Drill(
    name="support-answer-x",
    route="support-answer",
    fault="Unavailable",
    verdict="Passed",
    expected=("small:Unavailable", "local:ok"),
    observed=("small:Unavailable", "local:ok"),
    samples=6,
    cost=7,
    words="",
)


@pytest.fixture
def made() -> Summary:
    stream, plain = ASKS[0], replace(ASKS[0], number=9, stream=False)
    answered = Result(ask=stream, outcome=Outcome.ANSWERED, status=200, candidate="small", total_ms=100)
    results = (
        replace(answered, first_token_ms=10.0, clamped=70),
        replace(answered, first_token_ms=30.0, total_ms=300),
        replace(answered, ask=plain, total_ms=200),
        replace(answered, candidate="local", degraded="Unavailable", step="candidate:local", first_token_ms=5.0),
        Result(ask=stream, outcome=Outcome.REFUSED, status=429, code="budget_exhausted"),
        Result(ask=stream, outcome=Outcome.REFUSED, status=429, code="budget_exhausted"),
    )
    limit = Limit(route="support-answer", name="day", tenant="", amount=NANO // 50)
    balance = Balance(limit=limit, spent=19_634_251, held=0, billed=19_634_250)
    return summary.summarise(
        results, (balance,), (Charges(provider="openai", lines=()),), DRILL, "NAMESPACE  NAME", ("budget: x",)
    )


@pytest.mark.parametrize(("share", "value"), [(0.5, 5), (0.95, 10), (0.0, 1), (1.0, 10)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert summary.percentile(range(10, 0, -1), share) == value


def test_there_is_no_percentile_of_nothing() -> None:
    assert summary.percentile([], 0.5) is None


def test_a_nano_dollar_is_shown_as_a_millionth() -> None:
    assert summary.usd(1) == "0.000001"
    assert summary.usd(NANO) == "1.000000"


def test_answers_are_told_by_route_who_served_and_why(made: Summary) -> None:
    assert [(s.candidate, s.why, s.answers) for s in made.served] == [("small", "", 3), ("local", "Unavailable", 1)]
    small = made.served[0]
    assert (small.first_token.p50, small.first_token.p95, small.total.p50, small.total.p95) == (10, 30, 200, 300)
    assert (made.requests, made.answered, made.degraded, made.refused, made.clamped) == (6, 4, 1, 2, 1)


def test_refusals_are_counted_by_their_reason(made: Summary) -> None:
    (refused,) = made.not_served
    assert (refused.code, refused.status, refused.requests) == ("budget_exhausted", 429, 2)


def test_the_table_names_everything_a_person_asks_for(made: Summary) -> None:
    out = io.StringIO()
    tables.show(made, Console(file=out, width=120))
    for words in (
        "Unavailable",
        "budget_exhausted",
        "0.019635",
        "98.2 %",
        "Passed",
        "BROKEN  budget: x",
        "NAMESPACE  NAME",
    ):
        assert words in out.getvalue()


def test_the_same_stands_in_the_json(made: Summary) -> None:
    told = msgspec.json.decode(msgspec.json.encode(made))
    assert told["money"][0]["providers_billed"] == "0.019635"
    assert told["breaches"] == ["budget: x"]
    assert told["drill"]["verdict"] == "Passed"
