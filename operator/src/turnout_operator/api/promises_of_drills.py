"""What this version does about every field of a FallbackDrill's spec."""

from __future__ import annotations

from turnout_operator.api import proofs
from turnout_operator.api.enforcement import Bound, ByValue, Descriptive, Enforced, Held, Promises
from turnout_operator.api.enums import DrillFault
from turnout_operator.api.fallbackdrill import DrillMode, DrillScope
from turnout_operator.api.promises_of_routes import REHEARSED_FAULTS

DRILL_PROMISES: Promises = {
    "spec.routeRef": Enforced(proof=proofs.DRILL_FAULTS),
    "spec.faults[].type": ByValue(
        marks={
            fault: Enforced(proof=proofs.DRILL_FAULTS) if fault in REHEARSED_FAULTS else Bound() for fault in DrillFault
        }
    ),
    "spec.faults[].candidates": Enforced(proof=proofs.DRILL_FAULTS),
    "spec.duration": Enforced(proof=proofs.DRILL_DURATION),
    "spec.scope": ByValue(marks={DrillScope.PROBES: Enforced(proof=proofs.LIVE_DRILLS), DrillScope.LIVE: Bound()}),
    "spec.livePercent": Held(why="no drill touches real traffic", proof=proofs.LIVE_DRILLS),
    "spec.mode": ByValue(
        marks={
            DrillMode.RUN: Enforced(proof=proofs.DRILL_FAULTS),
            DrillMode.PREVIEW: Enforced(proof=proofs.DRILL_PREVIEW),
        }
    ),
    "spec.probes.count": Enforced(proof=proofs.DRILL_PROBES),
    "spec.probes.interval": Enforced(proof=proofs.DRILL_PROBES),
    "spec.probes.minSamples": Enforced(proof=proofs.DRILL_SAMPLES),
    "spec.probes.prompts": Bound(),
    "spec.probes.maxCost": Enforced(proof=proofs.DRILL_COST),
    "spec.abortWhen": Enforced(proof=proofs.DRILL_GUARDS),
    "spec.startingDeadline": Enforced(proof=proofs.DRILL_SCHEDULE),
    "spec.recoveryDeadline": Enforced(proof=proofs.DRILL_RECOVERY),
    "spec.reason": Descriptive(),
    "spec.abort": Enforced(proof=proofs.DRILL_ABORT),
}
