"""One client's request, from its last byte to the last byte of its answer: the state machine of the sidecar.

What lives here: which state follows which event. What an attempt costs, who is next, what a failure means and how an answer
looks are asked of the modules named for it. Sans I/O: events come in with the time, the `Host` is called, nothing waits.

    PARKED     waits for money: a hold of somebody else's, or a lease            -> TRYING, ENDED
    BACKOFF    waits to ask the same candidate again                            -> TRYING, PARKED, ENDED
    TRYING     an attempt is open; nothing has been shown to the client          -> STREAMING, BACKOFF, TRYING, PARKED, ENDED
    STREAMING  content was shown: no other provider can take over any more      -> DRAINING, ENDED
    DRAINING   the answer is whole; the upstream's own end is awaited so that its connection can be used again -> ENDED
    ENDED      nothing is open, nothing is held

Two promises hold in every state: a hold is settled or released exactly once, and the client sees one head and then either
the whole answer with a clean end or an error event with a reset. What is still ugly: one class holds it all, because every
method needs the state; it is cut by phase with headings instead.
"""

from enum import IntEnum

from turnout_sidecar import metrics
from turnout_sidecar.core import admission, failures, plan, refusals, retry, signals
from turnout_sidecar.core.admission import Admitted
from turnout_sidecar.core.attempt import MAX_ANSWER, MAX_ERROR, NO_STREAM, Attempt
from turnout_sidecar.core.budget import Shortfall, ShortfallKind
from turnout_sidecar.core.failures import Bill, Failure
from turnout_sidecar.core.holding import Ask, Held, reserve
from turnout_sidecar.core.host import Head, Host, StartFailure
from turnout_sidecar.core.runtime import Lane, Runtime, ServedRoute
from turnout_sidecar.core.services import Services
from turnout_sidecar.messages import Answered, Headers, Malformed, Refusal, Relay, RequestFault, Unsayable, Usage
from turnout_sidecar.policy.model import FaultClass, IdempotencyKey, Step
from turnout_sidecar.policy.units import Millis, NanoUSD, Tokens

HEAD_HELD = 64 << 10
"""Bytes of a stream without content that are kept back; more than that is shown, content or not."""
GRACE = Millis(1_000)
"""How long a whole stream's upstream may take to end, before it is cancelled and its connection lost."""


class State(IntEnum):
    ADMITTING = 0
    PARKED = 1
    BACKOFF = 2
    TRYING = 3
    STREAMING = 4
    DRAINING = 5
    ENDED = 6


_TRYING = State.TRYING  # looked up for every event of every stream
_STREAMING = State.STREAMING


class Exchange:
    __slots__ = (
        "_admitted",
        "_armed",
        "_at",
        "_attempt",
        "_attempts",
        "_began",
        "_charged",
        "_deadline",
        "_fault",
        "_first",
        "_key",
        "_lane",
        "_last_usage",
        "_parked_at",
        "_path",
        "_pending",
        "_reason",
        "_resume_at",
        "_retrying",
        "_route",
        "_runtime",
        "_services",
        "_shortfall",
        "_step",
        "_steps",
        "_tried",
        "_tries",
        "_unsayable",
        "_wait_began",
        "host",
        "state",
    )

    def __init__(self, services: Services, runtime: Runtime, host: Host) -> None:
        self.host = host
        self.state = State.ADMITTING
        self._services = services
        self._runtime = runtime
        self._route: ServedRoute | None = None
        self._admitted: Admitted | None = None
        self._attempt: Attempt | None = None
        self._lane: Lane | None = None
        self._first: Lane | None = None
        self._began = Millis(0)
        self._deadline = Millis(0)
        self._armed = Millis(0)
        self._resume_at = Millis(0)
        self._attempts = 0
        self._tries = 0
        self._tried: set[str] = set()
        self._steps: tuple[Step, ...] | None = None
        self._at = 0
        self._fault: FaultClass | None = None  # why the first choice was left: its path governs
        self._reason = ""
        self._step = ""
        self._path: list[str] = []
        self._charged = NanoUSD(0)
        self._last_usage: Usage | None = None
        self._pending = b""
        self._retrying = False
        self._wait_began: Millis | None = None
        self._parked_at = ""
        self._shortfall: Shortfall | None = None
        self._unsayable = ""
        self._key = b""

    # Events ------------------------------------------------------------------------------------------------------------

    def on_request(self, method: str, path: str, body: bytes, now: Millis) -> None:
        services = self._services
        self._began = now
        services.open.add(self)
        decision = admission.admit(
            self._runtime, services.dialect, services.overlay, self.host, method, path, body, now
        )
        if isinstance(decision, Admitted):
            self._begin(decision, now)
        elif isinstance(decision, admission.Listing):
            self._answer(200, _JSON, decision.body, "ok", now)
        else:
            self._route = decision.route
            extra: Headers = ((b"allow", decision.allow.encode()),) if decision.allow else ()
            self._refuse(decision.refusal, now, extra)

    def on_attempt_head(self, stream: int, head: Head, end: bool, now: Millis) -> None:
        attempt = self._attempt
        if attempt is None or attempt.stream != stream or self.state is not State.TRYING:
            return
        attempt.heard = now
        attempt.status = head.status
        if not head.genuine:
            self._synthetic_head(attempt, head, end, now)
            return
        failure = failures.of_status(head.status)
        if failure is not None:
            self._failed(failure, now, head.retry_after, ended=end)
            return
        if head.status == 200:
            kind = head.content_type.partition(";")[0].strip().lower()
            if attempt.request.stream and kind == "text/event-stream":
                attempt.relay = attempt.lane.passage.relay(attempt.request, self._signal())
            elif kind != "application/json":
                self._failed(Failure.MALFORMED, now, ended=end)
                return
        if end:
            self._upstream_ended(attempt, now)
        elif attempt.stall is not None:
            self._arm_by(Millis(now + attempt.stall))

    def on_attempt_data(self, stream: int, data: bytes, end: bool, now: Millis) -> None:
        attempt = self._attempt
        if attempt is None or attempt.stream != stream:
            return
        attempt.heard = now
        relay = attempt.relay
        if relay is None:
            self._collect(attempt, data, end, now)
            return
        state = self.state
        if state is _STREAMING:
            out = relay.feed(data)
            if relay.flowing and not end and relay.events <= attempt.most_events:
                if out:
                    self.host.send_data(out, end=False)
                return
            self._relayed(attempt, relay, out, end, now)
        elif state is _TRYING:
            self._relayed(attempt, relay, relay.feed(data), end, now)
        elif end:
            self._finish_stream(b"", now)

    def on_attempt_end(self, stream: int, now: Millis) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.stream == stream:
            self._upstream_ended(attempt, now)

    def on_attempt_reset(self, stream: int, now: Millis) -> None:
        attempt = self._attempt
        if attempt is None or attempt.stream != stream:
            return
        if self.state is State.DRAINING:
            self._finish_stream(b"", now)
        elif self.state is State.STREAMING:
            self._break(Failure.RESET, b"", now, ended=True)
        else:
            self._failed(Failure.RESET, now, ended=True)

    def on_alarm(self, now: Millis) -> None:
        match self.state:
            case State.PARKED:
                self._unpark()
                if now >= self._deadline:
                    self._out_of_time(now)
                else:
                    self._try(now)
            case State.BACKOFF:
                if now >= self._resume_at:
                    self._try(now)
                else:
                    self.host.alarm(self._resume_at)
            case State.TRYING:
                self._check_deadlines(now)
            case State.STREAMING:
                self._check_stream(now)
            case State.DRAINING:
                self._cancel()
                self._finish_stream(b"", now)
            case State.ADMITTING | State.ENDED:
                pass

    def on_client_gone(self, now: Millis) -> None:
        if self.state is State.ENDED:
            return
        attempt = self._attempt
        if attempt is not None and not attempt.settled:
            self._cancel()
            self._settle(attempt, attempt.charge_for(Bill.ABORTED))
            attempt.lane.breaker.left(probe=attempt.probe)
            self._count(attempt, "client_gone")
        self._end("client_gone", now)

    def on_bug(self, error: BaseException, now: Millis) -> None:
        """An exception came out of an entry: the client hears of it, and money that may be owed is charged."""
        del error  # the shell logs it; its words may quote a prompt
        if self.state is State.ENDED:
            return
        self._services.metrics.count(metrics.BUGS, (self.state.name.lower(),))
        attempt = self._attempt
        if attempt is not None and not attempt.settled:
            self._cancel()
            self._settle(attempt, attempt.charge_for(Bill.ALL))
            attempt.lane.breaker.left(probe=attempt.probe)
            self._count(attempt, "bug")
        refusal = refusals.internal(self.state.name.lower())
        if self.state in (State.STREAMING, State.DRAINING):
            if attempt is not None and attempt.relay is not None and self.state is State.STREAMING:
                self.host.send_data(attempt.relay.error_event(refusal, b""), end=False)
            self._end(refusal.code, now)
            self.host.reset_soon()
        else:
            self._refuse(refusal, now)

    def shut_down(self, now: Millis) -> None:
        """The process ends: what is open is charged as if its client had left."""
        self.on_client_gone(now)

    # Routing -----------------------------------------------------------------------------------------------------------

    def _begin(self, admitted: Admitted, now: Millis) -> None:
        route = admitted.route
        self._admitted = admitted
        self._route = route
        route.permits.active += 1
        admitted.request.asked_at = self._services.wall() // 1_000
        self._deadline = Millis(now + route.policy.deadlines.total)
        choices = route.order
        if route.rules:
            facts = plan.Facts(
                model=admitted.request.model,
                input_tokens=admitted.input_bound,
                max_output_tokens=admitted.output_cap,
                stream=admitted.request.stream,
                tenant=admitted.tenant,
            )
            names, _ = plan.first_choices(route.rules, route.policy.order, facts, self.host.header)
            choices = tuple(route.lanes[name] for name in names)
        self._first = choices[0]
        for lane in choices:
            if lane.breaker.would_admit(now):
                self._ask(lane, now)
                return
            self._tried.add(lane.name)
            self._path.append(f"{lane.name}:{FaultClass.UNAVAILABLE}")
            self._reason = FaultClass.UNAVAILABLE
        self._lane = choices[-1]
        self._path.pop()
        self._leave(FaultClass.UNAVAILABLE, now)

    def _ask(self, lane: Lane, now: Millis) -> None:
        """A candidate that was not asked yet."""
        self._lane = lane
        self._tries = 0
        self._tried.add(lane.name)
        if self._reason:
            self._step = lane.step
        self._try(now)

    def _leave(self, fault: FaultClass, now: Millis) -> None:
        """The present candidate cannot serve, for this reason: the next one of the path, or the path's last word."""
        assert self._route is not None, "only an admitted request has a candidate"
        assert self._lane is not None, "only an admitted request has a candidate"
        self._path.append(f"{self._lane.name}:{fault}")
        self._reason = self._reason or fault
        if self._steps is None:
            self._fault = fault
            self._steps = self._route.steps[fault]
        if now >= self._deadline or self._attempts >= self._route.policy.attempts.max:
            self._last_word(now)
            return
        found = plan.next_candidate(self._steps, self._at, lambda name: self._usable(name, now))
        if found is None:
            self._last_word(now)
            return
        self._at = found[0] + 1
        self._ask(self._route.lanes[found[1]], now)

    def _usable(self, name: str, now: Millis) -> bool:
        assert self._route is not None, "only an admitted request has a path"
        return name not in self._tried and self._route.lanes[name].breaker.would_admit(now)

    def _last_word(self, now: Millis) -> None:
        """The declared end of the path."""
        assert self._steps is not None, "a path was taken"
        assert self._fault is not None, "a path was taken for a reason"
        step = plan.last_word(self._steps)
        self._step = plan.RESPOND
        if self._unsayable and not self._attempts:
            words = f"No provider of this route can be told '{self._unsayable}'. Leave it out."
            self._reason = self._step = ""
            self._refuse(refusals.refusal(RequestFault.UNSUPPORTED_PARAMETER, words, self._unsayable), now)
            return
        short = self._shortfall if self._fault is FaultClass.OVER_BUDGET else None
        refusal = refusals.of_step(self._fault, step, short)
        self._path.append(f"{plan.RESPOND}:{refusal.status}")
        if short is not None:
            self._count_budget_refusal(short, refusal)
        self._refuse(refusal, now)

    def _out_of_time(self, now: Millis) -> None:
        """The total deadline has passed with nothing to show."""
        if self._attempt is not None:
            self._finish_attempt(Failure.TOTAL_DEADLINE, now, ended=False)
        self._leave(FaultClass.TOO_SLOW, now)

    # Money -------------------------------------------------------------------------------------------------------------

    def _reserve(self, lane: Lane, now: Millis) -> Held | Shortfall:
        assert self._admitted is not None, "only an admitted request holds money"
        route, request, tenant, _, _, input_bound, cap, rehearsal = self._admitted
        accounts = route.accounts + lane.accounts
        if route.tenant_accounts:
            accounts += tuple([f"{account}/{tenant}" for account in route.tenant_accounts])
        ask = Ask(
            price=lane.price,
            accounts=accounts,
            input_bound=Tokens(input_bound + lane.passage.overhead(request)),
            cap=Tokens(min(cap, lane.model.max_output)),
            answers=request.answers,
            floor=route.policy.tokens.min_output,
            ceiling=None if route.request_limit is None else NanoUSD(max(route.request_limit - self._charged, 0)),
            run=None if rehearsal is None else rehearsal.run,
        )
        return reserve(self._services.book, ask, now, frugal=self._patience_over(now))

    def _patience_over(self, now: Millis) -> bool:
        """Whether the time for a first lease is up, or none was granted to begin with."""
        assert self._route is not None, "only an admitted request waits"
        began = now if self._wait_began is None else self._wait_began
        return now >= min(began + self._route.policy.max_lease_wait, self._deadline)

    def _may_wait(self, short: Shortfall, now: Millis) -> Millis | None:
        """Until when it makes sense to wait for this money."""
        assert self._route is not None, "only an admitted request waits"
        if short.kind is ShortfallKind.EXHAUSTED:
            return None
        began = now if self._wait_began is None else self._wait_began
        policy = self._route.policy
        longest = policy.max_hold_wait if short.kind is ShortfallKind.HELD else policy.max_lease_wait
        until = Millis(min(began + longest, self._deadline))
        return until if until > now else None

    def _park(self, short: Shortfall, until: Millis, now: Millis) -> None:
        if self._wait_began is None:
            self._wait_began = now
        self.state = State.PARKED
        self._parked_at = short.account
        self._services.parking.enter(short.account, self)
        self.host.alarm(until)
        self._services.on_need()

    def _unpark(self) -> None:
        if self._parked_at:
            self._services.parking.leave(self._parked_at, self)
            self._parked_at = ""

    def _settle(self, attempt: Attempt, charge: NanoUSD) -> None:
        """Exactly once an attempt, on whichever way it ends."""
        assert not attempt.settled, "an attempt is settled once"
        attempt.settled = True
        held = attempt.held
        services = self._services
        if held.hold is not None:
            if charge:
                services.book.settle(held.hold, charge)
            else:
                services.book.release(held.hold)
            services.freed(tuple([account for account, _ in held.hold.amounts]))
        assert self._admitted is not None, "only an admitted request has attempts"
        if self._admitted.rehearsal is not None:
            self._admitted.rehearsal.run.settle(held.amount, charge)
        if charge:
            self._charged = NanoUSD(self._charged + charge)
            services.metrics.count(metrics.COST, attempt.lane.cost_labels, charge)
            if charge > held.amount:
                services.metrics.count(metrics.ABOVE_HOLD, attempt.lane.attempt_labels)
        if attempt.stream != NO_STREAM:
            attempt.lane.load.in_flight -= 1
        if self._retrying:
            self._retrying = False
            self._admitted.route.permits.retrying -= 1

    # Attempts ----------------------------------------------------------------------------------------------------------

    def _try(self, now: Millis) -> None:
        """Asks the present candidate, if money and health allow."""
        lane, admitted = self._lane, self._admitted
        assert lane is not None, "a candidate was chosen"
        assert admitted is not None, "only an admitted request has attempts"
        assert self._first is not None, "only an admitted request has attempts"
        fault = admitted.rehearsal.meets(lane.name, self._first.name) if admitted.rehearsal is not None else None
        if fault is FaultClass.OVER_BUDGET:
            self._shortfall = Shortfall("drill/-", ShortfallKind.EXHAUSTED, NanoUSD(0), None)
            self._leave(FaultClass.OVER_BUDGET, now)
            return
        if fault is None and not lane.breaker.admit(now):
            self._leave(FaultClass.UNAVAILABLE, now)
            return
        probe = fault is None and lane.breaker.half_open
        held = self._reserve(lane, now)
        if isinstance(held, Shortfall):
            if fault is None:
                lane.breaker.left(probe=probe)
            self._short(held, now)
            return
        input_bound = Tokens(admitted.input_bound + lane.passage.overhead(admitted.request))
        deadlines = admitted.route.policy.deadlines
        attempt = Attempt(
            lane, admitted.request, held, input_bound, deadlines, now, probe=probe, synthetic=fault is not None
        )
        self._attempt = attempt
        self.state = State.TRYING
        if fault is None:
            self._start(attempt, now)
        else:
            self._attempts += 1
            self._tries += 1
            self._inject(fault, now)

    def _short(self, short: Shortfall, now: Millis) -> None:
        until = self._may_wait(short, now)
        if until is not None:
            self._park(short, until, now)
            return
        self._stop_retrying()
        self._shortfall = short
        self._leave(FaultClass.OVER_BUDGET, now)

    def _start(self, attempt: Attempt, now: Millis) -> None:
        lane = attempt.lane
        try:
            body = lane.passage.encode(attempt.request, lane.model.name, attempt.held.cap)
        except Unsayable as e:
            self._unsayable = e.param
            self._attempt = None
            self._settle(attempt, NanoUSD(0))
            lane.breaker.left(probe=attempt.probe)
            self._leave(FaultClass.UNAVAILABLE, now)
            return
        self._attempts += 1
        self._tries += 1
        road = lane.roads[0] if len(lane.roads) == 1 else self._services.rng.choices(lane.roads, lane.weights)[0]
        stream = self.host.start(road.endpoint, road.path, self._attempt_headers(lane), body)
        if isinstance(stream, StartFailure):
            self._failed(Failure.CONNECT, now, ended=True)
            return
        attempt.stream = stream
        lane.load.in_flight += 1
        if attempt.held.clamped:
            self._services.metrics.count(metrics.CLAMPED, (self._route.key,) if self._route is not None else ("",))
        self._arm(min(attempt.due_before_content(), self._deadline))

    def _inject(self, fault: FaultClass, now: Millis) -> None:
        """A drill's fault in place of the provider; from here on everything is the real path."""
        match fault:
            case FaultClass.UNAVAILABLE:
                self._failed(Failure.CONNECT, now, ended=True)
            case FaultClass.RATE_LIMITED:
                self._failed(Failure.RATE_LIMITED, now, "1", ended=True)
            case FaultClass.INVALID_OUTPUT:
                self._failed(Failure.MALFORMED, now, ended=True)
            case FaultClass.TOO_SLOW:
                assert self._attempt is not None, "a fault meets an attempt"
                self._arm(min(self._attempt.due_before_content(), self._deadline))
            case FaultClass.OVER_BUDGET:
                raise AssertionError("a budget fault acts before the attempt")

    def _attempt_headers(self, lane: Lane) -> Headers:
        assert self._route is not None, "only an admitted request has attempts"
        mode = self._route.policy.attempts.idempotency_key
        if mode is IdempotencyKey.NONE:
            return lane.headers
        if not self._key:
            if mode is IdempotencyKey.GENERATE:
                self._key = b"turnout-%032x" % self._services.rng.getrandbits(128)
            else:
                self._key = self.host.header("idempotency-key").encode()[:256]
        return (*lane.headers, (b"idempotency-key", self._key)) if self._key else lane.headers

    def _failed(self, failure: Failure, now: Millis, retry_after: str = "", *, ended: bool) -> None:
        """The open attempt failed before anything was shown: again, or the path."""
        assert self._route is not None, "only an admitted request has attempts"
        self._finish_attempt(failure, now, ended=ended)
        consequence = failure.what
        policy = self._route.policy.attempts
        steps = self._route.steps[consequence.fault] if self._steps is None else self._steps
        ahead = plan.candidates_ahead(steps, self._at, lambda name: self._usable(name, now))
        if plan.may_retry(policy, consequence.retry, self._tries, self._attempts, ahead):
            wait = self._pause(retry_after)
            if wait is not None and now + wait < self._deadline and self._route.permits.allow(policy.retry_budget):
                self._retrying = True
                self._route.permits.retrying += 1
                self._resume_at = Millis(now + wait)
                self.state = State.BACKOFF
                self.host.alarm(self._resume_at)
                return
        self._leave(consequence.fault, now)

    def _pause(self, retry_after: str) -> Millis | None:
        """How long to wait before the same candidate is asked again; None where it asked for more than the route waits."""
        assert self._route is not None, "only an admitted request has attempts"
        policy = self._route.policy.attempts
        asked = retry.retry_after(retry_after, self._services.wall()) if retry_after else None
        if asked is not None:
            return asked if asked <= policy.honor_retry_after else None
        return retry.backoff(policy.backoff, self._tries - 1, self._services.rng)

    def _finish_attempt(self, failure: Failure, now: Millis, *, ended: bool) -> None:
        """Closes the open attempt: upstream, money, health, metrics."""
        attempt = self._attempt
        assert attempt is not None, "an attempt is open"
        if not ended:
            self._cancel()
        self._attempt = None
        consequence = failure.what
        self._settle(attempt, attempt.charge_for(consequence.bill))
        if not attempt.synthetic:
            if consequence.ill:
                attempt.lane.breaker.failed(now, probe=attempt.probe)
            else:
                attempt.lane.breaker.left(probe=attempt.probe)
        self._count(attempt, consequence.label)
        self._pending = b""

    def _cancel(self) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.stream != NO_STREAM:
            self.host.cancel(attempt.stream)

    def _stop_retrying(self) -> None:
        if self._retrying and self._route is not None:
            self._retrying = False
            self._route.permits.retrying -= 1

    # Deadlines ---------------------------------------------------------------------------------------------------------

    def _arm(self, at: Millis) -> None:
        self._armed = at
        self.host.alarm(at)

    def _arm_by(self, at: Millis) -> None:
        """Sooner than it was, or not at all: an alarm that comes too soon looks again, and each call to the host costs."""
        if at < self._armed:
            self._arm(at)

    def _check_deadlines(self, now: Millis) -> None:
        attempt = self._attempt
        assert attempt is not None, "an attempt is open"
        if now >= self._deadline:
            self._out_of_time(now)
        elif attempt.first_by is not None and now >= attempt.first_by:
            self._failed(Failure.FIRST_TOKEN, now, ended=False)
        elif now >= attempt.by:
            self._failed(Failure.ATTEMPT_DEADLINE, now, ended=False)
        elif now >= attempt.due_before_content():
            self._failed(Failure.STALL, now, ended=False)
        else:
            self._arm(min(attempt.due_before_content(), self._deadline))

    def _check_stream(self, now: Millis) -> None:
        """After content only silence and the total deadline count: the attempt's own deadline was there to leave time for others."""
        attempt = self._attempt
        assert attempt is not None, "a stream has an attempt"
        quiet = None if attempt.stall is None or attempt.heard is None else Millis(attempt.heard + attempt.stall)
        if now >= self._deadline:
            self._break(Failure.TOTAL_DEADLINE, b"", now, ended=False)
        elif quiet is not None and now >= quiet:
            self._break(Failure.STALL, b"", now, ended=False)
        else:
            self._arm(self._deadline if quiet is None else min(quiet, self._deadline))

    # Answers -----------------------------------------------------------------------------------------------------------

    def _synthetic_head(self, attempt: Attempt, head: Head, end: bool, now: Millis) -> None:
        """Envoy made this head up for a failure of its own; the words that tell which may follow as its body."""
        attempt.words = head.detail or f"status {head.status}"
        if head.detail or end:
            self._failed(failures.of_synthetic(attempt.words), now, ended=end)

    def _collect(self, attempt: Attempt, data: bytes, end: bool, now: Millis) -> None:
        """A body that is looked at as a whole."""
        if self.state is not State.TRYING:
            return
        attempt.size += len(data)
        if attempt.words:
            self._failed(failures.of_synthetic(data[:512].decode("latin-1")), now, ended=end)
        elif attempt.size > (MAX_ANSWER if attempt.status == 200 else MAX_ERROR):
            self._failed(Failure.MALFORMED, now, ended=end)
        else:
            attempt.parts.append(data)
            if end:
                self._upstream_ended(attempt, now)

    def _upstream_ended(self, attempt: Attempt, now: Millis) -> None:
        """A clean end of the upstream; whether the answer is whole is another question."""
        relay = attempt.relay
        if self.state is State.DRAINING:
            self._finish_stream(b"", now)
        elif relay is not None:
            self._stream_ended(attempt, relay, now)
        elif self.state is not State.TRYING:
            return
        elif attempt.words:
            self._failed(failures.of_synthetic(attempt.words), now, ended=True)
        elif not attempt.status:
            self._failed(Failure.RESET, now, ended=True)
        elif attempt.status == 200:
            self._whole_answer(attempt, now)
        else:
            self._pass_refusal(attempt, now)

    def _whole_answer(self, attempt: Attempt, now: Millis) -> None:
        body = b"".join(attempt.parts)
        passage, request = attempt.lane.passage, attempt.request
        read = passage.reframe if request.stream else passage.answer
        try:
            answered = read(body, request, self._signal())
        except Malformed:
            self._failed(Failure.MALFORMED, now, ended=True)
            return
        if answered.error is not None:
            self._failed(failures.of_error(answered.error, begun=False), now, ended=True)
            return
        self._succeeded(attempt, answered.usage, answered.model)
        self._deliver(attempt, answered, now)

    def _pass_refusal(self, attempt: Attempt, now: Millis) -> None:
        """The provider found fault with the request: another one would too, and only the client can mend it."""
        error = attempt.lane.passage.decode_error(attempt.status, b"".join(attempt.parts))
        self._attempt = None
        self._settle(attempt, NanoUSD(0))
        attempt.lane.breaker.succeeded(probe=attempt.probe)
        self._count(attempt, "refused")
        self._refuse(refusals.of_provider(attempt.status, error), now)

    def _deliver(self, attempt: Attempt, answered: Answered, now: Millis) -> None:
        lane = attempt.lane
        head = lane.stream_head if attempt.request.stream else lane.plain_head
        cost = (b"x-turnout-cost", signals.dollars(self._charged).encode())
        headers = (*head, _length(answered.body), cost, *self._told(attempt))
        self._attempt = None
        self.host.send_head(200, headers)
        self._end("ok", now)
        self.host.send_data(answered.body, end=True)

    def _told(self, attempt: Attempt) -> Headers:
        """What every answer of a provider says about itself beside the candidate's own headers."""
        told: list[tuple[bytes, bytes]] = [(b"x-turnout-attempts", b"%d" % self._attempts)]
        if attempt.held.clamped:
            told.append((b"x-turnout-max-tokens", b"%d" % attempt.held.cap))
        return (*told, *self._degraded(f"{attempt.lane.name}:ok"))

    def _degraded(self, last: str) -> Headers:
        headers: Headers = signals.degraded(self._reason, self._step) if self._reason else ()
        if self._admitted is not None and self._admitted.rehearsal is not None:
            path = [*self._path, last] if last else self._path
            headers = (*headers, (b"x-turnout-path", ",".join(path).encode()))
        return headers

    def _signal(self) -> bytes:
        """The `turnout` field of an answer; empty while the first choice serves."""
        if not self._reason or self._lane is None or self._first is None:
            return b""
        served = "" if self._step == plan.RESPOND else self._lane.name
        return signals.field(self._reason, self._step, self._first.name, served)

    def _succeeded(self, attempt: Attempt, usage: Usage | None, model: str) -> None:
        """The answer is whole: it is charged and the candidate is well."""
        assert self._route is not None, "only an admitted request has attempts"
        lane, sink = attempt.lane, self._services.metrics
        self._settle(attempt, attempt.charge_by(usage, model, self._route.prices))
        lane.breaker.succeeded(probe=attempt.probe)
        self._last_usage = usage
        if usage is None:
            sink.count(metrics.UNMETERED, lane.attempt_labels)
        else:
            sink.observe(metrics.TOKENS, lane.input_labels, usage.all_input)
            sink.observe(metrics.TOKENS, lane.output_labels, usage.output)
        self._count(attempt, "ok")

    # Streams -----------------------------------------------------------------------------------------------------------

    def _relayed(self, attempt: Attempt, relay: Relay, out: bytes, end: bool, now: Millis) -> None:
        """Everything but the plain middle of a stream."""
        failure = _fault_of(attempt, relay)
        if failure is not None:
            sound = b"" if failure is Failure.OVER_CAP else out
            if self.state is State.STREAMING:
                self._break(failure, sound, now, ended=end)
            else:
                self._failed(failure, now, ended=end)
            return
        if self.state is State.TRYING:
            self._pending += out
            if not (relay.content or relay.finished or relay.done or len(self._pending) > HEAD_HELD):
                if end:
                    self._stream_ended(attempt, relay, now)
                return
            self._commit(attempt, now)
            out = b""
        if relay.done:
            self._succeeded(attempt, relay.usage, relay.model)
        if end:
            self._stream_ended(attempt, relay, now, out)
            return
        if out:
            self.host.send_data(out, end=False)
        if relay.done:
            self.state = State.DRAINING
            self.host.alarm(Millis(now + GRACE))

    def _commit(self, attempt: Attempt, now: Millis) -> None:
        """Shows the head and what was kept back. From here on this candidate serves, or nobody."""
        lane = attempt.lane
        bound = NanoUSD(self._charged + (0 if attempt.settled else attempt.held.amount))
        cost = (b"x-turnout-cost-bound", signals.dollars(bound).encode())
        self.state = State.STREAMING
        self.host.send_head(200, (*lane.stream_head, cost, *self._told(attempt)))
        pending, self._pending = self._pending, b""
        if pending:
            self.host.send_data(pending, end=False)
        if attempt.stall is not None:
            self._arm_by(Millis(now + attempt.stall))
        self._services.metrics.observe(metrics.FIRST_TOKEN, lane.model_labels, now - attempt.started)

    def _stream_ended(self, attempt: Attempt, relay: Relay, now: Millis, out: bytes = b"") -> None:
        if not (relay.done or relay.finished):
            if self.state is State.STREAMING:
                self._break(Failure.RESET, out, now, ended=True)
            else:
                self._failed(Failure.RESET, now, ended=True)
            return
        if self.state is State.TRYING:
            self._commit(attempt, now)
        if not attempt.settled:
            self._succeeded(attempt, relay.usage, relay.model)
        self._finish_stream(out + relay.close(), now)

    def _finish_stream(self, last: bytes, now: Millis) -> None:
        """The clean end of a whole answer."""
        self._attempt = None
        self._end("ok", now)
        self.host.send_data(last, end=True)

    def _break(self, failure: Failure, out: bytes, now: Millis, *, ended: bool) -> None:
        """A stream that was shown cannot be made whole: the error event, then a reset. A clean end would look like success."""
        attempt = self._attempt
        assert attempt is not None, "a stream has an attempt"
        assert attempt.relay is not None, "a stream has a relay"
        assert self._first is not None, "a stream has a candidate"
        fault = failure.what.fault
        signal = signals.field(fault, "error", self._first.name, attempt.lane.name)
        event = attempt.relay.error_event(refusals.of_broken_stream(fault), signal)
        self._finish_attempt(failure, now, ended=ended)
        self.host.send_data(out + event, end=False)
        self._end("cut", now)
        self.host.reset_soon()

    # The end -----------------------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal, now: Millis, extra: Headers = ()) -> None:
        route = self._route
        body = self._services.dialect.encode_error(refusal, self._signal())
        headers: list[tuple[bytes, bytes]] = [*_JSON, _length(body), *extra]
        headers.append((b"x-should-retry", b"true" if refusal.should_retry else b"false"))
        if refusal.retry_after is not None:
            headers.append((b"retry-after", b"%d" % -(-refusal.retry_after // 1_000)))
        if route is not None:
            headers += route.refusal_head
        if self._admitted is not None:
            headers.append((b"x-turnout-attempts", b"%d" % self._attempts))
            headers.append((b"x-turnout-cost", signals.dollars(self._charged).encode()))
            headers += self._degraded("")
        self.host.send_head(refusal.status, tuple(headers))
        self._end(refusal.code, now)
        self.host.send_data(body, end=True)

    def _answer(self, status: int, headers: Headers, body: bytes, reason: str, now: Millis) -> None:
        self.host.send_head(status, (*headers, _length(body)))
        self._end(reason, now)
        self.host.send_data(body, end=True)

    def _end(self, reason: str, now: Millis) -> None:
        """Nothing is open and nothing is held any more. Before the last byte, because the access log is written inside it."""
        services = self._services
        self._unpark()
        self._stop_retrying()
        self._attempt = None
        self.state = State.ENDED
        services.open.discard(self)
        route, admitted = self._route, self._admitted
        if admitted is not None:
            admitted.route.permits.active -= 1
        sink = services.metrics
        if route is None:
            sink.count(metrics.REQUESTS, ("", reason))
        else:
            sink.count(metrics.REQUESTS, route.ok_labels if reason == "ok" else (route.key, reason))
        if self._reason and route is not None:
            sink.count(metrics.DEGRADED, (route.key, self._reason, self._step))
        if reason == "ok" and self._lane is not None:
            sink.observe(metrics.DURATION, self._lane.model_labels, now - self._began)
        self._record(reason)

    def _record(self, reason: str) -> None:
        """The facts of the access log."""
        record = self.host.record
        if self._route is not None:
            record("route", self._route.key)
        if reason != "ok" or self._reason:
            record("reason", self._reason if reason == "ok" else reason)
        admitted = self._admitted
        if admitted is None:
            return
        for name, value in (("tenant", admitted.tenant), ("user", admitted.user), ("run", admitted.run)):
            if value != "-":
                record(name, value)
        if self._lane is not None and reason in _SERVED:
            record("candidate", self._lane.name)
            record("model", self._lane.model.name)
        record("attempts", self._attempts)
        if self._last_usage is not None:
            record("input_tokens", self._last_usage.all_input)
            record("output_tokens", self._last_usage.output)
        record("cost_nano_usd", self._charged)
        if self._step:
            record("step", self._step)
        if self._path:
            record("path", ",".join(self._path))

    def _count(self, attempt: Attempt, outcome: str) -> None:
        self._services.metrics.count(metrics.ATTEMPTS, (*attempt.lane.attempt_labels, outcome))

    def _count_budget_refusal(self, short: Shortfall, refusal: Refusal) -> None:
        assert self._route is not None, "only an admitted request has a budget"
        limit = short.account.rsplit("/", 1)[0]
        self._services.metrics.count(metrics.BUDGET_REFUSALS, (self._route.key, limit, refusal.code))


_SERVED = frozenset({"ok", "cut", "client_gone"})
_JSON: Headers = ((b"content-type", b"application/json"),)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


def _fault_of(attempt: Attempt, relay: Relay) -> Failure | None:
    if relay.error is not None:
        return failures.of_error(relay.error, begun=relay.begun)
    if relay.malformed:
        return Failure.MALFORMED
    return Failure.OVER_CAP if relay.events > attempt.most_events else None
