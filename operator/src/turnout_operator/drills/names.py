"""What a stamped drill is called. The name follows from what it is, so that two leaders cannot stamp the same drill twice."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

LONGEST = 63
_DIGEST = 10

ROUTE_LABEL = "turnout.dev/route"
"""On every drill that a schedule stamped: the route's name."""
SCHEDULED_AT = "turnout.dev/scheduled-at"
"""Annotation of such a drill: the scheduled time, RFC 3339."""


def drill_name(namespace: str, route: str, fault: str, scheduled: datetime) -> str:
    """At most 63 characters; the same for the same four, different where one of them differs."""
    identity = f"{namespace}/{route}/{fault}/{scheduled.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST]
    tail = f"-{fault.lower()}-{digest}"
    return route[: LONGEST - len(tail)].rstrip("-.") + tail


def report_name(namespace: str, drill: str) -> str:
    """The ConfigMap with that drill's report, in the operator's namespace."""
    return f"turnout-drill-{hashlib.sha256(f'{namespace}/{drill}'.encode()).hexdigest()[:16]}"
