"""The builder, on a real Go and a module small enough to build in a second."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
from pathlib import Path

import pytest

from turnout_testing import binaries, gotool

HELLO = 'package main\n\nfunc main() { println("hello") }\n'


def quietly(line: str) -> None:
    """Report to nobody."""


@pytest.fixture
def hello_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a module of one program in the place of the real pins, and an empty cache in the place of the real one."""
    go = gotool.find_go(binaries.cache_root(), (1, 21, 0), quietly)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    module = tmp_path / "modules" / "hello"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module turnout.dev/testbed/hello\n\ngo 1.21\n")
    (module / "go.sum").write_text("")
    (module / "main.go").write_text(HELLO)
    monkeypatch.setattr(binaries, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(binaries, "BINARIES", (binaries.Binary(name="hello", module="hello", package="."),))
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path / "cache"))
    return module


def test_two_builds_at_once_build_each_binary_once_and_both_find_it(hello_module: Path) -> None:
    lines: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        folders = [run.result() for run in [pool.submit(binaries.build, lines.append) for _ in range(2)]]
    assert folders[0] == folders[1] == binaries.require()
    assert lines.count("hello: building") == 1
    assert subprocess.run([folders[0] / "hello"], capture_output=True, text=True, check=True).stderr == "hello\n"


def test_a_built_bed_is_found_without_go(hello_module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = binaries.build(quietly)
    monkeypatch.setenv("PATH", "/nowhere")
    lines: list[str] = []
    assert binaries.build(lines.append) == folder
    assert lines == []


def test_another_pin_is_another_folder(hello_module: Path) -> None:
    before = binaries.bin_dir()
    (hello_module / "go.sum").write_text("example.org/pinned v1.0.0 h1:x=\n")
    assert binaries.bin_dir() != before


def test_a_failed_build_says_what_the_compiler_said_and_leaves_no_binary(hello_module: Path) -> None:
    (hello_module / "main.go").write_text("package main\n\nfunc main() { undeclared() }\n")
    with pytest.raises(binaries.GoBuildError, match="undefined: undeclared"):
        binaries.build(quietly)
    assert binaries.missing() == ("hello",)


def test_a_bed_that_is_not_built_names_what_is_missing_and_the_command_that_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path))
    with pytest.raises(binaries.BinariesMissingError, match=r"kube-apiserver.*run `make testbed`"):
        binaries.require()


def test_the_builder_needs_the_standard_library_only() -> None:
    # -S: no site-packages, as on a machine where nothing is installed yet.
    command = [sys.executable, "-S", binaries.__file__, "--where"]
    where = subprocess.run(command, capture_output=True, text=True, check=False)
    assert where.stdout == f"{binaries.bin_dir()}\n", where.stderr


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go1.26", (1, 26, 0)),
        ("1.26.0", (1, 26, 0)),
        ("devel", None),
    ],
)
def test_versions_of_go_are_read_from_what_go_prints(text: str, version: tuple[int, int, int] | None) -> None:
    assert gotool.parse_version(text) == version


def test_the_highest_go_line_of_the_modules_decides(tmp_path: Path) -> None:
    low, high = tmp_path / "low.mod", tmp_path / "high.mod"
    low.write_text("module low\n\ngo 1.9\n")
    high.write_text("module high\n\ngo 1.26.1\n")
    assert gotool.required_version([high, low]) == (1, 26, 1)
