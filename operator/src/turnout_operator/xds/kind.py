"""The four kinds of resources that a sidecar asks for, in the order in which they are sent.

Make before break: a policy that names a new cluster is sent after the cluster and its key are there.
"""

from __future__ import annotations

from enum import Enum

from turnout_operator.render.envoy import message


class Kind(Enum):
    """`value` is the type URL; members stand in the order of sending."""

    CLUSTER = message.CLUSTER
    SECRET = message.SECRET
    LISTENER = message.LISTENER
    EXTENSION = message.EXTENSION

    @property
    def word(self) -> str:
        """For people, metrics and logs."""
        return self.value.rpartition(".")[2]

    @property
    def by_name(self) -> bool:
        """True: a sidecar gets the names it asks for. False: it gets all there are."""
        return self in (Kind.SECRET, Kind.EXTENSION)


KINDS = {kind.value: kind for kind in Kind}
