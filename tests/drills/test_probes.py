"""The shell that sends probes, over a dial that is ours: each probe is answered exactly once, however the call ends."""

import random
from collections.abc import Callable

from turnout_sidecar.core.drills import Rehearsals
from turnout_sidecar.core.faults import Overlay
from turnout_sidecar.core.host import Headers
from turnout_sidecar.envoy.probes import Probes
from turnout_sidecar.policy.report import DrillEvidence, DrillOrder
from turnout_sidecar.policy.units import Millis, NanoUSD

WALL = 1_800_000_000_000
ORDER = DrillOrder(
    run="uid",
    route="support/answer",
    fault="Unavailable",
    candidates=(),
    remaining=Millis(10_000),
    ends=WALL + 10_000,
    probes=2,
    interval=Millis(100),
    max_cost=NanoUSD(1_000),
    model="answer",
)
HEAD = b"x-turnout-candidate\0local\0x-turnout-degraded\0Unavailable\0"


class Line:
    """The calls that were started."""

    def __init__(self, refuse: bool = False, inline: Callable[[int], object] | None = None) -> None:
        self.calls: list[tuple[Headers, bytes, int]] = []
        self.refuse = refuse
        self.inline = inline
        self.armed: list[int] = []

    def dial(self, head: Headers, body: bytes, timeout: Millis) -> int | None:
        if self.refuse:
            return None
        self.calls.append((head, body, timeout))
        call = len(self.calls)
        if self.inline is not None:
            self.inline(call)
        return call


def bed(line: Line) -> tuple[Probes, Rehearsals, list[int]]:
    clock = [1_000]
    rehearsals = Rehearsals(Overlay(random.Random(1), lambda: WALL))
    rehearsals.order((ORDER,), Millis(clock[0]), WALL)
    probes = Probes(rehearsals, dial=line.dial, arm=line.armed.append, now=lambda: Millis(clock[0]), wall=lambda: WALL)
    return probes, rehearsals, clock


def told(rehearsals: Rehearsals, now: int) -> DrillEvidence:
    return rehearsals.evidence(Millis(now), WALL)[0]


def test_a_probe_is_a_whole_request_and_its_answer_becomes_a_sample() -> None:
    line = Line()
    probes, rehearsals, clock = bed(line)
    probes.turn()
    ((head, body, timeout),) = line.calls
    assert dict(head)[b":path"] == b"/v1/chat/completions"
    assert dict(head)[b"content-length"] == b"%d" % len(body)
    assert b'"model":"answer"' in body
    assert timeout == ORDER.timeout
    assert line.armed[-1] == 50
    clock[0] += 30
    assert probes.called(1, 200, HEAD, b'{"turnout":{}}')
    (sample,) = told(rehearsals, clock[0]).samples
    assert (sample.status, sample.candidate, sample.degraded, sample.duration) == (200, "local", "Unavailable", 30)


def test_a_call_that_ends_inside_its_own_start_is_not_lost() -> None:
    line = Line()
    probes, rehearsals, clock = bed(line)
    line.inline = lambda call: probes.called(call, 503, b"", b"")
    probes.turn()
    (sample,) = told(rehearsals, clock[0]).samples
    assert sample.status == 503


def test_a_call_without_an_answer_is_a_sample_with_an_error() -> None:
    line = Line()
    probes, rehearsals, clock = bed(line)
    probes.turn()
    assert probes.called(1, 0, b"", b"")
    (sample,) = told(rehearsals, clock[0]).samples
    assert sample.error


def test_a_call_that_cannot_be_started_proves_nothing_and_the_run_goes_on() -> None:
    line = Line(refuse=True)
    probes, rehearsals, clock = bed(line)
    for _ in range(4):
        probes.turn()
        clock[0] += 50
    evidence = told(rehearsals, clock[0])
    assert evidence.samples == ()
    assert evidence.state == "Observing"


def test_calls_of_others_are_left_to_them() -> None:
    probes, _, _ = bed(Line())
    assert not probes.called(99, 200, b"", b"")
