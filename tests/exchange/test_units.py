"""The small pure parts: charges, breaker, retry pauses, refusals, headers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_sidecar.core import account, failures, refusals, retry, signals
from turnout_sidecar.core.breaker import Breaker, State
from turnout_sidecar.core.failures import Bill, Failure
from turnout_sidecar.core.refusals import Code
from turnout_sidecar.messages import RequestFault, Usage
from turnout_sidecar.policy.model import AbortBilling, Backoff, Health, Price, RetryBudget
from turnout_sidecar.policy.pricing import attempt_bound
from turnout_sidecar.policy.units import Millis, NanoUSD, PicoUSD, Tokens

PRICE = Price(
    input=PicoUSD(1_000_001),
    output=PicoUSD(4_000_000),
    cached_input=PicoUSD(100_000),
    cache_write_5m=PicoUSD(1_250_000),
    cache_write_1h=PicoUSD(2_000_000),
)
tokens = st.integers(0, 5_000).map(Tokens)


@given(tokens, tokens, tokens, tokens, tokens)
def test_a_charge_of_what_was_bounded_is_never_above_the_bound(
    plain: Tokens, cached: Tokens, short: Tokens, long: Tokens, output: Tokens
) -> None:
    usage = Usage(input=plain, cached_input=cached, cache_write_5m=short, cache_write_1h=long, output=output)
    assert account.of_usage(usage, PRICE) <= attempt_bound(PRICE, usage.all_input, output)


def test_a_charge_is_rounded_up_to_a_whole_nano() -> None:
    assert account.of_usage(Usage(input=Tokens(1)), PRICE) == 1_001


def test_an_unknown_model_costs_what_the_dearest_candidate_does() -> None:
    free = Price(
        input=PicoUSD(0),
        output=PicoUSD(0),
        cached_input=PicoUSD(0),
        cache_write_5m=PicoUSD(0),
        cache_write_1h=PicoUSD(0),
    )
    usage = Usage(input=Tokens(10), output=Tokens(10))
    assert account.of_unknown_model(usage, [free, PRICE]) == account.of_usage(usage, PRICE)


@given(
    text=st.integers(0, 20_000),
    seen=st.none() | st.builds(Usage, input=tokens, output=tokens),
    visible=st.booleans(),
    abort=st.sampled_from(AbortBilling),
    output=st.integers(1, 4_000),
)
def test_an_aborted_stream_is_never_free_and_a_cap_binds_the_estimate(
    text: int, seen: Usage | None, visible: bool, abort: AbortBilling, output: int
) -> None:
    bound = attempt_bound(PRICE, Tokens(500), Tokens(output))
    charge = account.of_aborted(
        bound=bound,
        price=PRICE,
        input_bound=Tokens(500),
        output_bound=Tokens(output),
        usage=seen,
        text_bytes=text,
        visible=visible,
        abort=abort,
    )
    billed = account.of_usage(seen, PRICE) if seen is not None else 0
    assert charge > 0 or seen == Usage()
    assert charge >= billed
    assert charge <= max(bound, billed + attempt_bound(PRICE, Tokens(0), Tokens(output)))
    if abort is AbortBilling.CONTINUES or not visible:
        assert charge >= bound


@pytest.mark.parametrize(
    ("asked", "said", "same"),
    [
        ("gpt-5-mini", "gpt-5-mini", True),
        ("gpt-5-mini", "", True),
        ("gpt-5-mini", "gpt-5-mini-2025-08-07", True),
        ("claude-sonnet-5", "claude-sonnet-5-20260301", True),
        ("claude-sonnet-5-latest", "claude-sonnet-5", True),
        ("gpt-5", "gpt-5-mini", False),
        ("gpt-5-mini", "gpt-5-mini-high", False),
        ("gpt-5-mini", "gpt-5", False),
        ("a", "b", False),
    ],
)
def test_a_model_is_itself_and_its_dated_versions(asked: str, said: str, same: bool) -> None:
    assert account.same_model(asked, said) is same


HEALTH = Health(consecutive_failures=2, open_for=Millis(100), half_open_probes=2, max_open_for=Millis(300))


def an_open_breaker(now: int = 0) -> Breaker:
    breaker = Breaker(HEALTH)
    for _ in range(2):
        assert breaker.admit(Millis(now))
        breaker.failed(Millis(now), probe=False)
    assert breaker.state is State.OPEN
    return breaker


def test_only_failures_in_a_row_open_a_breaker() -> None:
    breaker = Breaker(HEALTH)
    for _ in range(5):
        breaker.failed(Millis(0), probe=False)
        breaker.succeeded(probe=False)
    assert breaker.state is State.CLOSED


def test_an_open_breaker_admits_as_many_probes_as_it_may_once_its_time_is_up() -> None:
    breaker = an_open_breaker()
    assert not breaker.admit(Millis(99))
    assert [breaker.admit(Millis(100)) for _ in range(3)] == [True, True, False]
    breaker.left(probe=True)
    assert breaker.admit(Millis(100)), "a probe that says nothing gives its place back"


def test_all_probes_must_pass() -> None:
    breaker = an_open_breaker()
    assert breaker.admit(Millis(100))
    breaker.succeeded(probe=True)
    assert breaker.half_open
    assert breaker.admit(Millis(100))
    breaker.succeeded(probe=True)
    assert breaker.state is State.CLOSED


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_the_longest() -> None:
    breaker, now = an_open_breaker(), 0
    for open_for in (100, 200, 300, 300):
        assert not breaker.would_admit(Millis(now + open_for - 1))
        now += open_for
        assert breaker.admit(Millis(now))
        breaker.failed(Millis(now), probe=True)


def test_a_straggler_does_not_speak_for_a_probe() -> None:
    breaker = an_open_breaker()
    breaker.failed(Millis(50), probe=False)
    assert breaker.admit(Millis(100)), "the time is counted from the opening"
    breaker.succeeded(probe=False)
    breaker.failed(Millis(100), probe=False)
    assert breaker.state is State.HALF_OPEN


@given(st.integers(0, 20), st.integers(0))
def test_a_pause_lies_within_full_jitter(retries: int, seed: int) -> None:
    policy = Backoff(base=Millis(100), max=Millis(2_000))
    assert 0 <= retry.backoff(policy, retries, random.Random(seed)) <= min(2_000, 100 * 2**retries)


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("", None),
        ("0", 0),
        ("1.5", 1_500),
        ("-3", 0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 7_000),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(value: str, pause: int | None) -> None:
    assert retry.retry_after(value, wall=3_000) == pause


def test_retries_are_a_share_of_what_is_active_with_a_floor() -> None:
    permits, budget = retry.RetryPermits(), RetryBudget(percent=20, min_concurrent=3)
    permits.retrying = 3
    assert not permits.allow(budget)
    permits.active = 20
    assert permits.allow(budget)


@pytest.mark.parametrize("code", [*Code, *RequestFault])
def test_every_code_has_a_shape(code: Code) -> None:
    found = refusals.refusal(code, "words")
    assert 400 <= found.status < 600
    assert found.type


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_of_a_provider_means_something(status: int) -> None:
    failure = failures.of_status(status)
    if status == 200 or (400 <= status < 500 and status not in (401, 402, 403, 404, 408, 429)):
        assert failure is None
    else:
        assert failure is not None


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            Failure.CONNECT,
        ),
        ("… reset reason: connection timeout", Failure.CONNECT),
        ("no healthy upstream", Failure.CONNECT),
        ("… reset reason: overflow", Failure.CONNECT),
        ("… reset reason: connection termination", Failure.RESET),
        ("upstream request timeout", Failure.RESET),
        ("", Failure.RESET),
    ],
)
def test_only_what_surely_never_left_is_free(words: str, failure: Failure) -> None:
    assert failures.of_synthetic(words) is failure
    assert (failure.what.bill is Bill.NOTHING) == (failure is Failure.CONNECT)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (1_000_000_000, "1"), (1_500_000_000, "1.5"), (20_000_000, "0.02")],
)
def test_money_is_an_exact_decimal(nano: int, text: str) -> None:
    assert signals.dollars(NanoUSD(nano)) == text
