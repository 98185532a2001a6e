"""Limits, ledger and bills are compared account by account, and the bill by request."""

from demo.books import NANO, Charges, Limit
from demo.trace import Row

from demo import books, manifests, workload
from turnout_operator.quota.account import Account, Lease
from turnout_operator.sim.bill import Line

ACME, GLOBEX = "case-draft.acme.1", "case-draft.globex.3"
LIMITS = (
    Limit(route="case-draft", name="tenant-day", tenant="acme", amount=5 * NANO),
    Limit(route="case-draft", name="tenant-day", tenant="globex", amount=NANO),
    Limit(route="case-draft", name="feature-day", tenant="", amount=200 * NANO),
)


def _line(tag: str, cost: int, model: str = "claude-sonnet-5") -> Line:
    return Line(key="k", model=model, tag=tag, requests=1, cost_nano_usd=cost)


CHARGES = (
    Charges(provider="anthropic", lines=(_line(ACME, 30), _line(GLOBEX, 5), _line("", 99))),
    Charges(provider="openai", lines=(_line(ACME, 2, "gpt-5-mini"), _line("support-answer.acme.2", 7, "gpt-5-mini"))),
)


def _account(spent: int, granted: int) -> Account:
    return Account(limit=NANO, starts=0, ends=1, settled=10, open={"e": Lease(owner="o", granted=granted, spent=spent)})


def test_the_examples_limits_are_read_with_their_overrides() -> None:
    routes = manifests.of_kind(manifests.for_one_minute(manifests.read(manifests.EXAMPLES)), "LLMRoute")
    found = {(x.route, x.name, x.tenant): x.amount for x in books.declared(routes, workload.TENANTS)}
    assert found == {
        ("support-answer", "day", ""): books.nano(manifests.SMALL_DAY),
        ("case-draft", "tenant-day", "acme"): 5 * NANO,
        ("case-draft", "tenant-day", "globex"): books.nano(manifests.SMALL_TENANT_DAY),
        ("case-draft", "tenant-day", "initech"): 5 * NANO,
        ("case-draft", "feature-day", ""): 200 * NANO,
    }


def test_a_dollar_amount_is_exact_to_the_nano_dollar() -> None:
    assert books.nano("0.000000001") == 1
    assert books.nano("12.5") == 12_500_000_000
    assert books.nano("7") == 7 * NANO


def test_each_limit_is_billed_what_its_route_and_tenant_were_billed_by_all_providers() -> None:
    assert [b.billed for b in books.balances(LIMITS, {}, CHARGES, "support")] == [32, 5, 37]


def test_the_ledgers_spending_is_what_is_settled_and_what_open_epochs_report() -> None:
    accounts = {
        "support/route:case-draft/tenant-day/acme|2026-11-21": _account(spent=40, granted=100),
        "support/route:case-draft/tenant-day/acmeplus|2026-11-21": _account(spent=1, granted=1),
        "other/route:case-draft/tenant-day/acme|2026-11-21": _account(spent=1, granted=1),
    }
    acme, globex, _ = books.balances(LIMITS, accounts, CHARGES, "support")
    assert (acme.spent, acme.held, acme.windows) == (50, 60, 1)
    assert (globex.spent, globex.held, globex.windows) == (0, 0, 1)
    assert acme.is_settled
    assert not globex.is_settled


def test_midnight_gives_a_limit_a_second_window() -> None:
    accounts = {f"support/route:case-draft/tenant-day/acme|{day}": _account(1, 2) for day in ("1", "2")}
    assert books.balances(LIMITS, accounts, (), "support")[0].allowed == 10 * NANO


def test_charges_of_nobodys_request_are_the_probes() -> None:
    assert books.strangers(CHARGES) == 99


def test_the_bills_tell_which_models_were_asked_for_one_request() -> None:
    assert books.models_of(ACME, CHARGES) == {"claude-sonnet-5", "gpt-5-mini"}
    assert books.models_of("case-draft.acme.11", CHARGES) == frozenset()


def test_the_tags_of_the_workload_are_the_ones_that_bills_are_read_by() -> None:
    (ask,) = workload.asks((Row(0, 3000, 9),), speed=1, sidecars=1)
    found = books.balances(LIMITS, {}, (Charges(provider="p", lines=(_line(ask.tag, 3),)),), "support")
    assert [b.billed for b in found] == [3, 0, 3]
