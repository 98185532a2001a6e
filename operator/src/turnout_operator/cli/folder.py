"""The manifests of some folders, as text by file name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

SUFFIXES = frozenset({".yaml", ".yml", ".json"})


def texts(paths: Iterable[Path], recursive: bool) -> dict[str, str]:
    """File name to content. Exits with usage advice when nothing is there or something cannot be read."""
    files = [file for path in paths for file in _files(path, recursive)]
    if not files:
        raise typer.BadParameter("no manifests (*.yaml, *.yml, *.json) stand there; -R reads folders inside folders")
    try:
        return {str(file): file.read_text(encoding="utf-8") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"a file cannot be read: {error}") from error


def _files(path: Path, recursive: bool) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise typer.BadParameter(f"{path} is not there: name a folder or a file of manifests")
    found = path.rglob("*") if recursive else path.glob("*")
    return sorted(each for each in found if each.suffix in SUFFIXES and each.is_file())
