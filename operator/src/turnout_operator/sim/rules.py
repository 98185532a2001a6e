"""Which rule of the script a request meets. Counts and draws, so it has state; it reads no clock."""

import random

import msgspec

from turnout_operator.sim.ask import Ask
from turnout_operator.sim.http1 import Request
from turnout_operator.sim.script import Match, Rule, Script


class Rules:
    """The running script: its rules, how often each was asked, and its random numbers."""

    def __init__(self, script: Script, started: float) -> None:
        self.script = script
        self._started = started
        self._counts = [0] * len(script.rules)
        self._rng = random.Random(script.seed)

    def meets(self, ask: Ask, request: Request, now: float) -> Rule | None:
        """The first rule that holds for this request. Every rule whose plain conditions hold counts it."""
        chosen: Rule | None = None
        for index, rule in enumerate(self.script.rules):
            if not _plain_conditions(rule.match, ask, request, now - self._started):
                continue
            self._counts[index] += 1
            drawn = rule.match.share >= 1 or self._rng.random() < rule.match.share
            if chosen is None and drawn and (rule.match.nth is None or rule.match.nth.holds(self._counts[index])):
                chosen = msgspec.structs.replace(rule, name=rule.name or f"rule-{index + 1}")
        return chosen


def _plain_conditions(match: Match, ask: Ask, request: Request, age: float) -> bool:
    return (
        (match.dialect is None or match.dialect is ask.dialect)
        and (not match.models or ask.model in match.models)
        and (match.stream is None or match.stream is ask.stream)
        and (match.tag is None or match.tag == ask.tag)
        and match.after <= age
        and (match.until is None or age < match.until)
        and all(request.header(name.lower().encode()) == value for name, value in match.headers.items())
    )
