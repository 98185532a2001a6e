"""One client's request, from its last byte to the last byte of its answer: the state machine of the sidecar.

What lives here: which state follows which event. Where the request stands on its route is asked of `journey`, what it may spend of
`purse`, what a failure means of `failures`, how an answer looks of `telling`. Sans I/O: events come in with the time, the `Host`
is called, nothing waits.

    ADMITTING  the request has not been judged yet                              -> PARKED, TRYING, ENDED
    PARKED     waits for money: a hold of somebody else's, or a lease            -> TRYING, ENDED
    BACKOFF    waits to ask the same candidate again                            -> TRYING, PARKED, ENDED
    TRYING     an attempt is open; nothing has been shown to the client          -> STREAMING, BACKOFF, PARKED, ENDED
    STREAMING  content was shown: no other provider can take over any more      -> DRAINING, ENDED
    DRAINING   the answer is whole; the upstream's own end is awaited so that its connection can be used again -> ENDED
    ENDED      nothing is open, nothing is held

Two promises hold in every state: a hold is settled or released exactly once, and the client sees one head and then either the
whole answer with a clean end or an error event with a reset. An attempt that failed is closed before the next one is thought of.
"""

from enum import IntEnum

from turnout_sidecar import metrics
from turnout_sidecar.core import admission, failures, identity, plan, refusals, retry, telling
from turnout_sidecar.core.admission import Admitted, Refused
from turnout_sidecar.core.attempt import MAX_ANSWER, MAX_ERROR, NO_STREAM, Attempt
from turnout_sidecar.core.budget import Shortfall, ShortfallKind
from turnout_sidecar.core.failures import Bill, Failure
from turnout_sidecar.core.host import Head, Host, StartFailure
from turnout_sidecar.core.journey import Journey
from turnout_sidecar.core.purse import Purse
from turnout_sidecar.core.runtime import Lane, Runtime, ServedRoute
from turnout_sidecar.core.services import Services
from turnout_sidecar.messages import Headers, Malformed, Refusal, Relay, RequestFault, Unsayable, Usage
from turnout_sidecar.policy.model import FaultClass, IdempotencyKey
from turnout_sidecar.policy.units import Millis, NanoUSD

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
        "_attempt",
        "_began",
        "_deadline",
        "_journey",
        "_key",
        "_last_usage",
        "_parked_at",
        "_pending",
        "_purse",
        "_resume_at",
        "_retrying",
        "_route",
        "_runtime",
        "_services",
        "_unsayable",
        "host",
        "state",
    )

    _admitted: Admitted
    _journey: Journey
    _purse: Purse
    # these three are there from ADMITTING's end on, if it did not end in a refusal

    def __init__(self, services: Services, runtime: Runtime, host: Host) -> None:
        self.host = host
        self.state = State.ADMITTING
        self._services = services
        self._runtime = runtime
        self._route: ServedRoute | None = None
        self._attempt: Attempt | None = None
        self._began = Millis(0)
        self._deadline = Millis(0)
        self._armed = Millis(0)
        self._resume_at = Millis(0)
        self._last_usage: Usage | None = None
        self._pending = b""
        self._retrying = False
        self._parked_at = ""
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
        elif isinstance(decision, Refused):
            self._route = decision.route
            extra: Headers = ((b"allow", decision.allow.encode()),) if decision.allow else ()
            self._refuse(decision.refusal, now, extra)
        else:
            self.host.send_head(200, (*telling.JSON, telling.length(decision.body)))
            self._end("ok", now)
            self.host.send_data(decision.body, end=True)

    def on_attempt_head(self, stream: int, head: Head, end: bool, now: Millis) -> None:
        attempt = self._attempt
        if attempt is None or attempt.stream != stream or self.state is not _TRYING:
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
                attempt.relay = attempt.lane.passage.relay(attempt.request, self._journey.signal())
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
        elif self.state is _STREAMING:
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
        self._abandon(Bill.ABORTED, "client_gone")
        self._end("client_gone", now)

    def on_bug(self, error: BaseException, now: Millis) -> None:
        """An exception came out of an entry: the client hears of it, and money that may be owed is charged."""
        del error  # the shell logs it; its words may quote a prompt
        if self.state is State.ENDED:
            return
        state, attempt = self.state, self._attempt
        self._services.metrics.count(metrics.BUGS, (state.name.lower(),))
        self._abandon(Bill.ALL, "bug")
        refusal = refusals.internal(state.name.lower())
        if state < _STREAMING:
            self._refuse(refusal, now)
            return
        if state is _STREAMING and attempt is not None and attempt.relay is not None:
            self.host.send_data(attempt.relay.error_event(refusal, b""), end=False)
        self._end(refusal.code, now)
        self.host.reset_soon()

    # Routing -----------------------------------------------------------------------------------------------------------

    def _begin(self, admitted: Admitted, now: Millis) -> None:
        route = admitted.route
        self._admitted = admitted
        self._route = route
        admitted.request.asked_at = self._services.wall() // 1_000
        self._deadline = Millis(now + route.policy.deadlines.total)
        self._purse = Purse(self._services, admitted, self._deadline)
        if route.policy.labels and (labels := identity.labels(self.host, route.policy.labels)):
            self.host.record("labels", labels)
        choices = self._choices(admitted) if route.rules else route.order
        self._journey = Journey(route, choices[0])
        route.permits.active += 1
        if self._journey.begin(choices, now) is None:
            self._leave(FaultClass.UNAVAILABLE, now)
        else:
            self._try(now)

    def _choices(self, admitted: Admitted) -> tuple[Lane, ...]:
        route, request = admitted.route, admitted.request
        facts = plan.Facts(
            model=request.model,
            input_tokens=admitted.input_bound,
            max_output_tokens=admitted.output_cap,
            stream=request.stream,
            tenant=admitted.tenant,
        )
        names, _ = plan.first_choices(route.rules, route.policy.order, facts, self.host.header)
        return tuple(route.lanes[name] for name in names)

    def _leave(self, fault: FaultClass, now: Millis) -> None:
        """The present candidate cannot serve, for this reason: the next one of the path, or the path's last word."""
        if self._journey.leave(fault, now, in_time=now < self._deadline) is not None:
            self._try(now)
        elif self._unsayable and not self._journey.attempts:
            words = f"No provider of this route can be told '{self._unsayable}'. Leave it out."
            self._journey.forget()
            self._refuse(refusals.refusal(RequestFault.UNSUPPORTED_PARAMETER, words, self._unsayable), now)
        else:
            self._last_word(now)

    def _last_word(self, now: Millis) -> None:
        fault, step = self._journey.end()
        short = self._purse.short if fault is FaultClass.OVER_BUDGET else None
        refusal = refusals.of_step(fault, step, short)
        if short is not None:
            labels = (self._admitted.route.key, short.account.rsplit("/", 1)[0], refusal.code)
            self._services.metrics.count(metrics.BUDGET_REFUSALS, labels)
        self._refuse(refusal, now)

    def _out_of_time(self, now: Millis) -> None:
        """The total deadline has passed with nothing to show."""
        if self._attempt is not None:
            self._finish_attempt(Failure.TOTAL_DEADLINE, now, ended=False)
        self._leave(FaultClass.TOO_SLOW, now)

    # Waiting for money -------------------------------------------------------------------------------------------------

    def _lacks(self, short: Shortfall, now: Millis) -> None:
        until = self._purse.may_wait(short, now)
        if until is not None:
            self.state = State.PARKED
            self._parked_at = short.account
            self._services.parking.enter(short.account, self)
            self.host.alarm(until)
            self._services.on_need()
            return
        self._stop_retrying()
        self._purse.short = short
        self._leave(FaultClass.OVER_BUDGET, now)

    def _unpark(self) -> None:
        if self._parked_at:
            self._services.parking.leave(self._parked_at, self)
            self._parked_at = ""

    # Attempts ----------------------------------------------------------------------------------------------------------

    def _try(self, now: Millis) -> None:
        """Asks the present candidate, if money and health allow."""
        journey, admitted = self._journey, self._admitted
        lane = journey.lane
        fault = None if admitted.rehearsal is None else admitted.rehearsal.meets(lane.name, journey.first.name)
        if fault is FaultClass.OVER_BUDGET:
            self._purse.short = Shortfall("drill/-", ShortfallKind.EXHAUSTED, NanoUSD(0), None)
            self._leave(FaultClass.OVER_BUDGET, now)
            return
        if fault is None and not lane.breaker.admit(now):
            self._leave(FaultClass.UNAVAILABLE, now)
            return
        probe = fault is None and lane.breaker.half_open
        held = self._purse.hold(lane, now)
        if isinstance(held, Shortfall):
            if fault is None:
                lane.breaker.left(probe=probe)
            self._lacks(held, now)
            return
        deadlines = admitted.route.policy.deadlines
        synthetic = fault is not None
        attempt = Attempt(lane, admitted.request, held, deadlines, now, probe=probe, synthetic=synthetic)
        self._attempt = attempt
        self.state = _TRYING
        if fault is None:
            self._start(attempt, now)
        else:
            self._inject(attempt, fault, now)

    def _start(self, attempt: Attempt, now: Millis) -> None:
        lane = attempt.lane
        try:
            body = lane.passage.encode(attempt.request, lane.model.name, attempt.held.cap)
        except Unsayable as e:
            self._unsayable = e.param
            self._close(attempt, NanoUSD(0), "unsayable")
            lane.breaker.left(probe=attempt.probe)
            self._leave(FaultClass.UNAVAILABLE, now)
            return
        self._count_attempt()
        road = lane.roads[0] if len(lane.roads) == 1 else self._services.rng.choices(lane.roads, lane.weights)[0]
        stream = self.host.start(road.endpoint, road.path, self._attempt_headers(lane), body)
        failing = self._services.failing
        if isinstance(stream, StartFailure):
            failing[road.endpoint.cluster] = now
            self._failed(Failure.CONNECT, now, ended=True)
            return
        if failing:
            failing.pop(road.endpoint.cluster, None)
        attempt.stream = stream
        lane.load.in_flight += 1
        if attempt.held.clamped:
            self._services.metrics.count(metrics.CLAMPED, (self._admitted.route.key,))
        self._arm(min(attempt.due_before_content(), self._deadline))

    def _inject(self, attempt: Attempt, fault: FaultClass, now: Millis) -> None:
        """A drill's fault in place of the provider; from here on everything is the real path."""
        self._count_attempt()
        match fault:
            case FaultClass.UNAVAILABLE:
                self._failed(Failure.CONNECT, now, ended=True)
            case FaultClass.RATE_LIMITED:
                self._failed(Failure.RATE_LIMITED, now, "1", ended=True)
            case FaultClass.INVALID_OUTPUT:
                self._failed(Failure.MALFORMED, now, ended=True)
            case FaultClass.TOO_SLOW:
                self._arm(min(attempt.due_before_content(), self._deadline))
            case FaultClass.OVER_BUDGET:
                raise AssertionError("a budget fault acts before the attempt")

    def _count_attempt(self) -> None:
        self._journey.attempts += 1
        self._journey.tries += 1

    def _attempt_headers(self, lane: Lane) -> Headers:
        mode = self._admitted.route.policy.attempts.idempotency_key
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
        self._finish_attempt(failure, now, ended=ended)
        what, permits = failure.what, self._admitted.route.permits
        if self._journey.may_retry(what, now):
            wait = self._pause(retry_after)
            budget = self._admitted.route.policy.attempts.retry_budget
            if wait is not None and now + wait < self._deadline and permits.allow(budget):
                self._retrying = True
                permits.retrying += 1
                self._resume_at = Millis(now + wait)
                self.state = State.BACKOFF
                self.host.alarm(self._resume_at)
                return
        self._leave(what.fault, now)

    def _pause(self, retry_after: str) -> Millis | None:
        """How long to wait before the same candidate is asked again; None where it asked for more than the route waits."""
        policy = self._admitted.route.policy.attempts
        asked = retry.retry_after(retry_after, self._services.wall()) if retry_after else None
        if asked is not None:
            return asked if asked <= policy.honor_retry_after else None
        return retry.backoff(policy.backoff, self._journey.tries - 1, self._services.rng)

    def _finish_attempt(self, failure: Failure, now: Millis, *, ended: bool) -> None:
        """Closes the open attempt after a failure: upstream, money, health, metrics."""
        attempt = self._attempt
        assert attempt is not None, "an attempt is open"
        if not ended:
            self._cancel()
        what = failure.what
        self._close(attempt, attempt.charge_for(what.bill), what.label)
        if attempt.synthetic:
            return
        if what.ill:
            attempt.lane.breaker.failed(now, probe=attempt.probe)
        else:
            attempt.lane.breaker.left(probe=attempt.probe)

    def _close(self, attempt: Attempt, charge: NanoUSD, outcome: str) -> None:
        """The attempt's money is settled and nobody waits for it any more."""
        self._settle(attempt, charge, outcome)
        self._attempt = None
        self._pending = b""

    def _settle(self, attempt: Attempt, charge: NanoUSD, outcome: str) -> None:
        self._purse.settle(attempt, charge)
        if attempt.stream != NO_STREAM:
            attempt.lane.load.in_flight -= 1
        self._stop_retrying()
        self._services.metrics.count(metrics.ATTEMPTS, (*attempt.lane.attempt_labels, outcome))

    def _abandon(self, bill: Bill, outcome: str) -> None:
        """The request ends while an attempt may be open: it is cancelled, and charged for what it may have generated."""
        attempt = self._attempt
        if attempt is None or attempt.settled:
            return
        self._cancel()
        self._close(attempt, attempt.charge_for(bill), outcome)
        attempt.lane.breaker.left(probe=attempt.probe)

    def _cancel(self) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.stream != NO_STREAM:
            self.host.cancel(attempt.stream)

    def _stop_retrying(self) -> None:
        if self._retrying:
            self._retrying = False
            self._admitted.route.permits.retrying -= 1

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

    # Whole answers -----------------------------------------------------------------------------------------------------

    def _synthetic_head(self, attempt: Attempt, head: Head, end: bool, now: Millis) -> None:
        """Envoy made this head up for a failure of its own; the words that tell which may follow as its body."""
        attempt.words = head.detail or f"status {head.status}"
        if head.detail or end:
            self._failed(failures.of_synthetic(attempt.words), now, ended=end)

    def _collect(self, attempt: Attempt, data: bytes, end: bool, now: Millis) -> None:
        """A body that is looked at as a whole."""
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
        if self.state is State.DRAINING:
            self._finish_stream(b"", now)
        elif attempt.relay is not None:
            self._stream_ended(attempt, attempt.relay, now)
        elif attempt.words:
            self._failed(failures.of_synthetic(attempt.words), now, ended=True)
        elif not attempt.status:
            self._failed(Failure.RESET, now, ended=True)
        elif attempt.status == 200:
            self._whole_answer(attempt, now)
        else:
            self._pass_refusal(attempt, now)

    def _whole_answer(self, attempt: Attempt, now: Millis) -> None:
        passage, request = attempt.lane.passage, attempt.request
        read = passage.reframe if request.stream else passage.answer
        try:
            answered = read(b"".join(attempt.parts), request, self._journey.signal())
        except Malformed:
            self._failed(Failure.MALFORMED, now, ended=True)
            return
        if answered.error is not None:
            self._failed(failures.of_error(answered.error, begun=False), now, ended=True)
            return
        self._succeeded(attempt, answered.usage, answered.model)
        head = telling.answer_head(self._admitted, self._journey, self._purse, attempt, answered.body)
        self.host.send_head(200, head)
        self._end("ok", now)
        self.host.send_data(answered.body, end=True)

    def _pass_refusal(self, attempt: Attempt, now: Millis) -> None:
        """The provider found fault with the request: another one would too, and only the client can mend it."""
        error = attempt.lane.passage.decode_error(attempt.status, b"".join(attempt.parts))
        self._close(attempt, NanoUSD(0), "refused")
        attempt.lane.breaker.succeeded(probe=attempt.probe)
        self._refuse(refusals.of_provider(attempt.status, error), now)

    def _succeeded(self, attempt: Attempt, usage: Usage | None, model: str) -> None:
        """The answer is whole: it is charged and the candidate is well."""
        lane, sink = attempt.lane, self._services.metrics
        self._settle(attempt, attempt.charge_by(usage, model, self._admitted.route.prices), "ok")
        lane.breaker.succeeded(probe=attempt.probe)
        self._last_usage = usage
        if usage is None:
            sink.count(metrics.UNMETERED, lane.attempt_labels)
        else:
            sink.observe(metrics.TOKENS, lane.input_labels, usage.all_input)
            sink.observe(metrics.TOKENS, lane.output_labels, usage.output)

    # Streams -----------------------------------------------------------------------------------------------------------

    def _relayed(self, attempt: Attempt, relay: Relay, out: bytes, end: bool, now: Millis) -> None:
        """Everything but the plain middle of a stream."""
        failure = _fault_of(attempt, relay)
        if failure is not None:
            if self.state is _STREAMING:
                self._break(failure, b"" if failure is Failure.OVER_CAP else out, now, ended=end)
            else:
                self._failed(failure, now, ended=end)
            return
        if self.state is _TRYING:
            self._pending += out
            out = b""
            if relay.content or relay.finished or relay.done or len(self._pending) > HEAD_HELD:
                self._commit(attempt, now)
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
        self.state = _STREAMING
        self.host.send_head(200, telling.stream_head(self._admitted, self._journey, self._purse, attempt))
        pending, self._pending = self._pending, b""
        if pending:
            self.host.send_data(pending, end=False)
        if attempt.stall is not None:
            self._arm_by(Millis(now + attempt.stall))
        labels = attempt.lane.model_labels
        self._services.metrics.observe(metrics.FIRST_TOKEN, labels, now - attempt.started)

    def _stream_ended(self, attempt: Attempt, relay: Relay, now: Millis, out: bytes = b"") -> None:
        if not (relay.done or relay.finished):
            if self.state is _STREAMING:
                self._break(Failure.RESET, out, now, ended=True)
            else:
                self._failed(Failure.RESET, now, ended=True)
            return
        if self.state is _TRYING:
            self._commit(attempt, now)
        if not attempt.settled:
            self._succeeded(attempt, relay.usage, relay.model)
        self._finish_stream(out + relay.close(), now)

    def _finish_stream(self, last: bytes, now: Millis) -> None:
        """The clean end of a whole answer."""
        self._end("ok", now)
        self.host.send_data(last, end=True)

    def _break(self, failure: Failure, out: bytes, now: Millis, *, ended: bool) -> None:
        """A stream that was shown cannot be made whole: the error event, then a reset. A clean end would look like success."""
        attempt = self._attempt
        assert attempt is not None, "a stream has an attempt"
        assert attempt.relay is not None, "a stream has a relay"
        fault = failure.what.fault
        event = attempt.relay.error_event(refusals.of_broken_stream(fault), self._journey.broken(fault))
        self._finish_attempt(failure, now, ended=ended)
        self.host.send_data(out + event, end=False)
        self._end("cut", now)
        self.host.reset_soon()

    # The end -----------------------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal, now: Millis, extra: Headers = ()) -> None:
        admitted = self._is_admitted()
        body = self._services.dialect.encode_error(refusal, self._journey.signal() if admitted else b"")
        head = (*telling.refusal_head(refusal, body), *extra)
        if self._route is not None:
            head += self._route.refusal_head
        if admitted:
            head += telling.refused_after(self._admitted, self._journey, self._purse)
        self.host.send_head(refusal.status, head)
        self._end(refusal.code, now)
        self.host.send_data(body, end=True)

    def _is_admitted(self) -> bool:
        return hasattr(self, "_journey")

    def _end(self, ended: str, now: Millis) -> None:
        """Nothing is open and nothing is held any more. Before the last byte, because the access log is written inside it."""
        services, route, host = self._services, self._route, self.host
        self._unpark()
        self._stop_retrying()
        self._attempt = None
        self.state = State.ENDED
        services.open.discard(self)
        sink = services.metrics
        if route is None:
            sink.count(metrics.REQUESTS, ("", ended))
            if ended != "ok":
                host.record("reason", ended)
            return
        sink.count(metrics.REQUESTS, route.ok_labels if ended == "ok" else (route.key, ended))
        host.record("route", route.key)
        if not self._is_admitted():
            host.record("reason", ended)
            return
        journey = self._journey
        route.permits.active -= 1
        if journey.reason:
            sink.count(metrics.DEGRADED, (route.key, journey.reason, journey.step))
        if ended == "ok":
            sink.observe(metrics.DURATION, journey.lane.model_labels, now - self._began)
        if ended != "ok" or journey.reason:
            host.record("reason", journey.reason if ended == "ok" else ended)
        for name, value in telling.facts(self._admitted, journey, self._purse, ended, self._last_usage):
            host.record(name, value)


def _fault_of(attempt: Attempt, relay: Relay) -> Failure | None:
    if relay.error is not None:
        return failures.of_error(relay.error, begun=relay.begun)
    if relay.malformed:
        return Failure.MALFORMED
    return Failure.OVER_CAP if relay.events > attempt.most_events else None
