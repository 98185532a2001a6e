"""What routes of one namespace claim together: requests, and shared accounts. The older keeps its claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from turnout_operator.amounts import dollars
from turnout_operator.api.conditions import AcceptedReason
from turnout_operator.compiler.faults import Faults
from turnout_operator.ir import CompiledRoute, QuotaLimit
from turnout_sidecar.policy.model import HeaderMatch, Match


def rival_matches(mine: Match, theirs: Match) -> bool:
    """Whether some request matches both and nothing says which is meant: neither names more headers, nor a model where the other does not."""
    if bool(mine.models) != bool(theirs.models) or len(mine.headers) != len(theirs.headers):
        return False
    if mine.models and not set(mine.models) & set(theirs.models):
        return False
    values = {h.name: h.value for h in theirs.headers}
    return all(values.get(h.name, h.value) == h.value for h in mine.headers)


def conflicts(route: CompiledRoute, older: Iterable[CompiledRoute]) -> Iterator[tuple[int, str]]:
    """The index of each match that an older route already has, and that route's words for it."""
    for other in older:
        if other.namespace != route.namespace:
            continue
        for index, mine in enumerate(route.policy.matches):
            theirs = next((m for m in other.policy.matches if rival_matches(mine, m)), None)
            if theirs is not None:
                yield index, f"LLMRoute {other.key} was there first and takes {in_words(mine, theirs)}"


def in_words(mine: Match, theirs: Match) -> str:
    """The requests both claim."""
    shared = sorted(set(mine.models) & set(theirs.models))
    models = f"requests for model {' and '.join(shared)}" if shared else "requests for any model"
    headers = sorted({*mine.headers, *theirs.headers}, key=lambda h: h.name)
    return models + (f" with {' and '.join(map(_header, headers))}" if headers else "")


def examine(route: CompiledRoute, older: tuple[CompiledRoute, ...], faults: Faults) -> None:
    """Refuses the newer of two routes that claim the same requests, or that declare one share differently."""
    for index, words in conflicts(route, older):
        field = "spec.matches" if len(route.policy.matches) == 1 else f"spec.matches[{index}]"
        message = f"{words}: match another model or a header, or delete one of the routes"
        faults.refuse(AcceptedReason.CONFLICTED, field, message)
    for mine, theirs, other in _shares(route, older):
        field = next(i.origin.field for i in route.policy.limits if i.account == mine.account)
        message = (
            f"LLMRoute {other.key} was there first and declares {mine.account} as {describe(theirs)}, here it is {describe(mine)}: "
            "write them alike, one account has one limit"
        )
        faults.refuse(AcceptedReason.CONFLICTED, field, message)


def with_shares_of(route: CompiledRoute, older: tuple[CompiledRoute, ...]) -> CompiledRoute:
    """The last good route under the shared limits that the older routes declare now: an account has one limit, also in between two edits."""
    declared = {theirs.account: theirs for _, theirs, _ in _shares(route, older)}
    if not declared:
        return route
    limits = tuple(
        msgspec.structs.replace(i, amount=declared[i.account].amount) if i.account in declared else i
        for i in route.policy.limits
    )
    return msgspec.structs.replace(
        route,
        policy=msgspec.structs.replace(route.policy, limits=limits),
        quota=tuple(declared.get(q.account, q) for q in route.quota),
    )


def describe(limit: QuotaLimit) -> str:
    """All that must be alike."""
    others = "".join(f", {o.subject} ${dollars(o.amount)}" for o in limit.overrides)
    return f"${dollars(limit.amount)} a {limit.window} in {limit.time_zone} for each {limit.scope}{others}"


def _shares(
    route: CompiledRoute, older: tuple[CompiledRoute, ...]
) -> Iterator[tuple[QuotaLimit, QuotaLimit, CompiledRoute]]:
    """(mine, theirs, who) for each account that an older route declares differently; the oldest counts."""
    first: dict[str, tuple[QuotaLimit, CompiledRoute]] = {}
    for other in older:
        for limit in other.quota:
            first.setdefault(limit.account, (limit, other))
    for mine in route.quota:
        known = first.get(mine.account)
        if known is not None and known[0] != mine:
            yield mine, known[0], known[1]


def _header(match: HeaderMatch) -> str:
    return f"{match.name}: {match.value}"
