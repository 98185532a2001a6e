"""The unary wire between a sidecar and the lease service: a report each second (and at need), an answer to each.

Everything about money is CUMULATIVE for (epoch, account, window), so a lost, doubled or reordered message changes
nothing: the receiver keeps the maximum. An epoch is one life of a sidecar process. Amounts are nano-USD.
Paths: ``POST /v1/report`` on the cluster that also serves xDS (by its own port), JSON bodies, bearer token as for xDS.
"""

import msgspec

from turnout_sidecar.policy.codec import RouteRefused
from turnout_sidecar.policy.units import Millis, NanoUSD

WIRE = 1
ACCOUNT_MAX = 544
"""Bytes of an account with its subject: namespace 63, kind and name 260, limit 63, subject 128, and the slashes."""
EPOCH_MAX = 64
"""Characters of an epoch, of [A-Za-z0-9-]: it names the file of its write-ahead record."""


class AccountReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one epoch did with one account's window. In the sidecar, always: spent + held + free = granted - returned."""

    account: str
    """``<limit account>/<subject>``, subject ``-`` where the limit has none."""
    window: str
    """The window's id as the grant named it; empty while this epoch holds nothing of the account yet."""
    granted: NanoUSD
    spent: NanoUSD
    held: NanoUSD
    returned: NanoUSD
    """Given back for good: never spent again by this epoch."""
    wants: NanoUSD
    """How much more it could use now; not cumulative, 0 for none."""
    need: NanoUSD = NanoUSD(0)
    """The dearest single attempt that is waiting, or was seen lately where none is: a grant below it is only half a help."""
    least: NanoUSD = NanoUSD(0)
    """The cheapest attempt that is waiting; 0 where none is."""
    urgent: bool = False
    """An attempt was refused for lack of it since the last report; otherwise `wants` is foresight."""


class EpochReport(msgspec.Struct, frozen=True, kw_only=True):
    epoch: str
    accounts: tuple[AccountReport, ...]
    final: bool = False
    """Nothing more will ever be spent by this epoch: what was granted to the accounts named here, less what was spent, comes back."""
    complete: bool = False
    """Of a final report: accounts that it does not name spent nothing. False where a record was unreadable or had no room, or
    where a window was over and forgotten: what is not named then stays granted to the epoch until its window ends."""


class BreakerReport(msgspec.Struct, frozen=True, kw_only=True):
    pool: str
    model: str
    state: str
    """Closed | Open | HalfOpen"""


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One probe of a drill as the sidecar's own client saw it."""

    index: int
    control: bool
    """True: sent without the fault."""
    at: Millis
    """since the sidecar began this run"""
    status: int
    candidate: str = ""
    attempts: int = 0
    degraded: str = ""
    """reason in ``x-turnout-degraded``, empty when not degraded"""
    step: str = ""
    path: tuple[str, ...] = ()
    """what was tried in order, e.g. ``small:Unavailable``, ``local:ok``"""
    signalled: bool = False
    """the body carried the degradation signal"""
    cost: NanoUSD = NanoUSD(0)
    duration: Millis = Millis(0)
    error: str = ""


class DrillEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Cumulative for one run on one sidecar."""

    run: str
    """UID of the FallbackDrill"""
    state: str
    """Injecting | Observing | Reverted | Refused"""
    fault_active: bool
    samples: tuple[ProbeResult, ...] = ()
    words: str = ""
    finished: bool = False
    """No probe of the run is on its way and none will follow; nothing of this evidence will change."""
    fault_ended: Millis | None = None
    """since the sidecar began this run, like every time here; the fault began at 0"""
    recovered_at: Millis | None = None
    """when a probe was answered as if there had been no fault, after it had ended; None: not yet, or not within the deadline"""
    spent: NanoUSD = NanoUSD(0)
    """what the run's probes were charged in all, from the run's own allowance"""


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    pool: str
    in_flight: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    wire: int
    sequence: int
    epoch: EpochReport
    previous: tuple[EpochReport, ...] = ()
    """Earlier lives on this volume, from the write-ahead record; sent until acknowledged."""
    policy_version: str = ""
    """Version of the policy that serves now."""
    refused_version: str = ""
    """Version (or empty) of the last document refused as a whole, with `refused_words`."""
    refused_words: str = ""
    refused_routes: tuple[RouteRefused, ...] = ()
    clusters_failing: tuple[str, ...] = ()
    breakers: tuple[BreakerReport, ...] = ()
    in_flight: tuple[InFlight, ...] = ()
    drills: tuple[DrillEvidence, ...] = ()


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one account for this epoch, after the ledger was written."""

    account: str
    window: str
    window_ends: int
    """Unix milliseconds, for people and for `retry-after`"""
    window_remaining: Millis
    """From receipt to the window's end by the ledger's clock: sidecars need no clock of their own that agrees with anybody's."""
    granted: NanoUSD
    """cumulative for (epoch, account, window)"""
    recall: NanoUSD
    """how much of what is free the ledger would like returned on top of `returned`; 0 for none"""
    limit: NanoUSD
    settled: NanoUSD
    """what is spent for good over all sidecars, as the ledger knows it"""
    exhausted: bool
    """settled has reached the limit, or what is left cannot be had until the window ends"""
    returned: NanoUSD = NanoUSD(0)
    """what the ledger knows this epoch to have returned: with `recall` it makes a doubled answer harmless"""
    spent: NanoUSD = NanoUSD(0)
    """this epoch's part of `settled`"""


class DrillOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A fault with a deadline, and the probes to send. Absent from an answer means: revert now."""

    run: str
    route: str
    """``namespace/name``"""
    fault: str
    """FaultClass value"""
    candidates: tuple[str, ...]
    """candidate names that meet the fault; empty: the first of the plan"""
    remaining: Millis
    """from receipt"""
    ends: int
    """Unix milliseconds; the earlier of the two deadlines counts"""
    probes: int
    interval: Millis
    prompts: tuple[str, ...] = ()
    max_cost: NanoUSD = NanoUSD(0)
    """the allowance of all probes of this sidecar: they are charged here and to no account of the users'"""
    tenant: str = ""
    model: str = ""
    """what probes ask for, so that the route matches"""
    headers: tuple[tuple[str, str], ...] = ()
    """headers that the route's match or identity needs; names in lower case"""
    max_output: int = 16
    timeout: Millis = Millis(60_000)
    """how long the sidecar waits for the answer to one probe"""
    recovery: Millis = Millis(30_000)
    """after the fault's end, how long to look for the first healthy probe"""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    wire: int
    sequence: int
    grants: tuple[Grant, ...] = ()
    closed_epochs: tuple[str, ...] = ()
    """earlier epochs whose final report is in the ledger; their records may go"""
    drills: tuple[DrillOrder, ...] = ()


def encode_report(report: Report) -> bytes:
    return msgspec.json.encode(report)


def decode_report(body: bytes) -> Report:
    """Raises `msgspec.MsgspecError` with the path of what is wrong."""
    return msgspec.json.decode(body, type=Report)


def encode_answer(answer: Answer) -> bytes:
    return msgspec.json.encode(answer)


def decode_answer(body: bytes) -> Answer:
    """Raises `msgspec.MsgspecError` with the path of what is wrong."""
    return msgspec.json.decode(body, type=Answer)
