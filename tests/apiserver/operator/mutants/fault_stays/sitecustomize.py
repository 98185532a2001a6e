"""A mutant of the overlay: a fault that has ended stands on for every request of the run, controls included."""

from turnout_sidecar.core import faults
from turnout_sidecar.core.faults import Overlay, Rehearsal, Run
from turnout_sidecar.policy.units import Millis


def _find(self: Overlay, token: str, route: str, now: Millis) -> Rehearsal | None:
    run: Run | None = self._tokens.get(token)
    if run is None or run.route != route:
        return None
    faulted = run.lifted or token == run.tokens.fault
    return Rehearsal(run, run.kind if faulted else None)


faults.Overlay.find = _find  # type: ignore[method-assign]
