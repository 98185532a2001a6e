"""`turnout compile` on folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from turnout_operator.cli.main import app

BASE = Path(__file__).parent / "testdata" / "base.yaml"
RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "world.yaml").write_text(BASE.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def _run(folder: Path, *options: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["compile", str(folder), *options])
    return result.exit_code, result.stdout, result.stderr


def test_people_see_what_runs_and_what_it_can_cost(folder: Path) -> None:
    code, out, _ = _run(folder)

    assert code == 0
    for shown in ("support/support-answer", "$0.008096", "15s", "llm/turnout-vllm", "support/route:support-answer/day"):
        assert shown in out


def test_faults_make_it_fail_and_are_shown_beside_what_runs(folder: Path) -> None:
    broken = (folder / "world.yaml").read_text(encoding="utf-8").replace('cost: "0.02"', 'cost: "0.002"')
    (folder / "world.yaml").write_text(broken, encoding="utf-8")
    code, out, _ = _run(folder)

    assert code == 1
    assert "WorstCaseExceedsLimit: spec.budget.limits[0].cost: the worst case is 2 attempts" in out
    code, out, err = _run(folder, "-o", "ir")
    assert (code, yaml.safe_load(out)["routes"]) == (1, [])
    assert "WorstCaseExceedsLimit" in err


def test_json_holds_everything(folder: Path) -> None:
    code, out, _ = _run(folder, "-o", "json")
    told = json.loads(out)

    assert code == 0
    assert set(told) == {"routes", "pools", "objects", "accounts", "outcomes", "faults"}
    assert told["routes"][0]["worst_case"]["cost"] == 8_096_000


def test_objects_can_be_applied_as_they_are(folder: Path) -> None:
    _, out, _ = _run(folder, "-o", "objects")

    assert [o["kind"] for o in yaml.safe_load_all(out)] == ["HorizontalPodAutoscaler"]


def test_envoy_resources_are_shown_without_keys(folder: Path) -> None:
    code, out, _ = _run(folder, "-o", "envoy")
    told = json.loads(out)

    assert code == 0
    assert sorted(c["name"].rsplit("/", 1)[0] for c in told["support"]["clusters"]) == [
        "pool/llm/openai/eu",
        "pool/llm/vllm/main",
    ]
    assert "not-a-real-key" not in out


def test_secrets_may_live_elsewhere(folder: Path) -> None:
    world = [m for m in yaml.safe_load_all(BASE.read_text(encoding="utf-8")) if m["kind"] != "Secret"]
    (folder / "world.yaml").write_text(yaml.safe_dump_all(world), encoding="utf-8")

    assert _run(folder)[0] == 1
    assert _run(folder, "--without-secrets")[0] == 0


def test_yaml_that_cannot_be_read_is_told_with_its_line(folder: Path) -> None:
    (folder / "broken.yaml").write_text("kind: LLMRoute\nspec: [unclosed\n", encoding="utf-8")
    code, out, _ = _run(folder)

    assert code == 1
    assert "broken.yaml line 3" in out


def test_an_empty_folder_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    assert _run(tmp_path)[0] == 2
