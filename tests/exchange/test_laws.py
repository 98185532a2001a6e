"""Laws of the exchange under any order of events: no hold leaks, one head, and every request ends.

The fake host itself refuses a second head, data after the end, a cancel of what is not open, and a length that does not hold.
"""

import random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from turnout_sidecar.core.exchange import Exchange, State
from turnout_sidecar.core.host import Head, StartFailure
from turnout_sidecar.engine import Engine
from turnout_sidecar.policy.report import WIRE, Answer, Grant
from turnout_sidecar.policy.units import Millis, NanoUSD
from turnout_testing import policyfixture
from turnout_testing.fakebed import RecordingSink
from turnout_testing.fakehost import FakeHost, ManualClock
from turnout_testing.policyfixture import account
from turnout_testing.providerwire import wire

ACCOUNTS = (account("day"), account("tenant", "acme"), account("tenant", "globex"), account("month"))
POLICY = {
    "limit.day": "10",
    "limit.tenant": "1",
    "limit.pool": "10",
    "limit.request": "0.004",
    "per_candidate": "2",
    "attempts": "4",
    "backoff": "50ms/400ms",
    "order": "small,claude",
    "path.Unavailable": "claude,local,503",
    "path.OverBudget": "local,429",
    "health": "2/1s/1/4s",
    "first": "300ms",
    "attempt": "900ms",
    "total": "3s",
    "stall": "400ms",
}
BODIES = (
    b'{"model":"answer","messages":[{"role":"user","content":"Hello"}],"max_tokens":100}',
    b'{"model":"answer","messages":[{"role":"user","content":"Hello"}],"stream":true}',
    b'{"model":"answer","messages":[{"role":"user","content":"Hello"}],"stream":true,"stream_options":{"include_usage":true}}',
    b'{"model":"answer","messages":[{"role":"user","content":"Hello"}],"seed":4}',
    b'{"model":"nobody","messages":[]}',
)
LONGEST = 4_000


class Exchanges(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.engine = Engine(epoch="e", rng=random.Random(3), wall=lambda: self.clock.wall)
        self.sink = RecordingSink()
        self.engine.metrics = self.sink
        self.woken: list[Exchange] = []
        self.engine.wake = self.woken.append
        self.granted = dict.fromkeys(ACCOUNTS, 0)
        self.requests: list[tuple[FakeHost, Exchange]] = []

    @initialize()
    def a_policy_serves(self) -> None:
        self.runtime = self.engine.configure(policyfixture.document(POLICY))

    @rule(body=st.sampled_from(BODIES), tenant=st.sampled_from(("acme", "globex")), dead=st.booleans())
    def a_client_asks(self, body: bytes, tenant: str, dead: bool) -> None:
        host = FakeHost(headers={"x-tenant-id": tenant})
        if dead:
            host.refuse = StartFailure.CANNOT_SERVE
        exchange = self.engine.open(self.runtime, host)
        self.requests.append((host, exchange))
        exchange.on_request("POST", "/v1/chat/completions", body, self.clock.now)
        self.settle_wakes()

    @rule(name=st.sampled_from(ACCOUNTS), amount=st.integers(100_000, 5_000_000))
    def money_is_granted(self, name: str, amount: int) -> None:
        self.granted[name] += amount
        grant = Grant(
            account=name,
            window="w",
            window_ends=self.clock.wall + 86_400_000,
            window_remaining=Millis(86_400_000),
            granted=NanoUSD(self.granted[name]),
            recall=NanoUSD(0),
            limit=NanoUSD(10**12),
            settled=NanoUSD(0),
            exhausted=False,
        )
        self.engine.on_answer(Answer(wire=WIRE, sequence=1, grants=(grant,)), self.clock.now)
        self.settle_wakes()

    def open_streams(self) -> list[tuple[FakeHost, Exchange, int]]:
        return [(h, e, n) for h, e in self.requests for n, s in h.streams.items() if s.fate == "open"]

    @precondition(lambda self: self.open_streams())
    @rule(
        data=st.data(),
        status=st.sampled_from((200, 200, 200, 200, 400, 401, 429, 500, 502)),
        kind=st.sampled_from(("text/event-stream", "application/json", "text/html")),
        genuine=st.sampled_from((True, True, True, False)),
        end=st.sampled_from((False, False, False, True)),
    )
    def a_head_comes(self, data: Any, status: int, kind: str, genuine: bool, end: bool) -> None:
        host, exchange, stream = data.draw(st.sampled_from(self.open_streams()))
        if end:
            host.streams[stream].fate = "answered"
        head = Head(status, kind, data.draw(st.sampled_from(("", "0", "1", "soon"))), genuine, "")
        exchange.on_attempt_head(stream, head, end, self.clock.now)
        self.settle_wakes()

    @precondition(lambda self: self.open_streams())
    @rule(
        data=st.data(),
        says=st.lists(
            st.sampled_from(("role", "chunk", "finish", "usage", "done", "error", "answer", "junk", "part")),
            min_size=1,
            max_size=5,
        ),
        end=st.sampled_from((False, False, True)),
    )
    def bytes_come(self, data: Any, says: list[str], end: bool) -> None:
        host, exchange, stream = data.draw(st.sampled_from(self.open_streams()))
        sent = host.streams[stream]
        words = wire("Anthropic" if sent.path.endswith("/messages") else "OpenAI", str(sent.document["model"]))
        said = {
            "role": words.role(),
            "chunk": words.chunk("text"),
            "finish": words.finish(""),
            "usage": words.usage(9, 3),
            "done": words.done(),
            "error": words.error("server_error"),
            "answer": words.answer("text", (9, 3), ""),
            "junk": b"data: {]}\n\n",
            "part": b'data: {"cho',
        }
        if end:
            sent.fate = "answered"
        exchange.on_attempt_data(stream, b"".join(said[s] for s in says), end, self.clock.now)
        self.settle_wakes()

    @precondition(lambda self: self.open_streams())
    @rule(data=st.data(), reset=st.booleans())
    def an_upstream_ends(self, data: Any, reset: bool) -> None:
        host, exchange, stream = data.draw(st.sampled_from(self.open_streams()))
        host.streams[stream].fate = "reset" if reset else "answered"
        if reset:
            exchange.on_attempt_reset(stream, self.clock.now)
        else:
            exchange.on_attempt_end(stream, self.clock.now)
        self.settle_wakes()

    @precondition(lambda self: any(not h.end for h, _ in self.requests))
    @rule(data=st.data(), bug=st.sampled_from((False, False, False, True)))
    def a_client_leaves_or_a_bug_strikes(self, data: Any, bug: bool) -> None:
        host, exchange = data.draw(st.sampled_from([r for r in self.requests if not r[0].end]))
        if bug:
            exchange.on_bug(RuntimeError("a bug"), self.clock.now)
            assert host.end, "a bug ends the request"
        else:
            exchange.on_client_gone(self.clock.now)
            host.end = host.end or "left"
        self.settle_wakes()

    @rule(by=st.integers(1, 1_500))
    def time_passes(self, by: int) -> None:
        until = self.clock.now + by
        while armed := [(h, e) for h, e in self.requests if h.due is not None and h.due <= until and not h.end]:
            host, exchange = min(armed, key=lambda found: found[0].due or 0)
            assert host.due is not None
            due, host.due = host.due, None
            self.clock.advance(max(0, due - self.clock.now))
            exchange.on_alarm(self.clock.now)
            self.settle_wakes()
        self.clock.advance(until - self.clock.now)

    @rule()
    def the_same_policy_is_pushed(self) -> None:
        self.runtime = self.engine.configure(policyfixture.document(POLICY))

    def settle_wakes(self) -> None:
        while self.woken:
            self.woken.pop(0).on_alarm(self.clock.now)

    def books(self) -> dict[str, tuple[int, int, int, int]]:
        """granted, spent, held, free by account"""
        leases = self.engine.book._current
        return {n: (lease.granted, lease.spent, lease.held, lease.free) for n, lease in leases.items()}

    @invariant()
    def no_money_appears_or_is_lost(self) -> None:
        for name, (granted, spent, held, free) in self.books().items():
            assert granted == self.granted[name], name
            assert spent + held + free == granted, name

    @invariant()
    def nothing_is_held_for_requests_that_have_ended(self) -> None:
        open_now = [e for _, e in self.requests if e.state is not State.ENDED]
        if not open_now:
            assert all(held == 0 for _, _, held, _ in self.books().values())
            assert not self.engine._services.open
            assert not self.engine._services.parking
            assert self.engine._services.holds == 0
            assert all(load.in_flight == 0 for load in self.engine._loads.values())
            assert all(breaker._probing == 0 for breaker in self.engine._breakers.values() if breaker.half_open)
            for route in self.runtime.routes.values():
                assert (route.permits.active, route.permits.retrying) == (0, 0)

    @invariant()
    def an_ended_request_left_no_upstream_open(self) -> None:
        for host, exchange in self.requests:
            if exchange.state is State.ENDED:
                assert host.end, "the host knows that it ended"
                assert all(s.fate != "open" for s in host.streams.values()), host.transcript

    @invariant()
    def a_clean_end_is_a_whole_answer(self) -> None:
        for host, _ in self.requests:
            if host.end == "clean" and host.response.get("content-type", "").startswith("text/event-stream"):
                assert host.body.endswith(b"data: [DONE]\n\n")
            if host.end == "reset":
                assert b"[DONE]" not in host.body
                assert b'"error"' in host.body

    def teardown(self) -> None:
        for _ in range(3):
            self.time_passes(LONGEST)
        assert all(e.state is State.ENDED for _, e in self.requests), [e.state for _, e in self.requests]
        self.nothing_is_held_for_requests_that_have_ended()
        self.no_money_appears_or_is_lost()


TestExchanges = Exchanges.TestCase
TestExchanges.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
