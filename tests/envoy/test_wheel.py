"""The wheel alone, by hand-driven time."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from turnout_sidecar.envoy.wheel import TICK, Alarmed, Wheel
from turnout_sidecar.policy.units import Millis


@dataclass(eq=False)
class One:
    due: Millis | None = None
    slot: int | None = None


def test_it_says_once_that_it_slept() -> None:
    wheel, a, b = Wheel(), One(), One()
    assert wheel.arm(a, Millis(100))
    assert not wheel.arm(b, Millis(100))
    assert not wheel.sleep_if_empty()
    assert set(map(id, wheel.turn(Millis(140)))) == {id(a), id(b)}
    assert wheel.sleep_if_empty()
    assert wheel.arm(a, Millis(200))


def test_disarming_is_forgetting_the_time() -> None:
    wheel, a = Wheel(), One()
    wheel.arm(a, Millis(100))
    a.due = None
    assert wheel.turn(Millis(1_000)) == []


def test_a_later_time_rings_later_and_an_earlier_one_earlier() -> None:
    wheel, a = Wheel(), One()
    wheel.arm(a, Millis(1_000))
    wheel.arm(a, Millis(100))
    assert wheel.turn(Millis(100 + TICK)) == [a]
    wheel.arm(a, Millis(200))
    wheel.arm(a, Millis(2_000))
    assert wheel.turn(Millis(1_999)) == []
    assert wheel.turn(Millis(2_000 + TICK)) == [a]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400), st.integers(0, 60)), max_size=60))
def test_everyone_rings_within_a_tick_and_never_early(steps: list[tuple[int, int, int]]) -> None:
    """Arms with delays, turned at uneven times as a busy main thread would."""
    wheel, now = Wheel(), 1_000
    ones: list[Alarmed] = [One() for _ in range(6)]
    want: dict[int, int] = {}
    for who, delay, passes in steps:
        wheel.arm(ones[who], Millis(now + delay))
        want[who] = now + delay
        now += passes
        for one in wheel.turn(Millis(now)):
            index = ones.index(one)
            assert want.pop(index) <= now
        assert all(at + TICK >= now for at in want.values()), "nobody is left behind for more than a tick"
    for one in wheel.turn(Millis(now + 1_000)):
        want.pop(ones.index(one))
    assert want == {}
