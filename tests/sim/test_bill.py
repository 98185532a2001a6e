"""The laws of the bill: it equals a sum that the test makes itself, whatever the schedule."""

import contextlib
import math
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout_operator.sim import Bill, Sim, key_name
from turnout_operator.sim.amounts import Price
from turnout_operator.sim.pricing import Tariff, Usage
from turnout_operator.sim.profile import Prices
from turnout_testing.rawwire import RawClient, request

PRICES = {"plain": ("0.25", "2.00"), "odd": ("0.0333", "0.0007"), "free": ("0", "0")}
PROFILE: dict[str, Any] = {
    "models": [
        {"name": name, "prices": {"input": into, "output": out}, "abort": "Continues" if name == "odd" else "Stops"}
        for name, (into, out) in PRICES.items()
    ]
}
HANG_AFTER = 3
SCRIPT: dict[str, Any] = {
    "rules": [
        {"match": {"headers": {"x-end": "error"}}, "effects": [{"status": {"code": 500}}]},
        {"match": {"headers": {"x-end": "reset"}}, "effects": [{"reset": {"at": "AfterChunks", "chunks": HANG_AFTER}}]},
        {"match": {"headers": {"x-end": "leave"}}, "effects": [{"hang": {"at": "AfterChunks", "chunks": HANG_AFTER}}]},
    ]
}

ASKS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(sorted(PRICES)),
        "user": st.sampled_from(["ada", "bob"]),
        "key": st.sampled_from(["sk-1", "sk-2"]),
        "letters": st.integers(0, 400),
        "output": st.integers(0, 12),
        "stream": st.booleans(),
        "end": st.sampled_from(["", "", "error", "reset", "leave"]),
    }
)


def expected(ask: dict[str, Any]) -> tuple[int, int, int]:
    """Input tokens, output tokens and nano-USD of one request, by decimal arithmetic of the test's own."""
    prompt = prompt_of(ask)
    tokens = math.ceil(len(prompt) / 4)
    output = ask["output"]
    if ask["end"] == "error":
        return 0, 0, 0
    cut = ask["stream"] and ask["end"] in ("reset", "leave")
    if cut and not (ask["model"] == "odd" and ask["end"] == "leave"):
        output = min(output, HANG_AFTER)
    into, out = (Decimal(price) for price in PRICES[ask["model"]])
    dollars = (into * tokens + out * output) / Decimal(10**6)
    return tokens, output, int((dollars * 10**9).to_integral_value("ROUND_CEILING"))


def prompt_of(ask: dict[str, Any]) -> str:
    return f"{'x' * ask['letters']}[sim:output={ask['output']}]"


def play(sim: Sim, ask: dict[str, Any]) -> None:
    body = {
        "model": ask["model"],
        "messages": [{"role": "user", "content": prompt_of(ask)}],
        "user": ask["user"],
        "stream": ask["stream"],
    }
    fields = {"authorization": f"Bearer {ask['key']}", "x-end": ask["end"], "connection": "close"}
    with RawClient(sim.host, sim.port) as client:
        client.send(request("/v1/chat/completions", body, fields))
        if ask["end"] == "leave":
            if ask["stream"]:
                client.read_until(b'"delta":{"content":', min(ask["output"], HANG_AFTER))
            client.read_until(b"\r\n\r\n")
        else:
            client.read_to_end()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedule=st.lists(ASKS, max_size=12))
def test_the_bill_of_any_schedule_is_the_sum_of_its_requests(schedule: list[dict[str, Any]]) -> None:
    with Sim(profile=PROFILE, script=SCRIPT) as sim:
        for ask in schedule:
            play(sim, ask)
        sim.wait_for(lambda server: len(server.log()) == len(schedule))
        bill, log = sim.bill(), sim.log()
    charges = [(ask, *expected(ask)) for ask in schedule]
    assert bill.input_tokens == sum(tokens for _, tokens, _, _ in charges)
    assert bill.output_tokens == sum(output for _, _, output, _ in charges)
    assert bill.cost_nano_usd == sum(cost for _, _, _, cost in charges)
    assert bill.requests == sum(ask["end"] != "error" for ask in schedule)
    assert bill.aborted == sum(ask["end"] == "leave" for ask in schedule)
    assert sum(entry.cost_nano_usd for entry in log) == bill.cost_nano_usd
    for model in PRICES:
        for user in ("ada", "bob"):
            part = sum(cost for ask, _, _, cost in charges if (ask["model"], ask["user"]) == (model, user))
            assert bill.of(model=model, tag=user).cost_nano_usd == part
    for key in ("sk-1", "sk-2"):
        part = sum(cost for ask, _, _, cost in charges if ask["key"] == key)
        assert bill.of(key=key_name(key)).cost_nano_usd == part


PRICE = st.integers(0, 10**8).map(lambda cents: str(Decimal(cents) / 10**4)).filter(lambda price: "E" not in price)
TOKENS = st.integers(0, 10**7)


@given(into=PRICE, out=PRICE, cached=PRICE, written=PRICE, fresh=TOKENS, hit=TOKENS, write=TOKENS, output=TOKENS)
def test_a_charge_is_the_exact_price_rounded_up_to_a_nano_dollar(
    into: str, out: str, cached: str, written: str, fresh: int, hit: int, write: int, output: int
) -> None:
    prices = Prices(Price(into), Price(out), Price(cached), Price(written))
    usage = Usage(input=fresh + hit + write, output=output, cached=hit, cache_write=write)
    exact = 1000 * (Decimal(into) * fresh + Decimal(cached) * hit + Decimal(written) * write + Decimal(out) * output)
    assert Tariff(prices).cost_nano_usd(usage) == int(exact.to_integral_value("ROUND_CEILING"))


def test_a_plain_request_that_is_left_while_the_model_works_bills_what_was_made() -> None:
    slow = {"firstToken": {"fixed": "0s"}, "interToken": {"fixed": "1h"}}
    models = [
        {"name": name, "prices": {"input": "1", "output": "1"}, "latency": slow, "abort": abort}
        for name, abort in (("stops", "Stops"), ("continues", "Continues"))
    ]
    for model, output in (("stops", 1), ("continues", 9)):
        with Sim(profile={"models": models}) as sim:
            client = RawClient(sim.host, sim.port)
            prompt = [{"role": "user", "content": "[sim:output=9]"}]
            client.send(request("/v1/chat/completions", {"model": model, "messages": prompt}))
            sim.wait_for(lambda server: server.state().in_flight == 1)
            client.close()
            sim.wait_for(lambda server: len(server.log()) == 1)
            assert (sim.bill().input_tokens, sim.bill().output_tokens, sim.bill().aborted) == (4, output, 1)


def ask_once(sim: Sim) -> None:
    play(sim, {"model": "plain", "user": "ada", "key": "sk-1", "letters": 9, "output": 2, "stream": False, "end": ""})


def test_a_journal_keeps_the_bill_over_a_restart_and_cuts_off_a_torn_line(tmp_path: Path) -> None:
    journal = tmp_path / "bill.jsonl"
    with Sim(profile=PROFILE, journal=journal) as sim:
        ask_once(sim)
        ask_once(sim)
        before = sim.bill()
    with journal.open("ab") as torn:
        torn.write(b'{"key":"key-1","mod')
    with Sim(profile=PROFILE, journal=journal) as sim:
        assert sim.bill() == before
        ask_once(sim)
        assert sim.bill().requests == 3
    with Sim(profile=PROFILE, journal=journal) as sim:
        assert sim.bill().requests == 3
        sim.reset()
    with Sim(profile=PROFILE, journal=journal) as sim:
        assert sim.bill().requests == 0


def test_a_journal_that_is_not_one_is_refused_by_line(tmp_path: Path) -> None:
    journal = tmp_path / "notes.txt"
    journal.write_text("hello\n")
    with pytest.raises(ValueError, match=r"notes\.txt:1: not a line of a bill journal"):
        Sim(journal=journal).start()


def test_a_killed_sim_has_every_answered_request_on_its_journal(tmp_path: Path) -> None:
    journal = tmp_path / "bill.jsonl"
    command = [sys.executable, "-c", "import typer; from turnout_operator.cli.sim import sim; typer.run(sim)"]
    options = ["--listen", "127.0.0.1:0", "--journal", str(journal)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        started = msgspec.json.decode(process.stdout.readline())
        host, _, port = started["listen"].rpartition(":")
        for _ in range(3):
            with RawClient(host, int(port)) as client:
                body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "[sim:output=2]"}]}
                client.send(request("/v1/chat/completions", body, {"connection": "close"}))
                client.read_to_end()
        os.kill(process.pid, signal.SIGKILL)
    with Sim(journal=journal) as sim:
        assert (sim.bill().requests, sim.bill().output_tokens) == (3, 6)


def test_the_bill_as_json_is_what_the_bill_is(sim: Sim) -> None:
    with contextlib.closing(RawClient(sim.host, sim.port)) as client:
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "[sim:output=2]"}], "user": "ada"}
        client.send(request("/v1/chat/completions", body, {"connection": "close"}))
        client.read_to_end()
    _, _, port = sim.admin_url.rpartition(":")
    with RawClient("127.0.0.1", int(port)) as admin:
        admin.send(request("/sim/bill", b"", {"connection": "close"}, method="GET"))
        answer, _ = admin.read_to_end()
    assert msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=Bill) == sim.bill()
