"""Read the files that a spec refers to: its prompt, and the JSON Schema of its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.spec.research_models import SCHEMA_WORDS, is_file_reference


@dataclass(frozen=True, slots=True)
class ReferencedFile:
    """A file below the specs folder: its text, or None with the reason why it could not be read."""

    file: str  # the path as messages show it
    text: str | None
    problem: str = ""


def load_referenced_files(data: Any, folder: Path, shown_folder: str) -> dict[str, ReferencedFile]:
    """Return the files that the raw spec `data` refers to, by the name that it gives them; never raise."""
    return {name: _load_file(name, folder, shown_folder) for name in _list_references(data)}


def _list_references(data: Any) -> Iterator[str]:
    research = data.get("research") if isinstance(data, dict) else None
    if not isinstance(research, dict):
        return
    prompt, schema = research.get("prompt"), research.get("output_schema")
    if isinstance(prompt, str) and is_file_reference(prompt):
        yield prompt.strip()
    if isinstance(schema, str) and schema.endswith(".json") and schema not in SCHEMA_WORDS:
        yield schema


def _load_file(name: str, folder: Path, shown_folder: str) -> ReferencedFile:
    shown = (PurePosixPath(shown_folder) / name).as_posix()
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        return ReferencedFile(shown, None, "it is not below the folder of the specs")
    try:
        return ReferencedFile(shown, file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        return ReferencedFile(shown, None, (error.strerror or "it cannot be read").lower())
    except UnicodeDecodeError as error:
        return ReferencedFile(shown, None, f"byte 0x{error.object[error.start]:02x} is not UTF-8")
