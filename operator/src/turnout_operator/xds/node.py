"""One sidecar as the control plane knows it: what it acknowledged, what it refused and why, which clusters its streams may still use.

A record outlives the discovery stream, because a sidecar that reconnects still runs what it ran. Times are monotonic milliseconds, save
`Refusal.at`, which people read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from turnout_operator.identity import Identity
from turnout_operator.xds.kind import Kind
from turnout_operator.xds.view import Item, Items, View
from turnout_sidecar.policy.codec import RouteRefused
from turnout_sidecar.policy.units import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A NACK: of which version, in Envoy's words, when (unix milliseconds)."""

    version: str
    words: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KindState:
    """How far one kind of resource got on one sidecar."""

    sent: str = ""
    acked: str = ""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A policy that a sidecar has or may have, and the clusters that its streams use."""

    version: str
    """of the ECDS resource"""
    policy_version: str
    clusters: Items
    longest: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the sidecar itself says, by the report call: Envoy's NACK carries no words of the engine's."""

    policy_version: str = ""
    refused_version: str = ""
    refused_words: str = ""
    refused_routes: tuple[RouteRefused, ...] = ()
    clusters_failing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What status code reads of one sidecar."""

    identity: Identity
    node: str
    connected: bool
    version: str
    """of the sidecar's software"""
    kinds: Mapping[Kind, KindState]
    programmed: str
    """Version of the policy that it acknowledged with all its clusters able to serve, or empty."""
    words: Words
    turned_away: str = ""
    """Why its stream was refused, or empty."""

    @property
    def complaints(self) -> tuple[str, ...]:
        """Everything that it or its Envoy says against what it was sent, the engine's own words first."""
        said = [f"policy {self.words.refused_version}: {self.words.refused_words}"] if self.words.refused_words else []
        said += [f"route {r.route} generation {r.generation}: {r.reason}" for r in self.words.refused_routes]
        said += [f"cluster {name} cannot serve" for name in self.words.clusters_failing]
        said += [
            f"{kind.word} {s.refusal.version}: {s.refusal.words}"
            for kind, s in self.kinds.items()
            if s.refusal is not None
        ]
        return (self.turned_away, *said) if self.turned_away else tuple(said)


@dataclass(slots=True, kw_only=True)
class NodeRecord:
    """The mutable side of `NodeState`; one conversation writes it at a time."""

    identity: Identity
    node: str
    version: str = ""
    streams: int = 0
    left: Millis = field(default_factory=lambda: Millis(0))
    """When the last stream ended."""
    turned_away: str = ""
    kinds: dict[Kind, KindState] = field(default_factory=lambda: {kind: KindState() for kind in Kind})
    clusters: Items = field(default_factory=dict)
    """Acknowledged ones."""
    running: Running | None = None
    pending: Running | None = None
    """Sent and not answered: it may be running already."""
    retained: dict[str, tuple[Item, Millis]] = field(default_factory=dict)
    """Clusters of replaced policies, each until its last stream must have ended."""
    words: Words = field(default_factory=Words)

    def state(self) -> NodeState:
        """The record as it is now."""
        return NodeState(
            identity=self.identity,
            node=self.node,
            connected=self.streams > 0,
            version=self.version,
            kinds=dict(self.kinds),
            programmed=self._programmed(),
            words=self.words,
            turned_away=self.turned_away,
        )

    def needed_clusters(self, view: View, now: Millis) -> dict[str, Item]:
        """What CDS must hold: the view's clusters, and all that a stream may still run on."""
        alive = {name: item for name, (item, until) in self.retained.items() if until > now}
        for policy in (self.running, self.pending):
            alive |= policy.clusters if policy is not None else {}
        return alive | dict(view.items[Kind.CLUSTER])

    def sent(self, policy: Running, now: Millis) -> None:
        """A policy went out. One that was never answered may have run, so its clusters are kept."""
        if self.pending is not None and self.pending.version != policy.version:
            self._retire(self.pending, policy.clusters, now)
        self.pending = policy

    def acknowledged(self, now: Millis) -> None:
        """The pending policy runs; the streams of the one before it run out."""
        assert self.pending is not None, "an acknowledgement answers a policy that was sent"
        policy, self.pending = self.pending, None
        if self.running is not None:
            self._retire(self.running, policy.clusters, now)
        self._run(policy)

    def adopt(self, policy: Running, now: Millis) -> None:
        """The running policy is this one already: after a reconnect, or when only its clusters became more or fewer."""
        self.pending = None
        if self.running is not None:
            self._retire(self.running, policy.clusters, now)
        self._run(policy)

    def expire(self, now: Millis) -> None:
        """Forgets the clusters whose last stream must have ended."""
        self.retained = {name: kept for name, kept in self.retained.items() if kept[1] > now}

    def _run(self, policy: Running) -> None:
        self.running = policy
        self.retained = {name: kept for name, kept in self.retained.items() if name not in policy.clusters}

    def _retire(self, old: Running, but: Items, now: Millis) -> None:
        until = Millis(now + old.longest)
        for name, item in old.clusters.items():
            if name not in but:
                known = self.retained.get(name)
                self.retained[name] = (item, max(until, known[1]) if known else until)

    def _programmed(self) -> str:
        if self.running is None or self.pending is not None:
            return ""
        missing = any(self.clusters.get(name) != item for name, item in self.running.clusters.items())
        failing = set(self.words.clusters_failing) & set(self.running.clusters)
        return "" if missing or failing else self.running.policy_version
