"""An exception in any entry is one client's 500 or reset, and a count; the sidecar goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from turnout_testing import waiting
from turnout_testing.envoy import Envoy

if TYPE_CHECKING:
    from .conftest import Bed


def counted(envoy: Envoy, entry: str) -> bool:
    return any(f'entry="{entry}"' in line and line.endswith(" 1") for line in envoy.prometheus("turnout_bugs_total"))


def ask(envoy: Envoy, mode: str) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{envoy.port('in')}/v1/chat/completions", headers={"x-mode": mode}, timeout=20)


@pytest.mark.parametrize("entry", ["open", "request", "head"])
def test_before_the_head_it_is_a_500_in_the_error_shape(double: Envoy, entry: str) -> None:
    answer = ask(double, f"raise:{entry}")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    waiting.until(lambda: counted(double, "open" if entry == "open" else "double"), what="the count", within=20)
    assert f"a bug in {entry}" in double.log()
    assert ask(double, "echo").status_code == 200


def test_a_second_exception_while_the_first_is_told_is_still_a_500(double: Envoy) -> None:
    answer = ask(double, "raise:request:twice")
    assert answer.status_code == 500
    assert answer.json()["error"]["message"].startswith("Turnout failed inside")
    waiting.until(lambda: counted(double, "on_bug"), what="the count", within=20)


def test_after_the_head_it_is_an_error_event_and_a_reset(double: Envoy) -> None:
    url = f"http://127.0.0.1:{double.port('in')}/v1/chat/completions"
    events: list[str] = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", url, headers={"x-mode": "raise:data"}, timeout=20) as answer,
    ):
        assert answer.status_code == 200
        events.extend(answer.iter_lines())
    assert '"code":"upstream_cut"' in "".join(events)
    waiting.until(lambda: counted(double, "double"), what="the count", within=20)


def test_in_the_alarm_and_for_a_client_that_left_it_is_counted(double: Envoy) -> None:
    assert ask(double, "alarm:30").status_code == 200
    answer = ask(double, "raise:alarm")
    assert answer.status_code == 500
    waiting.until(lambda: counted(double, "double"), what="the count", within=20)


def test_in_a_policy_it_is_a_nack_and_the_last_good_policy_serves(double: Envoy, bed: Bed) -> None:
    bed.policy({"version": "2", "explode": True})
    waiting.until(lambda: counted(double, "configure"), what="the count", within=20)
    assert ask(double, "pipe").headers["x-policy"] == "1"
