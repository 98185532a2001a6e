"""The views of all namespaces, and who waits for them. Everything here runs on the server's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from turnout_operator.xds.view import View


class Views:
    """Until the first `publish` there is none: a control plane that has not read its manifests yet must not tell a sidecar to serve nothing."""

    def __init__(self) -> None:
        self._views: dict[str, View] = {}
        self._other: View | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def publish(self, views: Mapping[str, View], other: View) -> None:
        """Replaces all views; `other` is for namespaces without routes. Streams of unchanged namespaces are not woken."""
        names = set(self._waiting) | set(views)
        changed = [name for name in names if views.get(name, other) != self.of(name)]
        self._views, self._other = dict(views), other
        for name in changed:
            self.poke(name)

    def of(self, namespace: str) -> View | None:
        """What the sidecars of that namespace are to have, None before the first `publish`."""
        return self._views.get(namespace, self._other)

    def poke(self, namespace: str | None = None) -> None:
        """Lets the streams of one namespace, or all, look again."""
        for name, events in self._waiting.items():
            if namespace in (None, name):
                for event in events:
                    event.set()

    def watch(self, namespace: str) -> asyncio.Event:
        """An event that is set whenever that namespace's view changed; give it back to `unwatch`."""
        event = asyncio.Event()
        self._waiting.setdefault(namespace, set()).add(event)
        return event

    def unwatch(self, namespace: str, event: asyncio.Event) -> None:
        """The stream is gone."""
        events = self._waiting.get(namespace, set())
        events.discard(event)
        if not events:
            self._waiting.pop(namespace, None)
