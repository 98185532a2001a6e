"""A mutant of the signals: a degraded answer does not say so."""

from turnout_sidecar.core import signals

signals.degraded = lambda _reason, _step: ()  # type: ignore[assignment]
