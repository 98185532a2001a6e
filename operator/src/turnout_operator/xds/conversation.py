"""One discovery stream as a state machine without I/O: requests go in, what is due comes out. State of the world, all kinds multiplexed.

Rules that it keeps
- a kind has at most one response under way; a response that was refused is not repeated until its content changes;
- unchanged content is not sent, also after a reconnect: versions are content hashes and the sidecar names the one it has;
- clusters first, then keys; a policy goes out when all its clusters were acknowledged and their keys are there, or have had their time;
- a cluster goes when nothing that a sidecar runs, may run or ran within the longest stream deadline can use it.
What is still ugly: a sidecar that reconnects to a *restarted* server whose configuration changed meanwhile loses the streams on replaced
clusters, because discovery does not tell which clusters it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from turnout_operator.xds.kind import Kind
from turnout_operator.xds.node import KindState, NodeRecord, Refusal, Running
from turnout_operator.xds.view import Item, View, version
from turnout_sidecar.policy.units import Millis

KEY_PATIENCE = 3_000
"""Milliseconds that a policy waits for the keys of its clusters: then it is sent, and the engine falls back from what cannot serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A `DiscoveryRequest`. `error` is Envoy's complaint about the response of that nonce, None when it took it."""

    kind: Kind
    names: frozenset[str]
    version: str = ""
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A `DiscoveryResponse`."""

    kind: Kind
    version: str
    nonce: str
    items: tuple[Item, ...]


@dataclass(slots=True)
class _Talk:
    """What was said about one kind on this stream."""

    names: frozenset[str] | None = None
    """None: not subscribed."""
    sent: dict[str, Item] = field(default_factory=dict)
    acked: dict[str, Item] = field(default_factory=dict)
    version: str = ""
    nonce: str = ""
    waiting: bool = False
    settled: Millis = field(default_factory=lambda: Millis(0))
    """When the last response was answered."""
    has: str = ""
    """The version that a reconnecting sidecar says it has."""


class Conversation:
    """Writes `record`; knows neither gRPC nor clocks. `wall` in unix milliseconds only dates refusals."""

    def __init__(self, record: NodeRecord) -> None:
        self._record = record
        self._talks = {kind: _Talk() for kind in Kind}
        self._nonces = 0
        self._patience: Millis | None = None

    def request(self, request: Request, now: Millis, wall: int) -> bool | None:
        """Takes one request. True: an acknowledgement, False: a refusal, None: a subscription, or an answer to something outdated."""
        talk = self._talks[request.kind]
        if request.nonce and request.nonce != talk.nonce:
            return None
        self._subscribe(talk, request)
        if not request.nonce:
            talk.has = request.version
            return None
        if not talk.waiting:
            return None
        talk.waiting, talk.settled = False, now
        if request.error is not None:
            self._refused(request, talk, wall)
            return False
        self._acked(request.kind, talk, now)
        return True

    def due(self, view: View, now: Millis) -> list[Push]:
        """What is to be sent now, in order."""
        record = self._record
        record.expire(now)
        self._patience = None
        self._align(view, now)
        pushes: list[Push] = []
        for kind in Kind:
            talk = self._talks[kind]
            if talk.names is None or talk.waiting or not self._may(kind, view, now):
                continue
            wanted = self._wanted(kind, talk, view, now)
            if self._has(talk, wanted):
                self._had(kind, talk, wanted, view, now)
                continue
            push = self._push(kind, talk, wanted)
            if push is None:
                continue
            pushes.append(push)
            if kind is Kind.EXTENSION:
                record.sent(_running(view), now)
        return pushes

    def wake(self) -> Millis | None:
        """When something becomes due without a new request or view; None: nothing will."""
        times = [until for _, until in self._record.retained.values()]
        if self._patience is not None:
            times.append(self._patience)
        return min(times, default=None)

    # one request

    def _subscribe(self, talk: _Talk, request: Request) -> None:
        talk.names = request.names
        if request.kind.by_name:
            talk.sent = {name: item for name, item in talk.sent.items() if name in request.names}
            talk.acked = {name: item for name, item in talk.acked.items() if name in request.names}

    def _acked(self, kind: Kind, talk: _Talk, now: Millis) -> None:
        talk.acked = dict(talk.sent)
        self._record.kinds[kind] = KindState(sent=talk.version, acked=talk.version)
        if kind is Kind.CLUSTER:
            self._record.clusters = dict(talk.sent)
        elif kind is Kind.EXTENSION and self._record.pending is not None:
            self._record.acknowledged(now)

    def _refused(self, request: Request, talk: _Talk, wall: int) -> None:
        before = self._record.kinds[request.kind]
        refusal = Refusal(version=talk.version, words=request.error or "", at=wall)
        self._record.kinds[request.kind] = KindState(sent=talk.version, acked=before.acked, refusal=refusal)
        if request.kind is Kind.EXTENSION:
            self._record.pending = None

    # what is due

    def _align(self, view: View, now: Millis) -> None:
        """The policy is the same but its clusters became more or fewer (a key appeared, a key was taken away)."""
        running, policy = self._record.running, _running(view)
        if running is not None and running.version == policy.version and running.clusters != policy.clusters:
            self._record.adopt(policy, now)

    def _wanted(self, kind: Kind, talk: _Talk, view: View, now: Millis) -> dict[str, Item]:
        if kind is Kind.CLUSTER:
            return self._record.needed_clusters(view, now)
        there = view.items[kind]
        if not kind.by_name:
            return dict(there)
        assert talk.names is not None
        return {name: there[name] for name in talk.names if name in there}

    def _push(self, kind: Kind, talk: _Talk, wanted: dict[str, Item]) -> Push | None:
        """The response, unless the sidecar has it. A kind asked for by name has no way to say that a name is gone: it is left alone."""
        new = version(wanted.values())
        if kind.by_name and all(talk.sent.get(name) == item for name, item in wanted.items()):
            return None
        if not kind.by_name and talk.version == new:
            return None
        self._nonces += 1
        talk.sent, talk.version, talk.nonce, talk.waiting = wanted, new, str(self._nonces), True
        before = self._record.kinds[kind]
        self._record.kinds[kind] = KindState(sent=new, acked=before.acked, refusal=before.refusal)
        return Push(kind=kind, version=new, nonce=talk.nonce, items=tuple(wanted[name] for name in sorted(wanted)))

    def _has(self, talk: _Talk, wanted: dict[str, Item]) -> bool:
        """Said once, at the start of a stream: the sidecar kept this very version over a reconnect."""
        has, talk.has = talk.has, ""
        return has != "" and has == version(wanted.values())

    def _had(self, kind: Kind, talk: _Talk, wanted: dict[str, Item], view: View, now: Millis) -> None:
        """As good as an acknowledgement."""
        talk.sent, talk.acked, talk.version = wanted, dict(wanted), version(wanted.values())
        self._record.kinds[kind] = KindState(sent=talk.version, acked=talk.version)
        if kind is Kind.CLUSTER:
            self._record.clusters = dict(wanted)
        elif kind is Kind.EXTENSION:
            self._record.adopt(_running(view), now)

    def _may(self, kind: Kind, view: View, now: Millis) -> bool:
        if kind is Kind.LISTENER:
            return not self._talks[Kind.CLUSTER].waiting
        if kind is Kind.EXTENSION:
            return self._clusters_there(view) and self._keys_there(view, now)
        return True

    def _clusters_there(self, view: View) -> bool:
        """A sidecar without any policy takes what it can get: the engine falls back from a cluster that was refused."""
        talk = self._talks[Kind.CLUSTER]
        if talk.waiting:
            return False
        if self._record.running is None and self._record.kinds[Kind.CLUSTER].refusal is not None:
            return True
        return all(talk.acked.get(name) == item for name, item in view.items[Kind.CLUSTER].items())

    def _keys_there(self, view: View, now: Millis) -> bool:
        talk = self._talks[Kind.SECRET]
        there = all(talk.acked.get(name) == item for name, item in view.items[Kind.SECRET].items())
        until = Millis(self._talks[Kind.CLUSTER].settled + KEY_PATIENCE)
        self._patience = until if not there and now < until else None
        return there or now >= until


def _running(view: View) -> Running:
    return Running(
        version=version(view.items[Kind.EXTENSION].values()),
        policy_version=view.policy_version,
        clusters=view.items[Kind.CLUSTER],
        longest=view.longest,
    )
