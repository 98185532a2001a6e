"""`make demo` in small: every part comes up, the laws hold, and what it left up is ended by `make demo-down`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import down
from turnout_testing.controlplane.daemons import Daemon

pytestmark = [pytest.mark.envoy, pytest.mark.apiserver]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "demo"
    down.down(tmp_path / "demo")


def test_a_demo_too_short_for_a_budget_to_run_out_says_that_and_nothing_else_is_wrong(folder: Path) -> None:
    arguments = ["--dir", str(folder), "--rows", "48", "--speed", "3", "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "demo.run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["breaches"] == ["nothing proven: no budget ran out"], done.stderr
    assert told["requests"] == 48
    assert told["degraded"] > 0
    assert told["drill"]["verdict"] == "Passed"
    assert {row["tenant"] for row in told["money"]} == {"", "acme", "globex", "initech"}

    running = {path.stem for path in folder.rglob("*.pid") if Daemon(path.stem, path.parent, tied=False).pid}
    assert running >= {"envoy", "operator-0", "operator-1", "openai", "anthropic", "vllm", "etcd", "kube-apiserver"}
    ended = down.down(folder)
    assert set(ended) == running
    assert ended.count("envoy") == 2
