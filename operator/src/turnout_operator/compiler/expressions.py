"""A rule's expression as a row of tokens, and the literals that each fact is compared with.

Only what `rules` needs of CEL's grammar: the evaluator parses expressions for good, this reads the plain ones well enough to know at which
values they can change. What it does not understand it says so of, and nobody concludes anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

FACTS = ("model", "inputTokens", "maxOutputTokens", "stream", "headers", "tenant")
"""What `request` has; the sidecar evaluates rules over exactly these."""

Token = tuple[str, str]
"""(kind, text): string | number | word | mark | unknown."""
_Fact = tuple[str, str | None]
"""A fact by name, and the header where it is one."""
_Literal = int | str | bool

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>\d+(?:\.\d+)?u?)|(?P<word>[A-Za-z_]\w*)|(?P<mark>&&|\|\||[=!<>]=|[<>!?:()\[\],.+\-*/%{}]))""",
    re.VERBOSE,
)
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}
_SKIPPED = {*(("mark", m) for m in ("&&", "||", "!", "(", ")", "?", ":")), ("word", "true"), ("word", "false")}
"""What joins comparisons, and the constants; none of them adds a literal."""


@dataclass(slots=True, kw_only=True)
class Literals:
    """What a rule compares each fact with."""

    integers: dict[str, set[int]] = field(default_factory=dict)
    strings: dict[str, set[str]] = field(default_factory=dict)
    headers: dict[str, set[str]] = field(default_factory=dict)


def tokens(source: str) -> Iterator[Token]:
    """All of `source`, in order."""
    position = 0
    while position < len(source.rstrip()):
        match = _TOKEN.match(source, position)
        if match is None:
            yield ("unknown", source[position])
            position += 1
            continue
        yield (str(match.lastgroup), match.group(str(match.lastgroup)))
        position = match.end()


def collect(source: tuple[Token, ...], into: Literals) -> bool:
    """Adds the literals of each comparison; False when the rule is no plain combination of such comparisons."""
    rest = list(source)
    while rest:
        if rest[0] in _SKIPPED:
            rest.pop(0)
        elif not _collect_atom(rest, into):
            return False
    return True


def _collect_atom(rest: list[Token], into: Literals) -> bool:
    """Takes ``fact op literal``, ``literal op fact``, ``fact in [literals]``, ``'h' in request.headers`` or a bare boolean fact."""
    literal = _take_literal(rest)
    if literal is not None:
        return _collect_reversed(literal, rest, into)
    fact = _take_fact(rest)
    if fact is None:
        return False
    if rest and rest[0][1] in _COMPARISONS:
        operator = rest.pop(0)[1]
        compared = _take_literal(rest)
        return compared is not None and _note(fact, operator, compared, into)
    if rest and rest[0] == ("word", "in"):
        rest.pop(0)
        members = _take_list(rest)
        return members is not None and all(_note(fact, "==", member, into) for member in members)
    return fact == ("stream", None)


def _collect_reversed(literal: _Literal, rest: list[Token], into: Literals) -> bool:
    if rest and rest[0] == ("word", "in"):
        rest.pop(0)
        if isinstance(literal, str) and _take_fact(rest) == ("headers", None):
            into.headers.setdefault(literal, set())
            return True
        return False
    if not rest or rest[0][1] not in _COMPARISONS:
        return False
    operator = rest.pop(0)[1]
    fact = _take_fact(rest)
    return fact is not None and _note(fact, operator, literal, into)


def _note(fact: _Fact, operator: str, literal: _Literal, into: Literals) -> bool:
    """Strings are only told apart, not ordered: between two literals there would be no end of them."""
    name, header = fact
    if isinstance(literal, str) and operator not in ("==", "!="):
        return False
    if name == "stream":
        return isinstance(literal, bool)
    if name == "headers":
        if header is None or not isinstance(literal, str):
            return False
        into.headers.setdefault(header, set()).add(literal)
        return True
    if name in ("model", "tenant"):
        if isinstance(literal, str):
            into.strings.setdefault(name, set()).add(literal)
        return isinstance(literal, str)
    if isinstance(literal, int) and not isinstance(literal, bool):
        into.integers.setdefault(name, set()).add(literal)
        return True
    return False


def _take_literal(rest: list[Token]) -> _Literal | None:
    if not rest:
        return None
    kind, text = rest[0]
    if kind == "string" and "\\" not in text:
        rest.pop(0)
        return text[1:-1]
    if kind == "number" and text.isdigit():
        rest.pop(0)
        return int(text)
    if kind == "word" and text in ("true", "false"):
        rest.pop(0)
        return text == "true"
    return None


def _take_fact(rest: list[Token]) -> _Fact | None:
    """``request.<fact>`` or ``request.headers['name']``."""
    texts = [t for _, t in rest[:6]]
    if len(texts) < 3 or texts[:2] != ["request", "."] or texts[2] not in FACTS:
        return None
    name = texts[2]
    if name == "headers" and len(texts) >= 6 and texts[3] == "[" and rest[4][0] == "string" and texts[5] == "]":
        del rest[:6]
        return (name, texts[4][1:-1])
    if len(texts) > 3 and texts[3] in (".", "["):
        return None
    del rest[:3]
    return (name, None)


def _take_list(rest: list[Token]) -> list[_Literal] | None:
    if not rest or rest[0][1] != "[":
        return None
    rest.pop(0)
    members: list[_Literal] = []
    while rest and rest[0][1] != "]":
        member = _take_literal(rest)
        if member is None:
            return None
        members.append(member)
        if rest and rest[0][1] == ",":
            rest.pop(0)
    if not rest:
        return None
    rest.pop(0)
    return members
