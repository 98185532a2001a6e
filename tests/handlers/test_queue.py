"""The keyed queue: dedupe, one worker a key, backoff."""

import threading

from turnout_operator.handlers.queue import BASE_BACKOFF, MOST_BACKOFF, Queue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_added_twice_is_worked_once() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    queue.add("a")
    assert queue.take(0) == "a"
    assert queue.take(0) is None


def test_a_key_added_while_it_is_worked_on_runs_once_more_afterwards() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("a")
    queue.add("a")
    assert queue.take(0) is None
    queue.done("a")
    assert queue.take(0) == "a"
    queue.done("a")
    assert queue.take(0) is None


def test_failures_back_off_exponentially_up_to_a_cap_and_success_forgets_them() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    queue.add("a")
    delays = []
    for _ in range(12):
        assert queue.take(0) == "a"
        delay = queue.failed("a")
        delays.append(delay)
        assert queue.take(0) is None
        clock.now += delay
    assert delays[:3] == [BASE_BACKOFF, BASE_BACKOFF * 2, BASE_BACKOFF * 4]
    assert delays[-1] == MOST_BACKOFF
    assert queue.take(0) == "a"
    queue.done("a")
    queue.add("a")
    assert queue.take(0) == "a"
    assert queue.failed("a") == BASE_BACKOFF


def test_a_change_during_a_failing_run_is_not_made_to_wait_for_the_backoff() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    queue.add("a")
    queue.take(0)
    queue.add("a")
    queue.failed("a")
    assert queue.take(0) == "a"


def test_the_earlier_of_two_times_counts() -> None:
    clock = Clock()
    queue: Queue[str] = Queue(clock)
    queue.add("a", 60)
    queue.add("a", 1)
    queue.add("a", 30)
    clock.now = 1
    assert queue.take(0) == "a"
    queue.done("a")
    clock.now = 100
    assert queue.take(0) is None


def test_closing_wakes_those_that_wait() -> None:
    queue: Queue[str] = Queue()
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(queue.take()))
    thread.start()
    queue.close()
    thread.join(5)
    assert got == [None]
