"""The wheel alone, by hand-driven time."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from turnout_sidecar.envoy.wheel import TICK, Wheel


@dataclass(eq=False)
class One:
    due: int | None = None
    slot: int | None = None


def test_it_says_once_that_it_slept() -> None:
    wheel, a, b = Wheel(), One(), One()
    assert wheel.arm(a, 100)
    assert not wheel.arm(b, 100)
    assert not wheel.sleep_if_empty()
    assert set(map(id, wheel.turn(140))) == {id(a), id(b)}
    assert wheel.sleep_if_empty()
    assert wheel.arm(a, 200)


def test_disarming_is_forgetting_the_time() -> None:
    wheel, a = Wheel(), One()
    wheel.arm(a, 100)
    a.due = None
    assert wheel.turn(1_000) == []


def test_a_later_time_rings_later_and_an_earlier_one_earlier() -> None:
    wheel, a = Wheel(), One()
    wheel.arm(a, 1_000)
    wheel.arm(a, 100)
    assert wheel.turn(100 + TICK) == [a]
    wheel.arm(a, 200)
    wheel.arm(a, 2_000)
    assert wheel.turn(1_999) == []
    assert wheel.turn(2_000 + TICK) == [a]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400), st.integers(0, 60)), max_size=60))
def test_everyone_rings_within_a_tick_and_never_early(steps: list[tuple[int, int, int]]) -> None:
    """Arms with delays, turned at uneven times as a busy main thread would."""
    wheel, now = Wheel(), 1_000
    ones = [One() for _ in range(6)]
    want: dict[int, int] = {}
    for who, delay, passes in steps:
        wheel.arm(ones[who], now + delay)
        want[who] = now + delay
        now += passes
        for one in wheel.turn(now):
            index = ones.index(one)
            assert want.pop(index) <= now
        assert all(at + TICK >= now for at in want.values()), "nobody is left behind for more than a tick"
    for one in wheel.turn(now + 1_000):
        want.pop(ones.index(one))
    assert want == {}
