"""A folder's texts become what the sidecar is to have; what is refused keeps its last good generation."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from turnout_operator import folder
from turnout_operator.ir import Accepted, Service
from turnout_operator.render.envoy import Edge
from turnout_operator.serve import news
from turnout_operator.serve.program import Program, Remembered, Unusable, program

EXAMPLES = Path(__file__).parents[2] / "examples"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = Remembered(accepted=Accepted(), generations={})


def read(texts: dict[str, str], before: Remembered = FIRST, namespace: str = "*") -> Program:
    return program(texts, {}, before, Edge(), NOW, namespace=namespace)


def example() -> dict[str, str]:
    return {Path(name).name: text for name, text in folder.texts(EXAMPLES / "local").items()}


@pytest.mark.parametrize("directory", [EXAMPLES, EXAMPLES / "local"], ids=["providers", "local"])
def test_the_examples_are_accepted_as_they_stand(directory: Path) -> None:
    made = read(folder.texts(directory))
    assert made.faults == ()
    assert len(made.compilation.routes) == 2
    assert len(made.resources.clusters) == 3


def test_the_local_examples_hold_the_same_routes_as_those_for_providers() -> None:
    assert (EXAMPLES / "30-routes.yaml").read_text() == (EXAMPLES / "local" / "30-routes.yaml").read_text()


def test_a_refused_edit_is_named_with_file_line_and_field_and_the_last_good_one_serves() -> None:
    first = read(example())
    texts = example()
    texts["30-routes.yaml"] = texts["30-routes.yaml"].replace('cost: "0.02"', 'cost: "0.000001"')
    second = read(texts, first.remembered)
    assert second.resources == first.resources
    fault = second.faults[0]
    assert (fault.file, fault.subject, fault.path) == (
        "30-routes.yaml",
        "LLMRoute support/support-answer",
        "spec.budget.limits[0].cost",
    )
    assert fault.line > 1
    outcome = second.compilation.outcome_of("LLMRoute", "support/support-answer")
    assert outcome is not None
    assert (outcome.service, outcome.generation, outcome.served) == (Service.LAST_GOOD, 2, 1)


def test_the_last_good_generation_survives_a_restart_with_a_refused_edit_on_disk() -> None:
    first = read(example())
    texts = example()
    texts["30-routes.yaml"] = texts["30-routes.yaml"].replace("owner: team-support", "")
    second = read(texts, first.remembered)
    third = read(texts, second.remembered)
    assert third.resources == first.resources
    assert {f.path for f in third.faults} == {"spec.owner"}


def test_a_deleted_route_stops_and_its_return_is_another_generation_only_when_it_changed() -> None:
    first = read(example())
    texts = example()
    whole = texts.pop("30-routes.yaml")
    gone = read(texts, first.remembered)
    assert gone.compilation.routes == ()
    back = read({**texts, "30-routes.yaml": whole}, gone.remembered)
    assert back.resources == first.resources


def test_a_file_that_is_no_yaml_leaves_everything_as_it_was() -> None:
    texts = example() | {"30-routes.yaml": "kind: [LLMRoute"}
    with pytest.raises(Unusable) as unusable:
        read(texts)
    assert unusable.value.faults[0].file == "30-routes.yaml"
    assert "not YAML" in unusable.value.faults[0].message


def test_a_pool_without_its_secret_is_named_and_the_other_pools_serve() -> None:
    texts = example()
    del texts["10-secrets.yaml"]
    made = read(texts)
    assert {(f.subject, f.path) for f in made.faults if f.subject.startswith("ProviderPool")} == {
        ("ProviderPool llm/openai", "spec.credentials.secretRef"),
        ("ProviderPool llm/anthropic", "spec.credentials.secretRef"),
    }


def test_routes_of_two_namespaces_that_claim_one_model_are_told_apart_by_choosing_a_namespace() -> None:
    texts = example()
    texts["00-namespaces.yaml"] += (
        "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: sales, labels: {llm: allowed}}\n"
    )
    texts["40.yaml"] = texts["30-routes.yaml"].replace("namespace: support", "namespace: sales")
    both = read(texts)
    assert {f.path for f in both.faults} == {"spec.matches"}
    assert "choose one with --namespace" in both.faults[0].message
    one = read(texts, namespace="sales")
    assert one.faults == ()
    assert b"support/support-answer" not in one.resources.extensions[0].body


def test_no_key_stands_in_what_is_told_or_remembered() -> None:
    texts = example()
    texts["10-secrets.yaml"] = texts["10-secrets.yaml"].replace("sk-", "SEKRET-")
    made = read(texts)
    told = news.loaded(made.compilation, made.faults, made.resources.policy_version, {})
    for shown in (repr(made), repr(told), repr(made.remembered)):
        assert "SEKRET" not in shown


def test_only_the_folders_own_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yaml").write_text("b")
    (tmp_path / "a.yaml").write_text("a")
    (tmp_path / ".hidden.yaml").write_text("h")
    (tmp_path / "notes.txt").write_text("n")
    assert folder.texts(tmp_path) == {str(tmp_path / "a.yaml"): "a"}


def test_a_folder_that_is_gone_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(folder.FolderUnreadable, match="gone"):
        folder.texts(tmp_path / "gone")
