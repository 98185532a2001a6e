"""The provider's rate limits, by a clock of the test's own and on the wire."""

from hypothesis import given
from hypothesis import strategies as st

from turnout_operator.sim import Sim
from turnout_operator.sim.limits import Limiter
from turnout_operator.sim.profile import Dialect, RateLimits
from turnout_testing.rawwire import RawClient, request, split_head

STEPS = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 400)), max_size=60)


@given(STEPS, st.integers(1, 100), st.integers(1, 1000))
def test_never_more_passes_than_a_full_bucket_and_its_refill(
    steps: list[tuple[float, int]], per_minute: int, tokens_per_minute: int
) -> None:
    limiter, now, passed, passed_tokens = Limiter(), 0.0, 0, 0
    limits = RateLimits(requests_per_minute=per_minute, tokens_per_minute=tokens_per_minute)
    for pause, tokens in steps:
        now += pause
        if limiter.admit("k", "m", limits, tokens, Dialect.OPENAI, now).retry_after is None:
            passed += 1
            passed_tokens += min(tokens, tokens_per_minute)
    assert passed <= per_minute * (1 + now / 60) + 1e-6
    assert passed_tokens <= tokens_per_minute * (1 + now / 60) + 1e-6


@given(st.integers(1, 50), st.integers(1, 500))
def test_who_waits_as_told_is_admitted(per_minute: int, tokens: int) -> None:
    limiter, limits, now = Limiter(), RateLimits(requests_per_minute=per_minute, tokens_per_minute=100), 0.0
    for _ in range(per_minute + 5):
        verdict = limiter.admit("k", "m", limits, tokens, Dialect.OPENAI, now)
        if verdict.retry_after is not None:
            assert verdict.retry_after > 0
            now += verdict.retry_after + 1e-6
            assert limiter.admit("k", "m", limits, tokens, Dialect.OPENAI, now).retry_after is None


def test_keys_and_models_have_buckets_of_their_own() -> None:
    limiter, limits = Limiter(), RateLimits(requests_per_minute=1)
    verdicts = [limiter.admit(k, m, limits, 1, Dialect.OPENAI, 0.0) for k, m in ("aa", "ab", "ba", "aa")]
    assert [verdict.retry_after is None for verdict in verdicts] == [True, True, True, False]


def test_a_limited_model_answers_429_with_the_dialects_headers_and_charges_nothing() -> None:
    model = {"name": "m", "prices": {"input": "1", "output": "1"}, "rateLimits": {"requestsPerMinute": 1}}
    with Sim(profile={"models": [model]}) as sim, RawClient(sim.host, sim.port) as client:
        asked = request("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        client.send(asked)
        status, headers, _ = split_head(client.read_until(b"fp_sim"))
        limits = (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"])
        assert (status, *limits) == (200, "1", "0")
        client.seen = b""
        client.send(asked)
        status, headers, _ = split_head(client.read_until(b"rate_limit_exceeded"))
        assert (status, 0 < int(headers["retry-after"]) <= 60) == (429, True)
        assert sim.bill().requests == 1

    with Sim(profile={"models": [model]}) as sim, RawClient(sim.host, sim.port) as client:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        client.send(request("/v1/messages", body, {"anthropic-version": "2023-06-01"}))
        _, headers, _ = split_head(client.read_until(b'"usage"'))
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"
