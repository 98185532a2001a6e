"""A folder of manifests on disk, read as `kubectl apply -f DIR` reads it: its own files, not those of folders inside it."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = frozenset({".yaml", ".yml", ".json"})


class FolderUnreadable(Exception):  # noqa: N818 - said to a person
    """The folder or one of its files cannot be read; the message says which and why."""


def texts(folder: Path) -> dict[str, str]:
    """Path to content of every manifest file, in the order of their names. Raises `FolderUnreadable`."""
    try:
        files = sorted(
            p for p in folder.iterdir() if p.suffix in SUFFIXES and not p.name.startswith(".") and p.is_file()
        )
        return {str(file): file.read_text(encoding="utf-8") for file in files}
    except UnicodeDecodeError as error:
        raise FolderUnreadable(f"a file of {folder} is not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise FolderUnreadable(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error
