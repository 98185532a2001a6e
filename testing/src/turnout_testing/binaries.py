"""Builds the test bed's real binaries (etcd, kube-apiserver, ...) from the Go module proxy into a cache, once.

Rules:
- Standard library only, so that `make` can start this first, in the background, before anything else is installed:
  `python3 testing/src/turnout_testing/binaries.py`, or `python -m turnout_testing.binaries`. It prints the folder.
- What is built is pinned by testing/testbed/*/go.mod and go.sum; the folder's name is a hash over those and the flags, so
  another pin is another folder, and a folder that holds every binary is never touched again.
- Two runs at once are safe: one builds under a lock, the other waits and finds the result. Each binary appears whole by
  rename, so a killed run loses at most the binary it was in.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

if __package__ in (None, ""):  # run as a file, before the package is installed
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from turnout_testing import gotool

MODULES = Path(__file__).resolve().parents[2] / "testbed"
MAKE_TARGET = "make testbed"
KUBERNETES_VERSION = "1.36.3"
HELM_VERSION = "3.22.0"

# Without these an apiserver calls itself "v0.0.0-master+$Format:%H$", which clients cannot parse.
_KUBERNETES_STAMP = tuple(
    f"-X {package}.{name}={value}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for name, value in (
        ("gitVersion", f"v{KUBERNETES_VERSION}"),
        ("gitMajor", KUBERNETES_VERSION.split(".")[0]),
        ("gitMinor", KUBERNETES_VERSION.split(".")[1]),
    )
)
_HEARTBEAT_SECONDS = 30
_DOWNLOAD_PAUSES = (2, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """One program: its file name, the module folder that pins it, its Go package and the linker's stamps."""

    name: str
    module: str
    package: str
    stamps: tuple[str, ...] = ()

    @property
    def build_flags(self) -> tuple[str, ...]:
        """Return the flags of `go build` that shape the result."""
        return ("-trimpath", "-buildvcs=false", "-mod=readonly", f"-ldflags={' '.join(('-s', '-w', *self.stamps))}")


# Slowest first: it compiles what the next two share. Cold on two cores: 3 min, 50 s, 20 s, 25 s, 75 s.
BINARIES = (
    Binary(
        name="kube-apiserver",
        module="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-apiserver",
        stamps=_KUBERNETES_STAMP,
    ),
    Binary(
        name="kube-controller-manager",
        module="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-controller-manager",
        stamps=_KUBERNETES_STAMP,
    ),
    Binary(name="kubectl", module="kubernetes", package="k8s.io/kubernetes/cmd/kubectl", stamps=_KUBERNETES_STAMP),
    Binary(name="etcd", module="etcd", package="go.etcd.io/etcd/server/v3"),
    Binary(
        name="helm",
        module="helm",
        package="helm.sh/helm/v3/cmd/helm",
        stamps=(f"-X helm.sh/helm/v3/internal/version.version=v{HELM_VERSION}",),
    ),
)

Report = Callable[[str], None]


class BinariesMissingError(RuntimeError):
    """The test bed's binaries were not built; the message names the command that builds them."""


class GoBuildError(RuntimeError):
    """`go build` failed; the message holds the end of its output and where the whole of it lies."""


def cache_root() -> Path:
    """Return the folder of everything Turnout caches: $TURNOUT_CACHE, else below the user's cache folder."""
    if chosen := os.environ.get("TURNOUT_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnout"


def bin_dir() -> Path:
    """Return the folder in which the binaries of these pins lie or will lie; nothing is built."""
    return cache_root() / "testbed" / _fingerprint() / "bin"


def missing() -> tuple[str, ...]:
    """Return the names of the binaries that are not built."""
    folder = bin_dir()
    return tuple(binary.name for binary in BINARIES if not (folder / binary.name).exists())


def require() -> Path:
    """Return the folder of the binaries; raises BinariesMissingError where one is not there."""
    if absent := missing():
        raise BinariesMissingError(
            f"the test bed is not built: {', '.join(absent)} missing in {bin_dir()}; run `{MAKE_TARGET}`"
        )
    return bin_dir()


def build(report: Report) -> Path:
    """Build what is missing and return the folder; raises GoBuildError or gotool.GoMissingError."""
    folder = bin_dir()
    if not missing():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / "lock", report):
        if absent := missing():  # asked again: the run we waited for may have built them
            _build_all(absent, folder, report)
    return folder


def _build_all(names: tuple[str, ...], folder: Path, report: Report) -> None:
    go_mods = [MODULES / module / "go.mod" for module in _modules()]
    go = gotool.find_go(cache_root(), gotool.required_version(go_mods), report)
    for abandoned in folder.parent.glob("*.tmp"):
        abandoned.unlink()
    report(f"building {', '.join(names)} with {go} into {folder}")
    for binary in BINARIES:
        if binary.name in names:
            _build_one(binary, go, folder, report)


def _build_one(binary: Binary, go: Path, folder: Path, report: Report) -> None:
    started = time.monotonic()
    # The process id: a compiler whose parent was killed goes on, and must not write into a later run's file.
    staging = folder.parent / f"{binary.name}.{os.getpid()}.tmp"
    log = folder.parent / f"{binary.name}.log"
    report(f"{binary.name}: building")
    with log.open("w") as output:
        _download(binary, go, output, report)
        command = [str(go), "build", *binary.build_flags, "-o", str(staging), binary.package]
        status = _run(command, binary, output, lambda: report(f"{binary.name}: still building, {_since(started)}"))
    if status != 0:
        raise GoBuildError(f"{binary.name}: `go build` failed ({log}):\n{log.read_text()[-2000:]}")
    staging.rename(folder / binary.name)
    report(f"{binary.name}: built in {_since(started)}")


def _download(binary: Binary, go: Path, output: TextIO, report: Report) -> None:
    """Fetch the modules before compiling, and more than once: a proxy's hiccup must not cost a build of minutes.

    What still fails after the last try is said by the build itself.
    """
    command = [str(go), "list", "-deps", "-mod=readonly", "-f={{.Module}}", binary.package]
    for pause in _DOWNLOAD_PAUSES:
        beat = functools.partial(report, f"{binary.name}: still downloading modules")
        if _run(command, binary, output, beat) == 0:
            return
        report(f"{binary.name}: downloading modules failed, again in {pause} s")
        time.sleep(pause)


def _run(command: list[str], binary: Binary, output: TextIO, beat: Callable[[], None]) -> int:
    process = subprocess.Popen(
        command,
        cwd=MODULES / binary.module,
        env=_go_environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    try:
        _await_with_heartbeat(process, beat)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode


def _await_with_heartbeat(process: subprocess.Popen[bytes], beat: Callable[[], None]) -> None:
    while True:
        try:
            process.wait(timeout=_HEARTBEAT_SECONDS)
        except subprocess.TimeoutExpired:
            beat()
        else:
            return


def _go_environment() -> dict[str, str]:
    # CGO_ENABLED=0: no C compiler needed, and the binaries run on any libc. The rest keeps the caller's Go settings,
    # a surrounding go.work and automatic toolchain downloads out of a pinned build.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}


@contextlib.contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another run is building the test bed: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()}".encode())
    for module in _modules():
        digest.update((MODULES / module / "go.mod").read_bytes())
        digest.update((MODULES / module / "go.sum").read_bytes())
    for binary in BINARIES:
        digest.update(repr((binary.name, binary.package, binary.build_flags)).encode())
    return digest.hexdigest()[:16]


def _modules() -> tuple[str, ...]:
    return tuple(dict.fromkeys(binary.module for binary in BINARIES))


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"


def main(arguments: list[str]) -> int:
    """Build everything, progress on stderr, the folder on stdout; with `--where` only print the folder."""
    if arguments not in ([], ["--where"]):
        print("usage: binaries.py [--where]", file=sys.stderr)
        return 2
    if arguments:
        print(bin_dir())
        return 0
    try:
        folder = build(lambda line: print(f"[testbed] {line}", file=sys.stderr, flush=True))
    except (GoBuildError, gotool.GoMissingError) as error:
        print(f"[testbed] {error}", file=sys.stderr)
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
