"""One attempt at one candidate: its money, its deadlines, and what has come of it so far.

Only facts and sums live here; what follows from them is the exchange's to decide.
"""

from turnout_sidecar.core import account
from turnout_sidecar.core.failures import Bill
from turnout_sidecar.core.holding import Held
from turnout_sidecar.core.runtime import Lane
from turnout_sidecar.messages import ChatRequest, Relay, Usage
from turnout_sidecar.policy.model import Deadlines, Price
from turnout_sidecar.policy.units import Millis, NanoUSD, Tokens

NO_STREAM = -1
MAX_ANSWER = 16 << 20
"""Bytes of a plain answer; the longest outputs of today's models are half a megabyte."""
MAX_ERROR = 64 << 10


class Attempt:
    __slots__ = (
        "by",
        "first_by",
        "heard",
        "held",
        "lane",
        "most_events",
        "output_bound",
        "parts",
        "probe",
        "relay",
        "request",
        "settled",
        "size",
        "stall",
        "started",
        "status",
        "stream",
        "synthetic",
        "words",
    )

    def __init__(
        self,
        lane: Lane,
        request: ChatRequest,
        held: Held,
        deadlines: Deadlines,
        now: Millis,
        *,
        probe: bool,
        synthetic: bool,
    ) -> None:
        self.lane = lane
        self.request = request
        self.held = held
        self.output_bound = Tokens(held.cap * request.answers)
        self.most_events = self.output_bound
        self.stream = NO_STREAM
        self.started = now
        self.by: Millis = Millis(now + deadlines.attempt)
        self.first_by: Millis | None = None
        if request.stream and deadlines.first_token is not None:
            self.first_by = Millis(now + deadlines.first_token)
        self.stall = deadlines.stall if request.stream else None
        self.heard: Millis | None = None  # when the stream last said anything; None before its head
        self.probe = probe
        self.synthetic = synthetic  # a drill's: nothing was sent
        self.relay: Relay | None = None
        self.status = 0
        self.parts: list[bytes] = []
        self.size = 0
        self.words = ""  # Envoy's, where the head is not the provider's
        self.settled = False

    def due_before_content(self) -> Millis:
        """When patience ends while nothing can be shown to the client yet."""
        due = self.by if self.first_by is None else min(self.by, self.first_by)
        if self.stall is not None and self.heard is not None:
            due = min(due, Millis(self.heard + self.stall))
        return due

    @property
    def usage(self) -> Usage | None:
        return None if self.relay is None else self.relay.usage

    def charge_for(self, bill: Bill) -> NanoUSD:
        """What is charged where no whole answer says what it cost."""
        if bill is Bill.NOTHING or self.synthetic:
            return NanoUSD(0)
        visible = self.request.stream and self.lane.passage.shows_all_output and bill is Bill.ABORTED
        return account.of_aborted(
            bound=self.held.amount,
            price=self.lane.price,
            input_bound=self.held.input_bound,
            output_bound=self.output_bound,
            usage=self.usage,
            text_bytes=0 if self.relay is None else self.relay.text_bytes,
            visible=visible,
            abort=self.lane.abort,
        )

    def charge_by(self, usage: Usage | None, model: str, prices: tuple[Price, ...]) -> NanoUSD:
        """What a whole answer cost. Without usage, or with one that cannot be true: the bound, or more where that is told."""
        if usage is None:
            return self.held.amount
        same = account.same_model(self.lane.model.name, model)
        told = account.of_usage(usage, self.lane.price) if same else account.of_unknown_model(usage, prices)
        return told if self._is_credible(usage) else max(told, self.held.amount)

    def _is_credible(self, usage: Usage) -> bool:
        """Every request has input, and every event with content is a token at least; so has a plain answer, if only to end it."""
        seen = 1 if self.relay is None else self.relay.events
        return usage.all_input > 0 and usage.output >= seen
