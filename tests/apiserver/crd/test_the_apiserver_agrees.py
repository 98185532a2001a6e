"""The CRDs on a real apiserver: they install within its CEL cost budget, and every case gets the very words of `turnout check`."""

from __future__ import annotations

import copy
import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client
import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from turnout_operator.api import GROUP, VERSION, crdgen, validation
from turnout_operator.api.printing import NAMES
from turnout_testing import manifest_cases, waiting
from turnout_testing.controlplane import ControlPlane
from turnout_testing.manifest_cases import Case

KINDS = {kind.__name__: kind for kind in crdgen.KINDS}
ROOT = Path(__file__).parents[3]
CASES = tuple(manifest_cases.read(ROOT / "tests/api/testdata"))
CREATED = tuple(case for case in CASES if case.old is None)
UPDATED = tuple(case for case in CASES if case.old is not None)
SMALLEST = next(case for case in CASES if case.name == "the smallest route").manifest


class Objects:
    """The three kinds in one namespace; `put` and `post` answer the refusals as pairs of field path and message."""

    def __init__(self, api: kubernetes.client.ApiClient, namespace: str) -> None:
        self._custom = kubernetes.client.CustomObjectsApi(api)
        self._namespace = namespace

    def post(self, manifest: dict[str, Any], *, keep: bool = False) -> list[tuple[str, str]]:
        """Create; a dry run unless it is kept."""
        return self._tried(
            self._custom.create_namespaced_custom_object, manifest, **({} if keep else {"dry_run": "All"})
        )

    def put(self, manifest: dict[str, Any]) -> list[tuple[str, str]]:
        """Replace what is there, as a dry run."""
        there = self.get(manifest)
        manifest = copy.deepcopy(manifest)
        manifest["metadata"] |= {
            "name": there["metadata"]["name"],
            "resourceVersion": there["metadata"]["resourceVersion"],
        }
        return self._tried(
            self._custom.replace_namespaced_custom_object, manifest, name=there["metadata"]["name"], dry_run="All"
        )

    def get(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The one object of the kind that the namespace holds."""
        (there,) = self._list(manifest)
        return there

    def clear(self, manifest: dict[str, Any]) -> None:
        """Delete all objects of the kind; true afterwards: they are gone."""
        self._custom.delete_collection_namespaced_custom_object(*self._place(manifest))
        waiting.until(
            lambda: not self._list(manifest),
            what="the objects are deleted",
            within=30,
        )

    def _list(self, manifest: dict[str, Any]) -> list[dict[str, Any]]:
        listed: Any = self._custom.list_namespaced_custom_object(*self._place(manifest))
        return list(listed["items"])

    def _place(self, manifest: dict[str, Any]) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self._namespace, NAMES[manifest["kind"]].plural

    def _tried(self, call: Any, manifest: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
        body = copy.deepcopy(manifest)
        body["metadata"]["namespace"] = self._namespace
        try:
            call(*self._place(manifest), body=body, field_validation="Strict", **options)
        except ApiException as refusal:
            return _refusals(json.loads(str(refusal.body)))
        return []


def _refusals(status: dict[str, Any]) -> list[tuple[str, str]]:
    causes = (status.get("details") or {}).get("causes")
    if causes:
        return [(cause.get("field", ""), cause["message"]) for cause in causes]
    return [("", status["message"])]


@pytest.fixture(scope="module")
def objects(control_plane: ControlPlane, api: kubernetes.client.ApiClient) -> Iterator[Objects]:
    """A namespace of an apiserver that has the three CRDs of this repository."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
    name = f"crd-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield Objects(api, name)
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def _differences(expected: tuple[tuple[str, str], ...], found: list[tuple[str, str]]) -> list[str]:
    """What was expected and not said, and what was said and not expected; the apiserver puts the value before our sentence."""
    rest = list(found)
    missing = []
    for path, message in expected:
        said = next((each for each in rest if each[0] in (path, "<nil>") and message in each[1]), None)
        if said is None and message.startswith("unknown field"):
            said = next((each for each in rest if message in each[1]), None)
        if said is None:
            missing.append(f"not said: {path}: {message}")
        else:
            rest.remove(said)
    return missing + [f"not expected: {path}: {message}" for path, message in rest]


@pytest.mark.parametrize("case", CREATED, ids=lambda case: case.name)
def test_the_apiserver_says_what_check_says(objects: Objects, case: Case) -> None:
    assert _differences(case.refused, objects.post(case.manifest)) == []


@pytest.mark.parametrize("case", UPDATED, ids=lambda case: case.name)
def test_the_apiserver_says_of_a_change_what_check_says(objects: Objects, case: Case) -> None:
    assert case.old is not None
    assert objects.post(case.old, keep=True) == []
    try:
        assert _differences(case.refused, objects.put(case.manifest)) == []
    finally:
        objects.clear(case.old)


def test_a_new_object_has_not_been_observed_and_gets_no_defaults_in_its_spec(objects: Objects) -> None:
    assert objects.post(SMALLEST, keep=True) == []
    try:
        there = objects.get(SMALLEST)
    finally:
        objects.clear(SMALLEST)

    assert there["status"] == {"observedGeneration": -1}
    assert there["spec"] == SMALLEST["spec"]


def test_kubectl_apply_itself_prints_every_missing_part_of_the_law(
    control_plane: ControlPlane, objects: Objects
) -> None:
    case = next(case for case in CASES if case.name == "a route with an empty spec hears the whole law at once")
    manifest = case.manifest | {"metadata": {"name": "lawless", "namespace": "default"}}

    refused = control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(manifest), check=False)

    assert refused.returncode != 0
    assert [message for _, message in case.refused if message not in refused.stderr] == []


def test_kubectl_knows_the_short_names_and_the_category(control_plane: ControlPlane, objects: Objects) -> None:
    listed = control_plane.kubectl(
        "api-resources", "--api-group", GROUP, "--categories", "turnout", "--no-headers"
    ).stdout

    assert {tuple(line.split()[:2]) for line in listed.splitlines()} == {
        (names.plural, names.short) for names in NAMES.values()
    }


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*at, key)
        yield from _places(child, (*at, key))


def _edited(rng: random.Random, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest after one to three careless edits: something deleted, doubled, or replaced by what does not belong there."""
    edited = copy.deepcopy(manifest)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(edited["spec"]))
        if not places:
            break
        *above, last = rng.choice(places)
        parent = edited["spec"]
        for key in above:
            parent = parent[key]
        match rng.choice(["delete", "double", "replace", "replace"]):
            case "delete":
                del parent[last]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            case _:
                parent[last] = copy.deepcopy(rng.choice(_MISFITS))
    return edited


_MISFITS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2.0, 10**12, "", "x", "X", "5s", "0s", "99999h", "1s ", "a\n", "é" * 64, "a" * 600),
    *("0", "0.0", "1e3", "2026-01-01T00:00", "Standard", "High", "Live", "null", [], {}, ["a"], ["a", "a"], {"a": 1}),
)


@pytest.mark.parametrize("seed", range(6))
def test_check_and_the_apiserver_take_and_refuse_the_same_careless_edits(objects: Objects, seed: int) -> None:
    rng = random.Random(seed)
    bases = [case.manifest for case in CASES if case.name.startswith(("the smallest", "every field"))]
    for _ in range(60):
        manifest = _edited(rng, rng.choice(bases))

        refused, found = objects.post(manifest), validation.findings(manifest)

        assert bool(refused) == bool(found), (manifest, refused, found)
        if not refused:
            KINDS[manifest["kind"]].from_manifest(manifest)
