"""From a field in a manifest to what a client and a provider see: the compiler and the engine together, for promises no scenario shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from turnout_operator.api import LLMRouteSpec, ProviderPoolSpec
from turnout_operator.api.enforcement import Descriptive
from turnout_operator.api.model import Model
from turnout_operator.api.promises import promises_of
from turnout_operator.compiler import compile as compile_snapshot
from turnout_operator.ir import Compilation
from turnout_operator.snapshot import from_manifests
from turnout_sidecar.policy import codec
from turnout_testing import manifest_cases, scenario
from turnout_testing.fakebed import FakeBed

WORLD = tuple(yaml.safe_load_all((Path(__file__).parent / "world.yaml").read_text(encoding="utf-8")))
NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
Changes = Mapping[str, Any]


def _compiled(route: Changes, pools: Mapping[str, Changes]) -> Compilation:
    manifests = [
        manifest_cases.changed(m, route if m["kind"] == "LLMRoute" else pools.get(m["metadata"]["name"], {}))
        for m in WORLD
    ]
    return compile_snapshot(from_manifests(manifests), None, NOW)


class Bed(FakeBed):
    """The engine on the policy that the changed manifests compile to."""

    def __init__(self, route: Changes | None = None, seed: int = 7, **pools: Changes) -> None:
        super().__init__(seed)
        compilation = _compiled(route or {}, pools)
        assert compilation.diagnostics == (), [str(each) for each in compilation.diagnostics]
        document = codec.encode(
            tuple(each.policy for each in compilation.routes), tuple(each.policy for each in compilation.pools)
        )
        self.runtime = self.engine.configure(document)

    def play(self, *lines: str) -> list[str]:
        """Runs commands of the scenario language; what they print."""
        (block,) = scenario.parse("\n".join(lines))
        return [line for command in block.commands for line in self.run(command) or ()]

    @property
    def asked(self) -> list[str]:
        """The models that were asked, attempt by attempt."""
        return [str(sent.document["model"]) for sent in self.host.streams.values()]


@pytest.mark.parametrize("part", ["tenant", "user", "run"])
def test_a_request_without_a_required_identity_reaches_no_provider(part: str) -> None:
    bed = Bed({f"spec.identity.{part}": {"header": {"name": f"x-{part}"}, "required": True}})
    bed.play("grant day 1", "request")
    assert (bed.host.status // 100, bed.asked) == (4, [])
    assert f"x-{part}" in bed.host.body.decode()

    bed.play(f"request header.x-{part}=someone")
    assert bed.asked == ["gpt-small"]


def test_user_and_run_stand_in_the_access_log() -> None:
    bed = Bed(
        {"spec.identity.user": {"header": {"name": "x-user"}}, "spec.identity.run": {"header": {"name": "x-run"}}}
    )
    bed.play("grant day 1", "request header.x-user=ada header.x-run=r1", 'upstream 1 answer "Hi" 9 2')

    assert (bed.host.facts["user"], bed.host.facts["run"]) == ("ada", "r1")


def test_a_match_by_header_takes_no_request_without_it() -> None:
    bed = Bed({"spec.matches": [{"models": ["answer"], "headers": [{"name": "x-app", "value": "crm"}]}]})
    bed.play("grant day 1", "request")
    assert (bed.host.status, bed.asked) == (404, [])

    bed.play("request header.x-app=crm")
    assert bed.asked == ["gpt-small"]


def test_the_default_order_is_the_order_in_which_candidates_are_asked() -> None:
    bed = Bed({"spec.routing.default": [{"name": "claude"}, {"name": "small"}]})
    bed.play("grant day 1", "request")

    assert bed.asked == ["claude-big"]


def test_the_output_bound_is_the_providers_bound() -> None:
    bed = Bed({"spec.budget.tokens.maxOutput": 300})
    shown = bed.play("grant day 1", "request max_tokens=5000", "show providers")

    assert shown == ["attempt 1 /v1/chat/completions model=gpt-small cap=300 open"]


POOL_LIMIT = {"spec.budget": {"limits": [{"name": "month", "scope": "Pool", "window": "Month", "cost": "10"}]}}


def test_a_pool_is_not_asked_for_more_than_its_own_limit() -> None:
    bed = Bed(openai=POOL_LIMIT)
    bed.play("grant day 1", "grant month 0.0001 of=0.0001", "request text=Hello")
    assert (bed.host.status, bed.asked) == (429, [])

    assert "llm/pool:openai/month/- spent 0 held 0" in bed.play("show budget")


def test_what_a_pool_sold_is_counted_in_its_own_account() -> None:
    bed = Bed(openai=POOL_LIMIT)
    shown = bed.play("grant day 1", "grant month 1", "request", 'upstream 1 answer "Hi" 1000 100', "show budget")

    assert "llm/pool:openai/month/- spent 1400000 held 0" in shown


@pytest.mark.parametrize(("mode", "kept"), [("Forward", {b"from-client"}), ("None", {None})])
def test_the_idempotency_key_is_forwarded_or_left_out(mode: str, kept: set[bytes | None]) -> None:
    bed = Bed({"spec.attempts.idempotencyKey": mode})
    _fail_twice(bed, "request header.idempotency-key=from-client")

    assert _keys(bed) == kept


def test_a_generated_idempotency_key_is_the_same_for_all_attempts_and_another_for_each_request() -> None:
    bed = Bed({"spec.attempts.idempotencyKey": "Generate"})
    found = []
    for _ in range(2):
        _fail_twice(bed, "request header.idempotency-key=from-client")
        found.append(_keys(bed))

    assert len(found[0]) == len(found[1]) == 1
    assert found[0].isdisjoint(found[1])
    assert not {None, b"from-client"} & (found[0] | found[1])


def _fail_twice(bed: Bed, request: str) -> None:
    bed.play("grant day 1", request, "upstream 1 refusal server_error status=500", "advance 400ms")
    bed.play("upstream 2 refusal server_error status=500")
    assert len(bed.host.streams) == 3


def _keys(bed: Bed) -> set[bytes | None]:
    return {dict(sent.headers).get(b"idempotency-key") for sent in bed.host.streams.values()}


def test_a_retry_waits_within_the_backoff_and_never_the_same_for_all() -> None:
    waits = set()
    for seed in range(12):
        bed = Bed(seed=seed)
        bed.play("grant day 1", "request", "upstream 1 refusal server_error status=500")
        assert bed.host.due is not None
        waits.add(bed.host.due - bed.clock.now)
        bed.play("advance 400ms")
        assert bed.asked == ["gpt-small", "gpt-small"]

    assert max(waits) <= 400
    assert len(waits) > 6


def test_retries_beyond_the_retry_budget_go_to_the_next_candidate_at_once() -> None:
    bed = Bed({"spec.attempts.retryBudget": {"percent": 0, "minConcurrent": 1}})
    bed.play("grant day 1", "request", "upstream 1 refusal server_error status=500")
    assert bed.asked == ["gpt-small"]  # it waits for its retry, which is the only one allowed in flight

    bed.play("request", "upstream 1 refusal server_error status=500")
    assert bed.asked == ["gpt-small", "qwen"]


def test_what_is_not_in_retry_on_is_not_retried() -> None:
    bed = Bed({"spec.attempts.retryOn": ["Connect"]})
    bed.play("grant day 1", "request", "upstream 1 refusal server_error status=500")

    assert bed.asked == ["gpt-small", "qwen"]


def test_endpoints_are_asked_by_their_weights() -> None:
    endpoints = [
        {"name": "a", "url": "https://a.example.com/v1", "weight": 3},
        {"name": "b", "url": "https://b.example.com/v1", "weight": 1},
    ]
    bed = Bed(openai={"spec.endpoints": endpoints})
    bed.play("grant day 10")
    asked: Counter[str] = Counter()
    for _ in range(400):
        bed.play("request max_tokens=10", 'upstream 1 answer "Hi" 9 2')
        asked[bed.host.streams[1].endpoint.name] += 1

    assert 260 <= asked["a"] <= 340
    assert asked["a"] + asked["b"] == 400


@pytest.mark.parametrize(("abort", "whole"), [("Continues", True), ("Stops", False)])
def test_a_cut_stream_is_charged_by_what_the_provider_bills_for_it(abort: str, whole: bool) -> None:
    bed = Bed({"spec.routing.default": [{"name": "claude"}]}, claude={"spec.abort": abort})
    held = _held(bed.play("grant day 1", "request stream max_tokens=400", "show budget"))
    shown = bed.play("upstream 1 role", 'upstream 1 chunk "Hello"', "client leaves", "show budget")

    spent = int(shown[-1].split()[2])
    assert spent == held if whole else 0 < spent < held


def _held(shown: list[str]) -> int:
    return int(shown[-1].split()[-1])


def test_cached_input_is_charged_at_its_own_price() -> None:
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 7,
        "model": "gpt-small",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "total_tokens": 1100,
            "prompt_tokens_details": {"cached_tokens": 800},
        },
    }
    raw = json.dumps(json.dumps(body, separators=(",", ":")))
    bed = Bed(openai={"spec.models[0].pricing.cachedInput": "0.10"})
    shown = bed.play(
        "grant day 1", "request", "upstream 1 head type=application/json", f"upstream 1 raw {raw} end", "show budget"
    )

    # 200 at 1.00, 800 at 0.10 and 100 at 4.00 US dollars per million
    assert shown[-1].split()[2] == str(200_000 + 80_000 + 400_000)


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]


@pytest.mark.parametrize(("field", "value"), [("messages", IMAGE), ("web_search_options", {})])
def test_a_request_whose_price_is_not_counted_is_refused(field: str, value: object) -> None:
    bed = Bed()
    bed.play("grant day 1", f"request field.{field}='{json.dumps(value)}'")

    assert (bed.host.status, bed.asked) == (400, [])


def test_an_endpoint_outside_the_regions_of_the_route_is_not_asked() -> None:
    route = {"spec.dataPolicy": {"regions": ["eu"]}, "spec.candidates": [WORLD[0]["spec"]["candidates"][0]]}
    route["spec.degradation.paths[0].steps"] = [{"respond": {"status": 503}}]
    policy = {"spec.dataPolicy": {"regions": ["eu"], "retention": "None", "training": False}}
    assert _compiled(route, {"openai": policy}).diagnostics == ()

    (refused,) = _compiled(route, {"openai": policy | {"spec.endpoints[0].region": "us"}}).diagnostics
    assert refused.reason == "DataPolicy"


def test_no_model_is_asked_but_for_the_answer_itself() -> None:
    bed = Bed({"spec.budget.maxJudgeCalls": 3})
    bed.play("grant day 1", "request", 'upstream 1 answer "Hi" 9 2')

    assert (bed.host.status, bed.asked) == (200, ["gpt-small"])


@pytest.mark.parametrize("kind", ["route", "pool"])
def test_a_soft_limit_is_not_accepted(kind: str) -> None:
    soft = {"name": "day", "window": "Day", "cost": "10", "enforce": "Soft", "allowance": "1"}
    route = {"spec.budget.limits[0]": soft | {"scope": "Route"}} if kind == "route" else {}
    pool = {"spec.budget": {"limits": [soft | {"scope": "Pool"}]}} if kind == "pool" else {}

    refused = _compiled(route, {"openai": pool}).diagnostics

    assert ("spec.budget.limits[0].enforce", "NotEnforceable") in {(each.field, each.reason) for each in refused}


DESCRIPTIVE: dict[type[Model], dict[str, Any]] = {
    LLMRouteSpec: {"spec.load": {"requestsPerMinute": 1, "peakFactor": 2, "expectedInput": 10_000_000}},
    ProviderPoolSpec: {"spec.models[].class": "Frontier"},
}


@pytest.mark.parametrize("spec", DESCRIPTIVE)
def test_nothing_depends_on_what_only_describes(spec: type[Model]) -> None:
    described = {path for path, mark in promises_of(spec).items() if isinstance(mark, Descriptive)}
    assert described == set(DESCRIPTIVE[spec]), "each is tried here"
    changes = {path.replace("[]", "[0]"): value for path, value in DESCRIPTIVE[spec].items()}
    changed = _compiled(changes, {}) if spec is LLMRouteSpec else _compiled({}, {"openai": changes})

    assert changed == _compiled({}, {})
