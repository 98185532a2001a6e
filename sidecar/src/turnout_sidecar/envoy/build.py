"""Builds the engine library: the C of `sidecar/native` with Python embedded in it by cffi.

``python -m turnout_sidecar.envoy.build`` prints the directory that holds ``libturnout_engine.so``. The directory is named by a hash
of all that goes in, so a finished build is never touched again, and two builders at once both end with the same whole result.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import cffi

from turnout_sidecar.envoy import toolchain
from turnout_sidecar.envoy.toolchain import BuildRefused, Toolchain

LIBRARY = "libturnout_engine.so"
MODULE = "_turnout_engine"
ABI = "v0.2.0"
"""Of Envoy 1.40; the library refuses to load in an Envoy that does not carry it."""
START = "import turnout_sidecar.envoy.exports"
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter", "-g1")


def build(*, abi: str = ABI) -> Path:
    """The directory with the library, built if it was not there. Raises `BuildRefused`.

    `abi` differs only in the test that a mismatch is refused.
    """
    tools = toolchain.find()
    done = cache() / "engine" / _hash(tools, abi)
    if (done / LIBRARY).is_file():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".build-", dir=done.parent))
    try:
        _compile(work, tools, abi)
        _publish(work / "out", done)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done


def cache() -> Path:
    """Where built things are kept between runs."""
    own = os.environ.get("TURNOUT_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "turnout"


def native() -> Path:
    """The C sources: beside the package in an installed wheel, in `sidecar/native` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "native", package.parent.parent / "native"):
        if (place / "engine.h").is_file():
            return place
    raise BuildRefused(f"the engine's C sources are neither in {package / 'native'} nor in a checkout's sidecar/native")


def _hash(tools: Toolchain, abi: str) -> str:
    digest = hashlib.sha256()
    for source in sorted(native().glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    versions = (sys.version, sysconfig.get_platform(), str(tools.libpython), cffi.__version__, abi, START, *FLAGS)
    digest.update("\0".join(versions).encode())
    return digest.hexdigest()[:16]


def _compile(work: Path, tools: Toolchain, abi: str) -> None:
    """Compiles everything in one call of the compiler: the cffi glue and the files of `sidecar/native`."""
    glue = work / "glue.c"
    _emit(glue)
    out = work / "out"
    out.mkdir()
    command = [
        tools.compiler,
        *FLAGS,
        f'-DTURNOUT_ABI="{abi}"',
        f"-I{native()}",
        f"-I{tools.include}",
        "-shared",
        "-o",
        str(out / LIBRARY),
        str(glue),
        *map(str, sorted(native().glob("*.c"))),
        str(tools.libpython),
        f"-Wl,-rpath,{tools.libpython.parent}",
        "-pthread",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildRefused(f"the C compiler failed:\n{' '.join(command)}\n{result.stderr}")


def _emit(glue: Path) -> None:
    """The glue: `downcalls.h` becomes what Python can call, `upcalls.h` what Python defines."""
    ffi: Any = cffi.FFI()  # type: ignore[no-untyped-call]
    ffi.cdef(_declarations("types.h") + _declarations("downcalls.h"))
    ffi.embedding_api(_declarations("upcalls.h"))
    ffi.embedding_init_code(START)
    ffi.set_source(MODULE, '#include "engine.h"\n#define CFFI_DLLEXPORT\n')
    with contextlib.redirect_stdout(sys.stderr):  # cffi talks; our standard output is the directory
        ffi.emit_c_code(str(glue))


def _declarations(name: str) -> str:
    return (native() / name).read_text()


def _publish(out: Path, done: Path) -> None:
    try:
        out.rename(done)
    except OSError:
        # Another builder was first; the same inputs gave it the same library.
        if not (done / LIBRARY).is_file():
            raise


def main() -> int:
    try:
        print(build())
    except BuildRefused as refusal:
        print(f"turnout: the engine library cannot be built: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
