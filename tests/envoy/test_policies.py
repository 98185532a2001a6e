"""Policies over ECDS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from turnout_testing import waiting
from turnout_testing.envoy import Envoy

if TYPE_CHECKING:
    from .conftest import Bed, Engine, Upstream


def ask(envoy: Envoy, mode: str = "pipe") -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{envoy.port('in')}/", headers={"x-mode": mode}, timeout=20)


def served(envoy: Envoy, version: str) -> bool:
    return ask(envoy).headers["x-policy"] == version


def test_a_new_policy_takes_over_and_the_old_one_is_forgotten(double: Envoy, bed: Bed, engine: Engine) -> None:
    bed.policy({"version": "2"})
    waiting.until(lambda: served(double, "2"), what="policy 2", within=20)
    waiting.until(lambda: "1" in engine().get("forgotten", []), what="policy 1 to be forgotten", within=20)


def test_a_refused_policy_is_a_nack_and_the_last_good_one_serves(double: Envoy, bed: Bed) -> None:
    bed.policy({"version": "2", "refuse": True})
    rejected = "extension_config_discovery.http_filter.turnout-engine.update_failure: 1"
    rejected2 = "extension_config_discovery.http_filter.turnout-engine.update_rejected: 1"
    waiting.until(
        lambda: any(w in double.admin("/stats?filter=extension_config") for w in (rejected, rejected2)),
        what="the NACK",
        within=20,
    )
    assert "the test says no" in double.log()
    assert served(double, "1")
    bed.policy({"version": "3"})
    waiting.until(lambda: served(double, "3"), what="policy 3", within=20)


def test_metrics_survive_a_policy(double: Envoy, bed: Bed) -> None:
    name = ask(double, "count").json()["metric"]
    line = waiting.until(lambda: double.prometheus(name), what=f"the metric {name}", within=20)[0]
    assert line.startswith(f"turnout_{name}"), line
    assert line.endswith(" 7")
    bed.policy({"version": "2"})
    waiting.until(lambda: served(double, "2"), what="policy 2", within=20)
    ask(double, "count")
    waiting.until(lambda: double.prometheus(name)[0].endswith(" 14"), what="14", within=20)


def test_a_stream_that_runs_keeps_its_policy(double: Envoy, bed: Bed, upstream: Upstream) -> None:
    url = f"http://127.0.0.1:{double.port('in')}/"
    with httpx.stream("POST", url, headers={"x-mode": "pipe:endless"}, timeout=20) as running:
        events = running.iter_lines()
        next(events)
        bed.policy({"version": "2"})
        waiting.until(lambda: served(double, "2"), what="policy 2", within=20)
        assert running.headers["x-policy"] == "1"
        assert [next(events) for _ in range(5)]
