"""Alarms in real Envoy: the wheel turns on the main thread, the exchange is woken on the worker."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

import httpx

from turnout_testing.envoy import Envoy

if TYPE_CHECKING:
    from .conftest import Upstream


def ask(envoy: Envoy, mode: str) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{envoy.port('in')}/", headers={"x-mode": mode}, timeout=30)


def test_an_alarm_never_rings_early(double: Envoy) -> None:
    assert all(ask(double, f"alarm:{wait}").json()["late"] >= wait for wait in (0, 1, 19, 20, 21, 100))


def test_an_alarm_that_was_moved_rings_at_its_last_time(double: Envoy) -> None:
    assert ask(double, "moving:200").json()["late"] >= 200


def test_a_provider_that_is_silent_after_its_head_meets_the_first_token_alarm(
    double: Envoy, upstream: Upstream
) -> None:
    assert ask(double, "silent:mute").status_code == 200
    assert upstream.left.wait(20), "the silent stream was cancelled"


def test_an_exchange_that_is_parked_is_woken_by_an_answer_of_the_lease_service(double: Envoy) -> None:
    """`on_need` asks for a report from the worker; its answer wakes the exchange from the main thread."""
    assert ask(double, "park").status_code == 200


def test_many_alarms_at_once_all_ring(double: Envoy) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        late = [a.json()["late"] for a in pool.map(lambda n: ask(double, f"alarm:{n % 50}"), range(200))]
    assert len(late) == 200
