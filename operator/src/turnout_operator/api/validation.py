"""What `kubectl apply` would say about manifests, without a cluster: same field paths, same messages, all at once.

Pure: texts in, faults out. Unknown fields are refused here as kubectl does (other clients get them pruned silently).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from turnout_operator.api import API_VERSION, GROUP, crdgen
from turnout_operator.api.documents import Document, location_of, parse, path_of
from turnout_operator.api.fault import Fault, Finding
from turnout_operator.api.metadata import without_nulls
from turnout_operator.api.sentences import judge
from turnout_operator.api.structure import NOT_CHECKED, Schema, unknown_fields, violations

_KINDS = {kind.__name__: kind for kind in crdgen.KINDS}
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """All documents of some files and every fault in them; `sound` are those of ours without a fault, ready for the models."""

    documents: tuple[Document, ...]
    sound: tuple[Document, ...]
    faults: tuple[Fault, ...]


@functools.cache
def schema_of(kind: str) -> Schema:
    """The CRD's schema of one of the three kinds."""
    return crdgen.schema(_KINDS[kind])


def is_ours(value: Any) -> bool:
    """Whether a document claims to be one of Turnout's objects."""
    return isinstance(value, dict) and str(value.get("apiVersion", "")).split("/")[0] == GROUP


def findings(value: dict[str, Any], old: dict[str, Any] | None = None) -> tuple[Finding, ...]:
    """What is wrong in one object of ours; with `old`, also what may not change. Empty means that the apiserver takes it."""
    wrong_kind = _wrong_kind(value)
    if wrong_kind:
        return (wrong_kind,)
    schema = schema_of(value["kind"])
    unknown = tuple(unknown_fields(schema, value))
    value, old = without_nulls(value), without_nulls(old)
    structural = tuple(violations(schema, value))
    found = (*unknown, *_name_findings(value), *(each.finding for each in structural))
    if any(each.blocks for each in structural):
        return (*found, Finding(path="", found="", message=NOT_CHECKED))
    return (*found, *(judged.finding for judged in judge(schema, value, old) if judged.finding))


def check(texts: Mapping[str, str]) -> Checked:
    """Everything that is wrong in the files `texts` (name to content), object by object; documents of other groups are left alone."""
    documents: list[Document] = []
    faults: list[Fault] = []
    for file in sorted(texts):
        read, unreadable = parse(file, texts[file])
        documents.extend(read)
        faults.extend(unreadable)
    sound = []
    for document in documents:
        wrong = _faults_of(document)
        faults.extend(wrong)
        if not wrong and is_ours(document.value):
            sound.append(document)
    faults.extend(_declared_twice(sound))
    return Checked(documents=tuple(documents), sound=tuple(sound), faults=tuple(sorted(faults)))


def subject_of(value: Any) -> str:
    """`Kind namespace/name`, as far as it can be told."""
    if not isinstance(value, dict):
        return ""
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or f"{metadata.get('generateName', '')}*"
    return f"{value.get('kind', '?')} {metadata.get('namespace', 'default')}/{name}"


def fault_at(document: Document, finding: Finding, reason: str = "Invalid") -> Fault:
    """The finding with file and line."""
    return Fault(
        file=document.file,
        line=document.line_of(location_of(finding.path)),
        subject=subject_of(document.value),
        path=finding.path,
        found=finding.found,
        message=finding.message,
        hint=finding.hint,
        reason=reason,
    )


def _faults_of(document: Document) -> list[Fault]:
    twice = [path_of(location) for location in document.repeated]
    return [
        *(
            fault_at(document, Finding(path=path, found="two of it", message=f'duplicate field "{path}"'))
            for path in twice
        ),
        *_value_faults(document),
    ]


def _value_faults(document: Document) -> list[Fault]:
    if not isinstance(document.value, dict):
        whole = Finding(
            path="", found="", message="this is not a Kubernetes object: write apiVersion, kind, metadata and spec"
        )
        return [fault_at(document, whole)]
    if not is_ours(document.value):
        return []
    return [fault_at(document, finding) for finding in findings(document.value)]


def _wrong_kind(value: dict[str, Any]) -> Finding | None:
    version, kind = value.get("apiVersion"), value.get("kind")
    if version != API_VERSION:
        return Finding(path="apiVersion", found=str(version), message=f"no such version: write {API_VERSION}")
    if kind not in _KINDS:
        return Finding(path="kind", found=str(kind), message=f"no such kind: write one of {', '.join(_KINDS)}")
    return None


def _name_findings(value: dict[str, Any]) -> Iterable[Finding]:
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name")
    if not name and not metadata.get("generateName"):
        yield Finding(path="metadata.name", found="nothing", message="name or generateName is required")
    elif name and (len(str(name)) > 253 or not _SUBDOMAIN.fullmatch(str(name))):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        yield Finding(path="metadata.name", found=str(name), message=message)


def _declared_twice(documents: Iterable[Document]) -> list[Fault]:
    seen: dict[str, Document] = {}
    faults = []
    for document in documents:
        subject = subject_of(document.value)
        if subject.endswith("*"):
            continue
        first = seen.setdefault(subject, document)
        if first is not document:
            place = f"{first.file}:{first.line_of(())}"
            message = f"this object stands in {place} too, and the later one would replace it: write it once"
            faults.append(fault_at(document, Finding(path="metadata.name", found=subject, message=message)))
    return faults
