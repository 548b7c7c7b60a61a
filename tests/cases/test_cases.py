"""Each folder of good/, wrong/ and providers/ is a test; README.md says what may stand in one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import plan
from engine.generate import typescript
from engine.generate.docs import spec_pages
from engine.plan import Plan
from engine.rows import document, render
from engine.rows.extract import extract
from engine.rows.reading import Reading
from engine.spec import yaml_source
from engine.spec.checks import Checked, check
from engine.spec.diagnostics import CODES
from engine.sql import merge, step_results, upsert
from engine.values import exact_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UPDATE = bool(os.environ.get("DEX_UPDATE_CASES"))

#: What else a good case may hold, and what it must equal.
FOLLOWS: dict[str, Callable[[Plan], str]] = {
    "upsert.sql": upsert.live,
    "find.sql": lambda plan_: step_results.step_results(Reading(plan_), step_results.Scope()).text,
    "merge.sql": lambda plan_: merge.merge(Reading(plan_)),
    "reference.md": spec_pages.spec_page,
    "block.ts": lambda plan_: typescript.emit([plan_])[f"{typescript.FOLDER}/{plan_.name}.ts"],
}


def folders(kind: str) -> list[Path]:
    return sorted(folder for folder in (HERE / kind).iterdir() if folder.is_dir())


def checked(folder: Path) -> Checked:
    files = sorted(folder.glob("*.yaml")) or [ROOT / "specs" / f"{folder.name}.yaml"]
    return check([yaml_source.load(file, f"specs/{file.name}") for file in files])


def plans(folder: Path) -> list[Plan]:
    found = checked(folder)
    assert not found.diagnostics, "\n".join(map(str, found.diagnostics))
    return [plan.compile(spec, origin.file) for origin, spec in found.specs]


def holds(golden: Path, text: str) -> None:
    """The file says `text`; with DEX_UPDATE_CASES set it is written first."""
    text = "\n".join(line.rstrip() for line in text.strip().split("\n")) + "\n"
    if UPDATE:
        golden.write_text(text)
    assert golden.is_file(), f"{golden} is missing; it would say:\n{text}"
    assert golden.read_text() == text, f"{golden.relative_to(ROOT)} says something else"


def extracted(plan_: Plan, file: Path) -> str:
    operation = plan_.operations[0]
    value = document.from_file(exact_json.loads(file.read_bytes()), operation)
    found = extract(plan_, value["operation"]["id"], value)
    return render.dumps(render.extraction(plan_, found), indent=True).decode()


@pytest.mark.parametrize("folder", folders("wrong"), ids=lambda folder: folder.name)
def test_wrong(folder: Path) -> None:
    holds(folder / "errors.txt", "\n".join(map(str, checked(folder).diagnostics)))
    assert (folder / "errors.txt").read_text().strip(), "a wrong case is found wrong"


@pytest.mark.parametrize("folder", folders("good"), ids=lambda folder: folder.name)
def test_good(folder: Path) -> None:
    first, *_ = plans(folder)
    for file in (folder / "step_output.json", folder / "output_payload.json"):
        if file.exists():
            holds(folder / "extraction.json", extracted(first, file))
    for name, follows in FOLLOWS.items():
        if (folder / name).exists():
            holds(folder / name, follows(first))


def answers() -> list[Path]:
    files = [file for folder in folders("providers") for file in sorted(folder.glob("*.json"))]
    return [file for file in files if not file.name.endswith(".extraction.json")]


@pytest.mark.parametrize("file", answers(), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_provider(file: Path) -> None:
    first, *_ = plans(file.parent)
    holds(file.with_suffix(".extraction.json"), extracted(first, file))


def test_every_code_has_a_case() -> None:
    said = "".join(file.read_text() for file in HERE.glob("wrong/*/errors.txt"))
    assert not [code for code in CODES if f" {code} " not in said]
