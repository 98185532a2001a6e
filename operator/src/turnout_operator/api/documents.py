"""YAML as kubectl reads it, with the line of every field: duplicate keys are faults, not the last one's victory.

PyYAML reads YAML 1.1; kubectl's reader does too, but for it a timestamp is a string, `10:30` is no number and every key is a string. The
loader here agrees. Aliases are followed, within a bound: a few lines of them can stand for more than any machine can hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from turnout_operator.api.fault import Fault

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML document: its value, the line on which each location begins, and the keys that stand twice."""

    file: str
    value: Any
    lines: dict[Location, int]
    repeated: tuple[Location, ...] = ()

    def line_of(self, location: Location) -> int:
        """The line of `location`, or of the nearest thing around it that was written."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


_MOST_NODES = 200_000
_UNFINISHED = -1


class _KubectlLoader(yaml.SafeLoader):
    """SafeLoader without the two readings that kubectl does not share."""


_KubectlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] not in ("timestamp", "int", "float")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_KubectlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(0|[1-9][0-9_]*|0[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)$"),
    list("-+0123456789"),
)
_KubectlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def parse(file: str, text: str) -> tuple[list[Document], list[Fault]]:
    """The documents of `text`, and a fault where it cannot be read on."""
    documents: list[Document] = []
    faults: list[Fault] = []
    loader = _KubectlLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None, "check_node said that there is one"
            _measure(node, {})
            value = _as_json(loader.construct_document(node))
            if value is not None:
                lines: dict[Location, int] = {}
                repeated = tuple(_repeated(node, (), lines))
                documents.extend(_items(Document(file=file, value=value, lines=lines, repeated=repeated)))
    except yaml.YAMLError as error:
        faults.append(_unreadable(file, error))
    except RecursionError:
        faults.append(_unreadable(file, _TooLargeError("it is nested too deeply")))
    finally:
        loader.dispose()
    return documents, faults


class _TooLargeError(yaml.YAMLError):
    """Aliases that stand for too much, or for themselves."""


def _measure(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there are when every alias is written out; raises _TooLargeError beyond the bound."""
    if known.get(id(node)) == _UNFINISHED:
        raise _TooLargeError("an alias stands for something that holds the alias itself")
    if id(node) not in known:
        known[id(node)] = _UNFINISHED
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        flat = (each for child in children for each in (child if isinstance(child, tuple) else (child,)))
        known[id(node)] = 1 + sum(_measure(each, known) for each in flat)
        if known[id(node)] > _MOST_NODES:
            raise _TooLargeError(f"it stands for more than {_MOST_NODES} values")
    return known[id(node)]


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(name): _as_json(child) for name, child in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list) else value


def _key(name: Any) -> str:
    return str(name).lower() if isinstance(name, bool) else str(name)


def _items(document: Document) -> list[Document]:
    """What `kubectl get -o yaml` writes is one List: its items are the documents."""
    value = document.value
    if not isinstance(value, dict) or value.get("apiVersion") != "v1" or value.get("kind") != "List":
        return [document]
    items = value.get("items")
    return [_item(document, index, item) for index, item in enumerate(items if isinstance(items, list) else ())]


def _item(document: Document, index: int, item: Any) -> Document:
    at: Location = ("items", index)
    return Document(
        file=document.file,
        value=item,
        lines={location[2:]: line for location, line in document.lines.items() if location[:2] == at},
        repeated=tuple(location[2:] for location in document.repeated if location[:2] == at),
    )


def _repeated(node: yaml.Node, location: Location, lines: dict[Location, int]) -> Iterator[Location]:
    """Every key that stands twice in its mapping; fills `lines` on the way, with the last line where there are two."""
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _repeated(child, (*location, index), lines)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            name = str(key.value)  # as it is written: a key that is a number or a truth value is a string too
            if name in seen:
                yield (*location, name)
            seen.add(name)
            lines[(*location, name)] = key.start_mark.line + 1
            yield from _repeated(child, (*location, name), lines)


def _unreadable(file: str, error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return Fault(
        file=file,
        line=mark.line + 1 if mark else 1,
        subject="",
        path="",
        found="",
        message=f"this is not YAML: {problem}",
    )


def path_of(location: Location) -> str:
    """A location as the apiserver writes field paths: `spec.candidates[0].model`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def location_of(path: str) -> Location:
    """The location that `path` names; the inverse of `path_of` for names without dots."""
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path))
