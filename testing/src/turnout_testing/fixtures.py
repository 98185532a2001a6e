"""pytest fixtures on the real control plane; a plugin, named in pyproject.toml, so no conftest has to import it.

A test that asks for `control_plane` carries the marker `apiserver`. Where the binaries are not built, such a test fails and
names the command that builds them: a skipped test would look like a passed one.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import kubernetes.client

    from turnout_testing.controlplane import ControlPlane


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that reaches the control plane, through whatever fixture."""
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker("apiserver")


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One control plane for the session; leave it running, and make what you create distinguishable by namespace."""
    from turnout_testing import binaries
    from turnout_testing.controlplane import ControlPlane

    try:
        binaries.require()
    except binaries.BinariesMissingError as error:
        pytest.fail(str(error), pytrace=False)
    directory = tmp_path_factory.mktemp("control-plane")
    with ControlPlane(directory) as plane:
        yield plane
    shutil.rmtree(directory / "etcd", ignore_errors=True)  # 64 MB of log each; pytest keeps three of these folders


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane) -> Iterator[kubernetes.client.ApiClient]:
    """Give the official Python client, as admin."""
    with control_plane.api_client() as client:
        yield client


@pytest.fixture
def namespace(api: kubernetes.client.ApiClient) -> Iterator[str]:
    """Give a namespace of the test's own, with its `default` ServiceAccount; it is deleted, not awaited, at the end."""
    import kubernetes.client

    from turnout_testing import waiting

    core = kubernetes.client.CoreV1Api(api)
    name = f"test-{uuid.uuid4().hex[:10]}"
    core.create_namespace(kubernetes.client.V1Namespace(metadata=kubernetes.client.V1ObjectMeta(name=name)))
    waiting.until(
        lambda: core.list_namespaced_service_account(name).items,
        what=f"the default ServiceAccount of {name}",
        within=30,
    )
    yield name
    core.delete_namespace(name)
