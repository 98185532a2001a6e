"""The prediction of a drill's path, judged by what the exchange really does."""

import itertools

import pytest

from turnout_sidecar.core import plan
from turnout_sidecar.policy.codec import decode
from turnout_sidecar.policy.model import FaultClass, RetryClass, Route, Rule
from turnout_testing import policyfixture
from turnout_testing.fakebed import FakeBed
from turnout_testing.scenario import Command, parse

POLICIES = {
    "the usual one": "policy",
    "two fallbacks": "policy path.Unavailable=claude,local,503 path.RateLimited=local,claude,429",
    "nothing but a last word": "policy path.Unavailable=503 path.RateLimited=429 path.TooSlow=504 path.InvalidOutput=502",
    "one attempt in all": "policy attempts=1 path.Unavailable=claude,local,503 path.OverBudget=local,429",
    "retries": "policy per_candidate=2 attempts=3 path.Unavailable=claude,local,503",
    "a path that leads back": "policy path.Unavailable=small,local,503 path.InvalidOutput=small,502",
}
SICK = ("", "small", "local", "small,local", "small,claude,local")


def policy_of(line: str) -> Command:
    return parse(line)[0].commands[0]


def route_of(line: str) -> Route:
    return decode(policyfixture.document(policy_of(line).options)).routes[0]


@pytest.mark.parametrize("line", POLICIES.values(), ids=list(POLICIES))
@pytest.mark.parametrize(("fault", "sick"), list(itertools.product(FaultClass, SICK)), ids=lambda v: str(v) or "first")
def test_a_probe_goes_the_predicted_way(line: str, fault: FaultClass, sick: str) -> None:
    bed = FakeBed()
    bed.run(policy_of(line))
    for text in (f"drill {fault} candidates={sick}", "request drill=fault"):
        bed.run(policy_of(text))
    for _ in range(300):
        if bed.host.end:
            break
        bed.run(policy_of('upstream 1 answer "Bonjour" 9 2' if bed.host.streams else "advance 100ms"))
    predicted = plan.path_for(route_of(line), fault, tuple(filter(None, sick.split(","))))
    told = bed.host.response
    assert (
        tuple(told["x-turnout-path"].split(",")),
        told.get("x-turnout-candidate", ""),
        bed.host.status,
        told.get("x-turnout-degraded", ""),
        told.get("x-turnout-step", ""),
    ) == predicted


@pytest.mark.parametrize(
    ("tries", "attempts", "ahead", "allowed"),
    [(1, 1, 0, True), (1, 1, 1, True), (1, 1, 2, False), (2, 2, 0, False), (1, 3, 0, False)],
)
def test_a_retry_never_takes_what_a_fallback_needs(tries: int, attempts: int, ahead: int, allowed: bool) -> None:
    policy = route_of("policy attempts=3 per_candidate=2").attempts
    assert plan.may_retry(policy, RetryClass.RESET, tries, attempts, ahead) is allowed


def test_only_what_the_route_names_is_retried() -> None:
    policy = route_of("policy per_candidate=2 retry=Connect").attempts
    assert plan.may_retry(policy, RetryClass.CONNECT, 1, 1, 0)
    assert not plan.may_retry(policy, RetryClass.RESET, 1, 1, 0)
    assert not plan.may_retry(policy, None, 1, 1, 0)


FACTS = plan.Facts(model="answer", input_tokens=100, max_output_tokens=50, stream=False, tenant="acme")


def chosen(when: str, headers: dict[str, str] | None = None) -> tuple[tuple[str, ...], str]:
    rule = plan.compile_rule(Rule(name="r", when=when, use=("claude",)))
    return plan.first_choices((rule,), ("small",), FACTS, lambda name: (headers or {}).get(name, ""))


@pytest.mark.parametrize(
    ("when", "headers"),
    [
        ("request.inputTokens > 99", {}),
        ("request.maxOutputTokens == 50", {}),
        ("request.tenant == 'acme'", {}),
        ("!request.stream", {}),
        ("request.model.startsWith('ans')", {}),
        ("request.headers['x-tier'] == 'premium'", {"x-tier": "premium"}),
        ("'x-tier' in request.headers", {"x-tier": "any"}),
        ('request.headers["x-tier"] != "free"', {"x-tier": "gold"}),
    ],
)
def test_a_rule_that_matches_picks_its_candidates(when: str, headers: dict[str, str]) -> None:
    assert chosen(when, headers) == (("claude",), "r")


@pytest.mark.parametrize(
    "when", ["request.inputTokens > 100", "request.headers['x-tier'] == 'premium'", "request.nothing == 1", "1 + 1"]
)
def test_a_rule_that_is_not_true_does_not_match(when: str) -> None:
    assert chosen(when) == (("small",), "")


def test_a_rule_that_cannot_be_read_is_refused_with_words() -> None:
    with pytest.raises(ValueError, match="parse"):
        plan.compile_rule(Rule(name="r", when="request.", use=("claude",)))
