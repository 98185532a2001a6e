"""`make demo-down` ends what the demo left up, and nothing else."""

import subprocess
import sys
from pathlib import Path

from demo import down
from turnout_testing.controlplane.daemons import Daemon

SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]


def _daemon(folder: Path, name: str) -> Daemon:
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(name, folder, tied=False)
    daemon.start(SLEEP)
    return daemon


def test_clients_end_before_the_servers_they_talk_to(tmp_path: Path) -> None:
    etcd = _daemon(tmp_path / "plane" / "run", "etcd")
    apiserver = _daemon(tmp_path / "plane" / "run", "kube-apiserver")
    controllers = _daemon(tmp_path / "plane" / "run", "kube-controller-manager")
    operator = _daemon(tmp_path / "installation", "operator-0")
    envoy = _daemon(tmp_path / "installation" / "sidecars" / "support.application-0", "envoy")
    provider = _daemon(tmp_path / "providers", "openai")
    assert down.down(tmp_path) == ("envoy", "operator-0", "openai", "kube-controller-manager", "kube-apiserver", "etcd")
    assert [d.pid for d in (etcd, apiserver, controllers, operator, envoy, provider)] == [None] * 6


def test_ending_twice_is_ending_once(tmp_path: Path) -> None:
    _daemon(tmp_path / "providers", "openai")
    assert down.down(tmp_path) == ("openai",)
    assert down.down(tmp_path) == ()


def test_a_folder_that_never_was_has_nothing_to_end(tmp_path: Path) -> None:
    assert down.main(["--dir", str(tmp_path / "none")]) == 0


def test_a_process_that_only_has_a_recorded_number_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEP)
    try:
        (tmp_path / "openai.pid").write_text(f"{stranger.pid} 1")  # born at another time than the recorded one
        assert down.down(tmp_path) == ()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
