"""Generated files on disk.

In: a project's root and the files that ought to be in it, path -> text. Out: what differs, or the files themselves. It
must not know how a file comes about; it is the one place where generated text meets the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from engine.errors import EngineError
from engine.generate.header import is_generated

#: Folders that hold nothing but generated files: one in there that nothing yields any more is stale.
OWNED: Final = ("engine/generated", "trigger/src/persist/generated", "docs/reference")


class NotWritten(EngineError):
    """A file that could not be written or removed. The message names it."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One file that is not as it ought to be."""

    file: str
    what: str  # "missing" | "differs" | "stale"


def diff(root: Path, files: Mapping[str, str]) -> list[Drift]:
    """Return what differs below `root` from `files`, by path.

    Stale is a file of an owned folder that says of itself that it is generated and is not in `files`; a folder is
    looked at when `files` puts something into it.
    """
    drifts = [Drift(name, what) for name, text in files.items() if (what := _drift(root / name, text))]
    return sorted([*drifts, *(Drift(name, "stale") for name in _stale(root, files))], key=lambda item: item.file)


def write(root: Path, files: Mapping[str, str]) -> list[str]:
    """Make the files below `root` what they ought to be, stale ones removed; return the names of those that changed.

    Raises NotWritten naming the file the disk refuses.
    """
    drifts = diff(root, files)
    for drift in drifts:
        try:
            _mend(root / drift.file, files.get(drift.file))
        except OSError as error:
            hint = "the files before it are written; run it again once that is mended"
            raise NotWritten(f"cannot write `{drift.file}`: {error.strerror or error}", hint=hint) from error
    return [drift.file for drift in drifts]


def _drift(file: Path, text: str) -> str:
    try:
        return "" if file.read_bytes() == text.encode() else "differs"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"


def _stale(root: Path, files: Mapping[str, str]) -> Iterator[str]:
    folders = {PurePosixPath(name).parent.as_posix() for name in files}
    for folder in OWNED:
        for file in sorted((root / folder).glob("*")) if folder in folders else ():
            name = f"{folder}/{file.name}"
            if name not in files and file.is_file() and _says_generated(file):
                yield name


def _says_generated(file: Path) -> bool:
    return is_generated(file.read_bytes()[:1000].decode("utf-8", "replace"))


def _mend(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
