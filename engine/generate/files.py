"""Compare generated files with the disk, and write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

from engine.errors import EngineError
from engine.generate.header import is_generated

#: Folders that contain only generated files: a file in them that no generator builds any more is stale.
GENERATED_FOLDERS: Final = (
    "engine/generated",
    "trigger/src/persist/generated",
    "trigger/src/operations/generated",
    "docs/reference",
)


class NotWritten(EngineError):
    """A file that could not be written or removed. The message names it."""


class DriftKind(StrEnum):
    """How a file on disk differs from the generated one."""

    MISSING = "missing"
    DIFFERS = "differs"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Drift:
    """A file that differs from the generated one. `diff_text` is a unified diff from the disk to the generated text.

    It is empty for a file that is missing or stale: all of it differs.
    """

    file: str
    kind: DriftKind
    diff_text: str = field(default="", compare=False, repr=False)


def compare_files(root: Path, files: Mapping[str, str]) -> list[Drift]:
    """Return the files below `root` that differ from `files` (path -> text), in the order of their paths.

    A stale file is one that has the generated header, is not among `files`, and lies in a folder of GENERATED_FOLDERS
    for which `files` has other files.
    """
    drifts = [drift for name, text in files.items() if (drift := _compare_file(root, name, text))]
    drifts += (Drift(name, DriftKind.STALE) for name in _find_stale_files(root, files))
    return sorted(drifts, key=lambda drift: drift.file)


def write_files(root: Path, files: Mapping[str, str]) -> list[str]:
    """Write `files` (path -> text) below `root` and remove stale ones; return the paths of those that changed.

    Raises NotWritten, naming the file, when the operating system refuses to write or remove it.
    """
    drifts = compare_files(root, files)
    for drift in drifts:
        try:
            _write_or_remove(root / drift.file, files.get(drift.file))
        except OSError as error:
            hint = "the files before it are written; run it again once that is repaired"
            raise NotWritten(f"cannot write `{drift.file}`: {error.strerror or error}", hint=hint) from error
    return [drift.file for drift in drifts]


def _compare_file(root: Path, name: str, text: str) -> Drift | None:
    try:
        stored = (root / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Drift(name, DriftKind.MISSING)
    if stored == text.encode():
        return None
    return Drift(name, DriftKind.DIFFERS, _build_diff_text(name, stored.decode("utf-8", "replace"), text))


def _build_diff_text(name: str, stored: str, generated: str) -> str:
    lines = unified_diff(
        stored.splitlines(), generated.splitlines(), f"{name} (on disk)", f"{name} (generated)", lineterm=""
    )
    return "\n".join(lines)


def _find_stale_files(root: Path, files: Mapping[str, str]) -> Iterator[str]:
    folders = {PurePosixPath(name).parent.as_posix() for name in files}
    for folder in GENERATED_FOLDERS:
        for file in sorted((root / folder).glob("*")) if folder in folders else ():
            name = f"{folder}/{file.name}"
            if name not in files and file.is_file() and _is_generated_file(file):
                yield name


def _is_generated_file(file: Path) -> bool:
    return is_generated(file.read_bytes()[:1000].decode("utf-8", "replace"))


def _write_or_remove(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
