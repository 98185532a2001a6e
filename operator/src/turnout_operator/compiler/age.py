"""Who was there first: of two objects that want the same thing, the older keeps it."""

from __future__ import annotations

from turnout_operator.api import Resource
from turnout_operator.snapshot import Unreadable


def age(resource: Resource | Unreadable) -> tuple[str, str, str]:
    """Sorts older before newer, then by namespace and name; RFC 3339 in UTC sorts as text, and no timestamp (a file) sorts first."""
    if isinstance(resource, Unreadable):
        return (resource.created, resource.namespace, resource.name)
    meta = resource.metadata
    return (meta.creation_timestamp or "", meta.namespace, meta.name)
