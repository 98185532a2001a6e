"""A drill's report: the whole evidence as JSON, and as Markdown for the people who decide what to fix next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from turnout_operator.amounts import dollars, span
from turnout_operator.drills.expected import Expected
from turnout_operator.drills.status import rfc3339
from turnout_operator.drills.verdict import Judgement, Seen, observed_path

MOST_BYTES = 512 * 1024
"""Of the JSON: a ConfigMap holds a mebibyte in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a report says beside the judgement."""

    namespace: str
    drill: str
    uid: str
    route: str
    route_generation: int
    policy_version: str
    operator_version: str
    reason: str
    """Why somebody rehearsed."""
    injected: datetime
    completed: datetime


def as_json(facts: Facts, expected: Expected, judgement: Judgement) -> str:
    """Every sample, unless they are more than a ConfigMap takes: then the first of them, and how many there were."""
    seen = judgement.seen
    while True:
        document = msgspec.json.encode(_document(facts, expected, judgement, seen), order="deterministic")
        if len(document) <= MOST_BYTES or len(seen) <= 1:
            return document.decode()
        seen = seen[: len(seen) // 2]


def _document(facts: Facts, expected: Expected, judgement: Judgement, seen: tuple[Seen, ...]) -> dict[str, object]:
    return {
        "drill": {"namespace": facts.namespace, "name": facts.drill, "uid": facts.uid, "reason": facts.reason},
        "route": {"name": facts.route, "generation": facts.route_generation, "policyVersion": facts.policy_version},
        "operatorVersion": facts.operator_version,
        "injectedAt": rfc3339(facts.injected),
        "completedAt": rfc3339(facts.completed),
        "verdict": judgement.verdict,
        "verdictReason": judgement.reason,
        "message": judgement.message,
        "failStep": judgement.fail_step,
        "fault": expected.fault,
        "expectedPath": expected.path,
        "observedPath": judgement.observed,
        "timeToDetectMs": judgement.time_to_detect,
        "timeToRecoverMs": judgement.time_to_recover,
        "cost": dollars(judgement.cost),
        "sampleCount": len(judgement.seen),
        "samples": [{"sidecar": s.sidecar, "wrong": s.wrong, **msgspec.to_builtins(s.sample)} for s in seen],
    }


def as_markdown(facts: Facts, expected: Expected, judgement: Judgement) -> str:
    """One page: the verdict, what was declared, what happened, and the first answers that differ."""
    lines = [
        f"# {judgement.verdict}: {expected.fault} on {facts.namespace}/{facts.route}",
        "",
        f"{judgement.message}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in _facts(facts, expected, judgement)),
        "",
        "## Answers",
        "",
        "| at | sidecar | fault | way | status | took | cost | |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(expected, seen) for seen in judgement.seen[:100]),
    ]
    if len(judgement.seen) > 100:
        lines.append(f"\n{len(judgement.seen) - 100} more are in report.json.")
    return "\n".join(lines) + "\n"


def _facts(facts: Facts, expected: Expected, judgement: Judgement) -> list[tuple[str, str]]:
    detect, recover = judgement.time_to_detect, judgement.time_to_recover
    return [
        ("Declared", " → ".join(expected.path)),
        ("Observed", " → ".join(judgement.observed) or "nothing"),
        ("First difference", judgement.fail_step or "none"),
        ("Time to detect", "unknown" if detect is None else span(detect)),
        ("Time to recover", "unknown" if recover is None else span(recover)),
        ("Cost", f"{dollars(judgement.cost)} USD"),
        ("Injected", rfc3339(facts.injected)),
        ("Completed", rfc3339(facts.completed)),
        ("Route generation", str(facts.route_generation)),
        ("Policy", facts.policy_version or "unknown"),
        ("Operator", facts.operator_version),
        ("Why", facts.reason or "not said"),
    ]


def _row(expected: Expected, seen: Seen) -> str:
    sample = seen.sample
    cells = (
        span(sample.at),
        seen.sidecar,
        "" if sample.control else expected.fault,
        " → ".join(observed_path(sample)),
        str(sample.status or ""),
        span(sample.duration),
        dollars(sample.cost),
        seen.wrong or "as expected",
    )
    return "| " + " | ".join(_cell(c) for c in cells) + " |"


def _cell(text: str) -> str:
    """What a sidecar tells cannot break the table."""
    return text.replace("|", "\\|").replace("\n", " ")
