"""A mutant of the planner: no step of a degradation path has a candidate."""

from turnout_sidecar.core import plan


def _nobody(_steps: object, _at: int, _usable: object) -> None:
    return None


plan.next_candidate = _nobody  # type: ignore[assignment]
