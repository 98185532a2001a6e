"""The library in real Envoy: it loads, refuses a foreign Envoy, and says what is wrong with a machine that cannot build it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from turnout_sidecar.envoy import build, launcher, toolchain
from turnout_testing.envoy import Envoy, cluster

if TYPE_CHECKING:
    from .conftest import Bed, Envoys, Upstream


def test_an_answer_passes_whole_through_the_engine(double: Envoy, upstream: Upstream) -> None:
    answer = httpx.post(f"http://127.0.0.1:{double.port('in')}/v1/chat/completions", content=b'{"a":1}')
    assert answer.status_code == 200
    assert answer.json() == {"answer": "x" * 300}
    assert answer.headers["x-genuine"] == "True"
    assert answer.headers["x-retry"] == "7"
    assert upstream.seen[0][":body"] == '{"a":1}'
    assert upstream.seen[0]["host"] == "up.test"
    assert upstream.seen[0]["content-length"] == "7"


def test_an_envoy_of_another_abi_refuses_to_start_and_says_why(envoys: Envoys, bed: Bed, tmp_path: Path) -> None:
    foreign = build.build(abi="v9.9.9")
    envoy = Envoy(bed.bootstrap(), tmp_path / "run", library=foreign, python_path=()).start()
    assert envoy.wait() != 0
    assert "speaks the dynamic modules ABI v9.9.9, this Envoy does not" in envoy.log()


def test_more_than_one_worker_refuses_to_start_and_says_why(envoys: Envoys, bed: Bed, tmp_path: Path) -> None:
    bed.directory = tmp_path
    envoy = Envoy(bed.bootstrap(), tmp_path / "run", python_path=[str(Path(__file__).parent / "double")], workers=2)
    assert envoy.start().wait() != 0
    assert "start Envoy with --concurrency 1" in envoy.log()


def test_a_filter_without_its_bootstrap_extension_is_refused(envoys: Envoys, bed: Bed, tmp_path: Path) -> None:
    document = bed.bootstrap(cluster("up", 9))
    document["bootstrap_extensions"] = []
    envoy = Envoy(document, tmp_path / "run", python_path=[str(Path(__file__).parent / "double")])
    with envoy:
        assert httpx.post(f"http://127.0.0.1:{envoy.port('in')}/").status_code == 500
        assert "the bootstrap must name it" in envoy.log()


def test_the_launcher_refuses_another_version_of_envoy(tmp_path: Path) -> None:
    old = tmp_path / "envoy"
    old.write_text("#!/bin/sh\necho 'envoy  version: 0123/1.39.1/Clean/RELEASE/BoringSSL'\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(
        launcher.LaunchRefused, match=r"is Envoy 1\.39; the engine speaks the ABI v0\.2\.0 of Envoy 1\.40"
    ):
        launcher.assert_version(old)


def test_a_build_that_is_there_is_not_built_again() -> None:
    library = build.build() / build.LIBRARY
    before = library.stat()
    assert (build.build() / build.LIBRARY).stat().st_mtime_ns == before.st_mtime_ns
    assert not list(library.parent.parent.glob(f".build-{os.getpid()}*"))


def test_a_machine_without_a_compiler_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(toolchain.BuildRefused, match="apt-get install gcc"):
        toolchain.find()
