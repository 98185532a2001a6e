"""What enters the compiler, and what must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from turnout_operator.snapshot import from_manifests, secret_facts

BASE = Path(__file__).parent / "testdata" / "base.yaml"


def _world() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(BASE.read_text(encoding="utf-8")))


def test_a_secret_enters_without_its_values() -> None:
    assert "not-a-real-key" not in repr(from_manifests(_world()))


def test_a_rotated_secret_has_another_digest_and_the_same_keys() -> None:
    def facts(value: str) -> Any:
        return secret_facts({"metadata": {"name": "s", "namespace": "n"}, "data": {"apiKey": value}})

    assert facts("YQ==").keys == facts("Yg==").keys
    assert facts("YQ==").digest != facts("Yg==").digest
    assert facts("YQ==") == facts("YQ==")


def test_an_object_declared_twice_is_told_and_not_chosen_from() -> None:
    world = _world()
    snapshot = from_manifests([*world, world[0]])

    assert snapshot.routes == ()
    assert [(u.key, u.faults) for u in snapshot.unreadable] == [
        (("support", "support-answer"), (("metadata.name", "declared 2 times: keep one of them"),))
    ]


def test_kinds_of_others_with_our_names_are_left_alone() -> None:
    snapshot = from_manifests([{"apiVersion": "other.dev/v1", "kind": "LLMRoute", "metadata": {"name": "x"}}])

    assert (snapshot.routes, snapshot.unreadable) == ((), ())


@pytest.mark.parametrize(
    "damage", [{"spec": 5}, {"metadata": 5}, {"metadata": None}, {"spec": {"budget": []}}, {"metadata": {"labels": 7}}]
)
def test_a_damaged_object_is_told_and_not_raised(damage: dict[str, Any]) -> None:
    snapshot = from_manifests([{**_world()[0], **damage}])

    assert snapshot.routes == ()
    assert snapshot.unreadable[0].faults != ()


def test_every_namespace_carries_its_name_as_a_label() -> None:
    assert from_manifests(_world()).labels("support") == {"kubernetes.io/metadata.name": "support", "llm": "allowed"}
    assert from_manifests([]).labels("elsewhere") == {"kubernetes.io/metadata.name": "elsewhere"}
