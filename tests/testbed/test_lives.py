"""Beds come and go: two at once, again on the same data, dead with their starter, or detached until `down`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnout_testing import waiting
from turnout_testing.controlplane import ControlPlane

pytestmark = pytest.mark.apiserver

STARTER = """
import sys
from pathlib import Path
from turnout_testing.controlplane import ControlPlane
plane = ControlPlane(Path(sys.argv[1]))
plane.start()
print("started", flush=True)
sys.stdin.read()
"""


def cli(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "turnout_testing.controlplane", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "bed"
    yield directory
    ControlPlane(directory, tied=False).stop()


def test_two_beds_at_once_do_not_collide(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "only-in-the-first")
    with ControlPlane() as other:
        assert other.url != control_plane.url
        other.kubectl("create", "namespace", "only-in-the-second")
        assert other.kubectl("get", "namespace", "only-in-the-first", check=False).returncode != 0
        assert control_plane.kubectl("get", "namespace", "only-in-the-second", check=False).returncode != 0
        # Its certificate is worth nothing in the neighbour's house.
        stranger = other.kubectl("--server", control_plane.url, "get", "namespaces", check=False)
        assert "certificate signed by unknown authority" in stranger.stderr
    assert not other.directory.exists()
    control_plane.kubectl("delete", "namespace", "only-in-the-first", "--wait=false")


def test_a_bed_stopped_and_started_again_keeps_data_address_and_credentials(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "bed") as first:
        first.kubectl("create", "configmap", "kept")
        url, admin = first.url, first.admin_kubeconfig.read_text()
    assert [daemon.pid for daemon in first.daemons] == [None, None, None]
    with ControlPlane(tmp_path / "bed") as second:
        assert (second.url, second.admin_kubeconfig.read_text()) == (url, admin)
        second.kubectl("get", "configmap", "kept")


def test_a_bed_dies_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "bed"
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    assert starter.stdin is not None
    with starter.stdin, starter.stdout:
        try:
            assert starter.stdout.readline() == "started\n"
            bed = ControlPlane(directory)
            pids = [daemon.pid for daemon in bed.daemons]
            assert None not in pids
        finally:
            os.kill(starter.pid, signal.SIGKILL)
            starter.wait()
    waiting.until(
        lambda: all(daemon.pid is None for daemon in bed.daemons), what="the end of all three processes", within=30
    )


def test_a_component_that_cannot_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    bed = ControlPlane(tmp_path / "bed")
    with bed:
        pass
    (tmp_path / "bed" / "pki" / "apiserver.crt").write_text("not a certificate")
    with pytest.raises(RuntimeError, match=r"(?s)kube-apiserver ended.*apiserver\.crt"), bed:
        pass
    assert [daemon.pid for daemon in bed.daemons] == [None, None, None]


def test_a_detached_bed_stays_up_until_down(detached: Path) -> None:
    assert cli("status", "--dir", str(detached)).returncode == 1
    up = cli("up", "--dir", str(detached))
    assert up.returncode == 0, up.stderr
    kubeconfig = Path(up.stdout.strip())
    bed = ControlPlane(detached, tied=False)
    bed.kubectl("create", "configmap", "kept", kubeconfig=kubeconfig)
    pids = [daemon.pid for daemon in bed.daemons]
    assert cli("status", "--dir", str(detached)).returncode == 0

    again = cli("up", "--dir", str(detached))
    assert again.stdout == up.stdout, "up on a bed that is up changes nothing"
    assert [daemon.pid for daemon in bed.daemons] == pids

    assert cli("down", "--dir", str(detached)).returncode == 0
    assert [daemon.pid for daemon in bed.daemons] == [None, None, None]
    assert cli("up", "--dir", str(detached)).returncode == 0
    bed.kubectl("get", "configmap", "kept")
    assert cli("down", "--purge", "--dir", str(detached)).returncode == 0
    assert not detached.exists()
    assert cli("down", "--dir", str(detached)).returncode == 0, "down on what is down is no error"
