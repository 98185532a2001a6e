"""What a test run says where the bed is not built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_test_that_needs_an_unbuilt_bed_fails_and_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(namespace):\n    pass\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "TURNOUT_CACHE": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "run `make testbed`" in run.stdout
    assert "1 error" in run.stdout
    assert "skipped" not in run.stdout
