"""The money of one request: what its attempts may hold, how long it may wait for that, and what it was charged so far.

The Request limit lives here alone: it bounds the sum of the chain, so it needs no ledger.
"""

from turnout_sidecar import metrics
from turnout_sidecar.core.admission import Admitted
from turnout_sidecar.core.attempt import Attempt
from turnout_sidecar.core.budget import Shortfall, ShortfallKind
from turnout_sidecar.core.holding import Ask, Held, reserve
from turnout_sidecar.core.runtime import Lane
from turnout_sidecar.core.services import Services
from turnout_sidecar.policy.units import Millis, NanoUSD, Tokens


class Purse:
    __slots__ = ("_admitted", "_began", "_deadline", "_services", "charged", "short")

    def __init__(self, services: Services, admitted: Admitted, deadline: Millis) -> None:
        self._services = services
        self._admitted = admitted
        self._deadline = deadline
        self._began: Millis | None = None  # when the request first lacked money
        self.charged = NanoUSD(0)
        self.short: Shortfall | None = None
        """the shortfall that led onto the OverBudget path"""

    def hold(self, lane: Lane, now: Millis) -> Held | Shortfall:
        """The hold of one attempt at this candidate."""
        route, request, tenant, _, _, input_bound, cap, rehearsal = self._admitted
        accounts = route.accounts + lane.accounts
        if route.tenant_accounts:
            accounts += tuple([f"{account}/{tenant}" for account in route.tenant_accounts])
        limit = route.request_limit
        ask = Ask(
            lane.price,
            accounts,
            Tokens(input_bound + lane.passage.overhead(request)),
            Tokens(min(cap, lane.model.max_output)),
            request.answers,
            route.policy.tokens.min_output,
            None if limit is None else NanoUSD(max(limit - self.charged, 0)),
            None if rehearsal is None else rehearsal.run,
        )
        held = reserve(self._services.book, ask, now, frugal=self._patience_over(now))
        if isinstance(held, Held):
            self._services.holds += 1
        return held

    def may_wait(self, short: Shortfall, now: Millis) -> Millis | None:
        """Until when it makes sense to wait for this money; None where it makes none. The time counts from the first wait."""
        if short.kind is ShortfallKind.EXHAUSTED:
            return None
        policy = self._admitted.route.policy
        longest = policy.max_hold_wait if short.kind is ShortfallKind.HELD else policy.max_lease_wait
        began = now if self._began is None else self._began
        until = Millis(min(began + longest, self._deadline))
        if until <= now:
            return None
        self._began = began
        return until

    def settle(self, attempt: Attempt, charge: NanoUSD) -> None:
        """Exactly once an attempt, on whichever way it ends. A charge of nothing is a release."""
        assert not attempt.settled, "an attempt is settled once"
        attempt.settled = True
        services, held = self._services, attempt.held
        services.holds -= 1
        if held.hold is not None:
            if charge:
                services.book.settle(held.hold, charge)
            else:
                services.book.release(held.hold)
            services.freed(tuple([account for account, _ in held.hold.amounts]))
        if self._admitted.rehearsal is not None:
            self._admitted.rehearsal.run.settle(held.amount, charge)
        if charge:
            self.charged = NanoUSD(self.charged + charge)
            services.metrics.count(metrics.COST, attempt.lane.model_labels, charge)
            if charge > held.amount:
                services.metrics.count(metrics.ABOVE_HOLD, attempt.lane.attempt_labels)

    def _patience_over(self, now: Millis) -> bool:
        """Whether the time for a first lease is up, or none was granted to begin with."""
        began = now if self._began is None else self._began
        return now >= min(began + self._admitted.route.policy.max_lease_wait, self._deadline)
