"""What building the engine library needs of the machine: a C compiler, Python's headers, libpython as a shared library."""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


class BuildRefused(Exception):  # noqa: N818 - said to a person, who can act on it
    """The engine cannot be built here; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    compiler: str
    include: Path
    libpython: Path
    """The shared library itself; its directory becomes the engine's run path, so no LD_LIBRARY_PATH is needed."""


def find() -> Toolchain:
    """The toolchain of the running interpreter. Raises `BuildRefused`."""
    return Toolchain(compiler=_compiler(), include=_include(), libpython=_libpython())


def _compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise BuildRefused("no C compiler: set CC, or install one (Debian and Ubuntu: apt-get install gcc libc6-dev)")


def _include() -> Path:
    include = Path(sysconfig.get_path("include"))
    if (include / "Python.h").is_file():
        return include
    package = f"libpython{sys.version_info.major}.{sys.version_info.minor}-dev"
    raise BuildRefused(f"no Python.h in {include} (Debian and Ubuntu: apt-get install {package})")


def _libpython() -> Path:
    """Debian keeps it in the multiarch directory whatever LIBDIR says, pyenv and source builds in LIBDIR."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    directories = _library_directories()
    for directory in directories:
        if (directory / name).is_file():
            return directory / name
    package = name.removesuffix(".so.1.0")
    raise BuildRefused(
        f"no {name} in {', '.join(map(str, directories))}: this Python ({sys.executable}) has no shared library. "
        f"Debian and Ubuntu: apt-get install {package}; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install"
    )


def _library_directories() -> tuple[Path, ...]:
    variables = sysconfig.get_config_vars("LIBDIR", "LIBPL")
    base = [Path(v) for v in variables if isinstance(v, str)] + [Path(sys.base_prefix) / "lib", Path("/usr/lib")]
    triplet = sysconfig.get_config_var("MULTIARCH")
    deeper = [d / triplet for d in base] if isinstance(triplet, str) and triplet else []
    return tuple(dict.fromkeys([*base, *deeper]))
