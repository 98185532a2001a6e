"""All sidecars that are or were connected lately, by identity and node: what status code reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from turnout_operator.identity import Identity
from turnout_operator.xds.node import NodeRecord, NodeState, Words
from turnout_sidecar.policy.report import Report
from turnout_sidecar.policy.units import Millis

REMEMBERED = 600_000
"""Milliseconds that a sidecar without a stream is remembered: it may only have lost its way to us."""

KNOCKING = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One namespace's sidecars against the policy they are to run."""

    connected: int
    programmed: int
    complaints: tuple[str, ...]
    """``<node>: <words>``, sorted."""


class Nodes:
    """`changed` is called with the namespace after every acknowledgement, refusal, arrival, departure and new word."""

    def __init__(self, clock: Callable[[], Millis], changed: Callable[[str], None] = lambda _: None) -> None:
        self._clock = clock
        self._changed = changed
        self._records: dict[tuple[str, str], NodeRecord] = {}
        self._words: dict[str, Words] = {}

    def arrived(self, identity: Identity, node: str, version: str) -> NodeRecord:
        """A stream began; the record is the node's own, kept over reconnects."""
        self._forget_the_lost()
        record = self._records.setdefault((identity.key, node), NodeRecord(identity=identity, node=node))
        record.version, record.turned_away = version, ""
        record.words = self._words.get(identity.key, record.words)
        record.streams += 1
        self._changed(identity.namespace)
        return record

    def departed(self, record: NodeRecord) -> None:
        """A stream ended."""
        record.streams -= 1
        record.left = self._clock()
        self._changed(record.identity.namespace)

    def turned_away(self, identity: Identity, node: str, words: str) -> None:
        """A stream was refused for a reason that the sidecar's people must act on."""
        record = self._records.setdefault((identity.key, node), NodeRecord(identity=identity, node=node))
        record.turned_away, record.left = words, self._clock()
        self._changed(identity.namespace)

    def moved(self, record: NodeRecord) -> None:
        """A conversation wrote the record."""
        self._changed(record.identity.namespace)

    def report(self, identity: Identity, report: Report) -> None:
        """Takes the words of a report call; they belong to every node of that identity."""
        words = Words(
            policy_version=report.policy_version,
            refused_version=report.refused_version,
            refused_words=report.refused_words,
            refused_routes=report.refused_routes,
            clusters_failing=report.clusters_failing,
        )
        if self._words.get(identity.key) == words:
            return
        self._words[identity.key] = words
        for record in self._records.values():
            if record.identity.key == identity.key:
                record.words = words
        self._changed(identity.namespace)

    def states(self, namespace: str | None = None) -> tuple[NodeState, ...]:
        """All sidecars, or one namespace's, sorted by identity and node."""
        found = sorted(self._records.items())
        return tuple(r.state() for _, r in found if namespace in (None, r.identity.namespace))

    def progress(self, namespace: str, policy_version: str) -> Progress:
        """How many of the connected run that policy with all its clusters, and what the others say."""
        connected = [
            r.state() for _, r in sorted(self._records.items()) if r.identity.namespace == namespace and self._counts(r)
        ]
        return Progress(
            connected=len(connected),
            programmed=sum(1 for s in connected if s.connected and s.programmed == policy_version),
            complaints=tuple(f"{s.node}: {words}" for s in connected for words in s.complaints),
        )

    def _counts(self, record: NodeRecord) -> bool:
        """One that was turned away counts while it keeps knocking, which Envoy does every second or so."""
        return record.streams > 0 or (record.turned_away != "" and record.left > self._clock() - KNOCKING)

    def _forget_the_lost(self) -> None:
        gone = self._clock() - REMEMBERED
        lost = [key for key, r in self._records.items() if r.streams == 0 and r.left < gone]
        for key in lost:
            del self._records[key]
        held = {identity for identity, _ in self._records}
        self._words = {key: words for key, words in self._words.items() if key in held}
