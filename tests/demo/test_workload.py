"""The trace's figures arrive at the providers unchanged."""

from pathlib import Path

import pytest
from demo.trace import Row

from demo import trace, workload
from turnout_operator.sim import Sim

TRACE = Path(__file__).parents[2] / "examples" / "traces" / "azure-llm-2023-chat.csv"


def test_the_trace_is_read_in_its_order() -> None:
    rows = trace.read(TRACE, 600)
    assert len(rows) == 600
    assert rows[0] == Row(0, 374, 44)
    assert [row.offset_ms for row in rows] == sorted(row.offset_ms for row in rows)


def test_only_so_many_rows_are_read_as_were_asked_for() -> None:
    assert len(trace.read(TRACE, 7)) == 7


@pytest.mark.parametrize("tokens", [8, 91, 374, 4107])
def test_a_prompt_has_four_bytes_for_each_token_of_its_row(tokens: int) -> None:
    assert len(trace.prompt(Row(0, tokens, 44), 123).encode()) == 4 * tokens


def test_a_prompt_too_short_for_its_directive_is_the_directive() -> None:
    assert trace.prompt(Row(0, 1, 44), 5) == "5 [sim:output=44] "


def test_no_two_prompts_are_equal() -> None:
    made = [ask.prompt for ask in workload.asks((Row(0, 50, 9),) * 40, speed=1, sidecars=2)]
    assert len(set(made)) == 40


def test_a_speed_of_ten_makes_the_gaps_ten_times_as_short() -> None:
    asks = workload.asks((Row(500, 9, 9), Row(10_500, 9, 9)), speed=10, sidecars=2)
    assert [ask.at for ask in asks] == [0.0, 1.0]


def test_every_route_tenant_and_sidecar_gets_streams_and_plain_requests() -> None:
    asks = workload.asks(trace.read(TRACE, 240), speed=1, sidecars=2)
    for kind in ("route", "tenant", "sidecar"):
        values = {getattr(ask, kind) for ask in asks}
        assert len(values) > 1
        assert {(getattr(ask, kind), ask.stream) for ask in asks} == {(v, s) for v in values for s in (True, False)}


def test_a_long_prompt_goes_to_the_route_for_long_prompts() -> None:
    (ask,) = workload.asks((Row(0, 3000, 9),), speed=1, sidecars=2)
    assert ask.route == workload.DRAFT


def test_a_tag_leads_back_to_route_and_tenant_and_a_foreign_tag_to_nobody() -> None:
    (ask,) = workload.asks((Row(0, 30, 9),), speed=1, sidecars=2)
    assert workload.of_tag(ask.tag) == (ask.route, ask.tenant)
    assert workload.of_tag("turnout-drill") is None
    assert workload.of_tag("") is None


def test_a_stand_in_provider_counts_the_rows_tokens() -> None:
    import httpx

    (ask,) = workload.asks((Row(0, 91, 16),), speed=1, sidecars=2)
    with Sim() as sim:
        body = {"model": "gpt-5-mini", "user": ask.tag, "messages": [{"role": "user", "content": ask.prompt}]}
        assert httpx.post(f"{sim.openai_url}/chat/completions", json=body, trust_env=False).status_code == 200
        bill = sim.bill().of(tag=ask.tag)
    assert (bill.input_tokens, bill.output_tokens) == (91, 16)
