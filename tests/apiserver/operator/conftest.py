"""A control plane of this folder's own (it installs CRDs by Helm) with the chart and two operators, which tests kill and restart."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from turnout_testing import binaries
from turnout_testing.controlplane import ControlPlane
from turnout_testing.installation import ROOT, Installation, secret

KEY = "sk-never-print-me-7c1f"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "installed" in getattr(item, "fixturenames", ()):
            item.add_marker("apiserver")


@pytest.fixture(scope="package")
def installed() -> Iterator[Installation]:
    """The chart with the examples' pools and Secrets, and two operators that run under its rights."""
    try:
        binaries.require()
    except binaries.BinariesMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with tempfile.TemporaryDirectory(prefix="turnout-operator-") as name, ControlPlane(Path(name) / "plane") as plane:
        installation = Installation(plane, Path(name) / "installation")
        installation.install(secret_namespaces=("llm",))
        plane.restart_controller_manager()
        try:
            installation.start_operators()
            _examples(installation)
            yield installation
        finally:
            installation.stop()


def _examples(installation: Installation) -> None:
    for file in sorted((ROOT / "examples").glob("*.yaml")):
        if "secret" not in file.name:
            installation.apply(*(d for d in yaml.safe_load_all(file.read_text()) if d))
    installation.apply(secret("llm", "openai", apiKey=KEY), secret("llm", "anthropic", apiKey=KEY))
