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
from engine.rows.extract import extract_rows
from engine.rows.reading import Reading
from engine.spec import yaml_source
from engine.spec.checks import Checked, check_sources
from engine.spec.diagnostics import CODES
from engine.sql import merge, step_results, upsert
from engine.values import exact_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UPDATE = bool(os.environ.get("DEX_UPDATE_CASES"))

#: File that a good case may hold -> the function that builds its text from the plan.
BUILDERS: dict[str, Callable[[Plan], str]] = {
    "upsert.sql": upsert.build_upsert_sql,
    "find.sql": lambda compiled: (
        step_results.build_step_results_statement(Reading(compiled), step_results.Scope()).text
    ),
    "merge.sql": lambda compiled: "\n".join(
        build(Reading(compiled)) for build in (merge.build_lookup_sql, merge.build_insert_sql, merge.build_update_sql)
    ),
    "reference.md": spec_pages.build_spec_page,
    "block.ts": lambda compiled: typescript.build_typescript_files([compiled])[
        f"{typescript.FOLDER}/{typescript.build_file_name(compiled)}"
    ],
}


def list_folders(kind: str) -> list[Path]:
    return sorted(folder for folder in (HERE / kind).iterdir() if folder.is_dir())


def check_folder(folder: Path) -> Checked:
    files = sorted(folder.glob("*.yaml")) or [ROOT / "specs" / f"{folder.name}.yaml"]
    return check_sources([yaml_source.load_source(file, f"specs/{file.name}") for file in files])


def compile_folder(folder: Path) -> list[Plan]:
    found = check_folder(folder)
    assert not found.diagnostics, "\n".join(map(str, found.diagnostics))
    return [plan.compile_spec(spec, origin.file, found.paths, origin.files) for origin, spec in found.specs]


def assert_golden(golden: Path, text: str) -> None:
    """Assert that the golden file equals `text`; with DEX_UPDATE_CASES set it is written first."""
    text = "\n".join(line.rstrip() for line in text.strip().split("\n")) + "\n"
    if UPDATE:
        golden.write_text(text)
    assert golden.is_file(), f"{golden} is missing; it would say:\n{text}"
    assert golden.read_text() == text, f"{golden.relative_to(ROOT)} says something else"


def extract_file(compiled: Plan, file: Path) -> str:
    operation = compiled.operations[0]
    value = document.build_from_file(exact_json.loads(file.read_bytes()), operation)
    found = extract_rows(compiled, value["operation"]["id"], value)
    return render.dump_json(render.render_extraction(compiled, found), indent=True).decode()


@pytest.mark.parametrize("folder", list_folders("wrong"), ids=lambda folder: folder.name)
def test_wrong(folder: Path) -> None:
    assert_golden(folder / "errors.txt", "\n".join(map(str, check_folder(folder).diagnostics)))
    assert (folder / "errors.txt").read_text().strip(), "a wrong case is found wrong"


@pytest.mark.parametrize("folder", list_folders("good"), ids=lambda folder: folder.name)
def test_good(folder: Path) -> None:
    first, *_ = compile_folder(folder)
    for file in (folder / f"{name}.json" for name in ("step_output", "output_payload", "step_result")):
        if file.exists():
            assert_golden(folder / "extraction.json", extract_file(first, file))
    for name, build_text in BUILDERS.items():
        if (folder / name).exists():
            assert_golden(folder / name, build_text(first))


def list_answers() -> list[Path]:
    files = [file for folder in list_folders("providers") for file in sorted(folder.glob("*.json"))]
    return [file for file in files if not file.name.endswith(".extraction.json")]


@pytest.mark.parametrize("file", list_answers(), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_provider(file: Path) -> None:
    first, *_ = compile_folder(file.parent)
    assert_golden(file.with_suffix(".extraction.json"), extract_file(first, file))


def test_every_code_has_a_case() -> None:
    errors = "".join(file.read_text() for file in HERE.glob("wrong/*/errors.txt"))
    assert not [code for code in CODES if f" {code} " not in errors]
