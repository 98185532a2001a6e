"""Every case of tests/api/testdata through `turnout check`'s validation, and every rule of the CRDs through both kinds of case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from turnout_operator.api import crdgen, sentences, structure, validation
from turnout_testing import manifest_cases
from turnout_testing.manifest_cases import Case

CASES = tuple(manifest_cases.read(Path(__file__).parent / "testdata"))
ACCEPTED = tuple(case for case in CASES if not case.refused)
KINDS = {kind.__name__: kind for kind in crdgen.KINDS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_refused_for_exactly_its_faults(case: Case) -> None:
    found = {(finding.path, finding.message) for finding in validation.findings(case.manifest, case.old)}

    assert found == set(case.refused)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_the_models_take_what_is_accepted_and_write_it_back_unchanged(case: Case) -> None:
    assert KINDS[case.manifest["kind"]].from_manifest(case.manifest).manifest() == case.manifest


def _rules(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule["rule"]
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _judged(case: Case) -> Iterator[tuple[str, tuple[str, str], bool]]:
    kind = case.manifest["kind"]
    if ("", structure.NOT_CHECKED) in case.refused:
        return
    for judged in sentences.judge(validation.schema_of(kind), case.manifest, case.old):
        yield kind, (judged.schema_path, judged.rule), judged.finding is None


@pytest.mark.parametrize("outcome", ["accepts", "refuses"])
def test_every_rule_of_the_crds_has_a_case_that_it(outcome: str) -> None:
    wanted = {(kind.__name__, rule) for kind in crdgen.KINDS for rule in _rules(validation.schema_of(kind.__name__))}
    cases = [case for case in CASES if bool(case.refused) == (outcome == "refuses")]
    seen = {
        (kind, rule) for case in cases for kind, rule, accepted in _judged(case) if accepted == (outcome == "accepts")
    }

    assert sorted(wanted - seen) == []
