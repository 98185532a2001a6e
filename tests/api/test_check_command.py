"""`turnout check` on folders of manifests, as a person or a CI step runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from turnout_operator.cli.main import app
from turnout_testing import manifest_cases

ROOT = Path(__file__).parents[2]
TESTDATA = Path(__file__).parent / "testdata"

POOLS = """\
apiVersion: turnout.dev/v1alpha1
kind: ProviderPool
metadata: {name: openai, namespace: llm}
spec:
  owner: team-platform
  endpoints: [{name: eu, url: "https://eu.api.openai.com/v1"}]
  credentials: {secretRef: {name: openai, key: apiKey}}
  models:
  - {name: gpt-5-mini, contextWindow: 400000, maxOutputTokens: 128000, pricing: {input: "0.25", output: "2.00"}}
  allowedNamespaces: {from: All}
---
apiVersion: turnout.dev/v1alpha1
kind: ProviderPool
metadata: {name: vllm, namespace: llm}
spec:
  owner: team-platform
  endpoints: [{name: cluster, serviceRef: {name: vllm, port: 8000}}]
  models:
  - {name: qwen3-8b, contextWindow: 32000, maxOutputTokens: 8000, pricing: {input: "0", output: "0"}}
  allowedNamespaces: {from: All}
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: openai, namespace: llm}
stringData: {apiKey: sk-test}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The smallest route with the pools it needs and their Secret: nothing is wrong."""
    shutil.copy(TESTDATA / "llmroute/the smallest route.yaml", tmp_path / "route.yaml")
    (tmp_path / "pools.yaml").write_text(POOLS, encoding="utf-8")
    (tmp_path / "secret.yaml").write_text(SECRET, encoding="utf-8")
    return tmp_path


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def _faults(result: Result) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = json.loads(result.stdout)["faults"]
    return faults


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_sound_folder_passes(folder: Path) -> None:
    result = _run(folder)

    assert result.exit_code == 0, result.output
    assert "3 objects in 3 files, 0 faults" in result.output


def test_the_examples_pass() -> None:
    for example in (ROOT / "examples", ROOT / "examples/local"):
        result = _run(example)
        assert result.exit_code == 0, result.output


def test_every_fault_of_one_object_is_named_with_its_line_and_field(folder: Path) -> None:
    _replace(folder / "route.yaml", "  owner: team-support\n", "")
    _replace(folder / "route.yaml", "attempts: {max: 2, ", "attempts: {")
    _replace(folder / "route.yaml", "total: {p50: 1500ms", "total: {p50: 5 seconds")

    result = _run(folder)

    assert result.exit_code == 1
    assert "LLMRoute support/support-answer in " in result.stdout
    assert "line 4: spec.owner: no owner: write who answers for this route" in result.stdout
    assert "spec.attempts.max: no attempt bound" in result.stdout
    assert "spec.latency.total.p50" in result.stdout
    assert "write a duration of whole h, m, s, ms such as 400ms" in result.stdout


def test_the_faults_of_json_have_file_line_subject_path_and_reason(folder: Path) -> None:
    _replace(folder / "route.yaml", "attempts: {max: 2, ", "attempts: {max: 3, ")

    result = _run(folder, "-o", "json")

    assert result.exit_code == 1
    (fault,) = _faults(result)
    assert fault["file"] == str(folder / "route.yaml")
    assert fault["subject"] == "LLMRoute support/support-answer"
    assert (fault["path"].startswith("spec.attempts"), fault["reason"]) == (True, "DeadlinesDoNotFit")
    assert fault["line"] == 17


def test_faults_between_objects_are_found(folder: Path) -> None:
    _replace(folder / "route.yaml", "model: qwen3-8b", "model: qwen3-80b")

    faults = _faults(_run(folder, "-o", "json"))

    assert {(fault["path"], fault["reason"]) for fault in faults} == {("spec.candidates[1].model", "ModelNotFound")}


def test_a_missing_secret_is_a_fault_unless_secrets_live_elsewhere(folder: Path) -> None:
    (folder / "secret.yaml").unlink()

    assert "SecretNotFound" in {fault["reason"] for fault in _faults(_run(folder, "-o", "json"))}
    assert _run(folder, "--without-secrets").exit_code == 0


def test_a_declared_bound_that_nothing_enforces_is_a_fault_with_the_version_that_will(folder: Path) -> None:
    _replace(folder / "route.yaml", "{name: day, scope: Route", "{name: day, scope: User")
    _replace(
        folder / "route.yaml",
        "  owner: team-support",
        "  owner: team-support\n  identity: {user: {header: {name: x-user}}}",
    )

    (fault,) = _faults(_run(folder, "-o", "json"))

    assert (fault["path"], fault["reason"]) == ("spec.budget.limits[1].scope", "NotEnforceable")
    assert "0.2" in fault["message"]


def test_a_key_that_stands_twice_is_a_fault_of_its_object(folder: Path) -> None:
    _replace(folder / "route.yaml", "  owner: team-support", "  owner: team-support\n  owner: team-sales")

    (fault,) = _faults(_run(folder, "-o", "json"))

    assert (fault["line"], fault["subject"], fault["path"], fault["message"]) == (
        6,
        "LLMRoute support/support-answer",
        "spec.owner",
        'duplicate field "spec.owner"',
    )


def test_what_is_not_yaml_is_a_fault_with_its_line_and_hides_no_other_file(folder: Path) -> None:
    (folder / "broken.yaml").write_text("spec: {a: 1\nb: [\n", encoding="utf-8")
    _replace(folder / "pools.yaml", 'input: "0.25"', "input: 0.25")

    faults = _faults(_run(folder, "-o", "json"))

    assert any(f["file"].endswith("broken.yaml") and f["message"].startswith("this is not YAML") for f in faults)
    assert any(f["path"] == "spec.models[0].pricing.input" and "write US dollars" in f["hint"] for f in faults)


def test_an_object_that_stands_in_two_files_is_a_fault_that_names_the_other_place(folder: Path) -> None:
    shutil.copy(folder / "route.yaml", folder / "same-route.yaml")

    faults = _faults(_run(folder, "-o", "json"))

    assert any(f["file"].endswith("same-route.yaml") and f"{folder / 'route.yaml'}:" in f["message"] for f in faults)


def test_a_drill_of_a_route_that_is_not_there_is_a_fault(folder: Path) -> None:
    shutil.copy(TESTDATA / "fallbackdrill/the smallest drill.yaml", folder / "drill.yaml")
    assert _run(folder).exit_code == 0
    _replace(folder / "drill.yaml", "routeRef: {name: support-answer}", "routeRef: {name: nobody}")

    (fault,) = _faults(_run(folder, "-o", "json"))

    assert (fault["path"], fault["reason"]) == ("spec.routeRef.name", "RouteNotFound")


def test_other_peoples_manifests_are_left_alone(folder: Path) -> None:
    (folder / "deployment.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec: {anything: 1}\n", encoding="utf-8"
    )

    assert _run(folder).exit_code == 0


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_nothing_to_read_is_an_error_of_its_own(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()

    assert _run(tmp_path / what).exit_code == 2


def test_a_secret_never_stands_in_the_output(folder: Path) -> None:
    _replace(folder / "pools.yaml", "key: apiKey", "key: other")

    result = _run(folder)

    assert result.exit_code == 1
    assert "sk-test" not in result.output


def test_refused_cases_make_check_fail_with_their_messages(tmp_path: Path) -> None:
    for case in manifest_cases.read(TESTDATA):
        if case.refused and case.old is None:
            file = tmp_path / "case.json"
            file.write_text(json.dumps(case.manifest), encoding="utf-8")
            said = {(f["path"], f["message"]) for f in _faults(_run(file, "-o", "json"))}
            assert set(case.refused) <= said, case.name
