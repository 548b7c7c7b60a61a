"""Generated files on disk: what differs is found, mended, and nothing else is touched."""

from pathlib import Path

import pytest

from engine.generate.files import Drift, DriftKind, NotWritten, compare_files, write_files
from engine.generate.generators import build_generated_files
from engine.generate.header import build_header
from engine.plans import load_plans
from engine.project import find_project
from tests.conftest import ROOT

WANTED = {"docs/reference/a.md": f"<!-- {build_header('a')} -->\na\n", "specs/x.json": "{}\n"}


def test_writing_makes_the_difference_none(tmp_path: Path) -> None:
    assert compare_files(tmp_path, WANTED) == [
        Drift("docs/reference/a.md", DriftKind.MISSING),
        Drift("specs/x.json", DriftKind.MISSING),
    ]
    assert write_files(tmp_path, WANTED) == ["docs/reference/a.md", "specs/x.json"]
    assert compare_files(tmp_path, WANTED) == []
    assert write_files(tmp_path, WANTED) == []


def test_an_edited_file_differs_and_is_written_again(tmp_path: Path) -> None:
    write_files(tmp_path, WANTED)
    (tmp_path / "specs/x.json").write_text("{}\r\n")
    (drift,) = compare_files(tmp_path, WANTED)
    assert drift == Drift("specs/x.json", DriftKind.DIFFERS)
    write_files(tmp_path, WANTED)
    assert (tmp_path / "specs/x.json").read_bytes() == b"{}\n"


def test_a_difference_is_shown_from_the_disk_to_what_is_generated(tmp_path: Path) -> None:
    write_files(tmp_path, WANTED)
    (tmp_path / "docs/reference/a.md").write_text(f"<!-- {build_header('a')} -->\nb\n")
    (drift,) = compare_files(tmp_path, WANTED)
    assert drift.diff_text.splitlines()[2:] == ["@@ -1,2 +1,2 @@", f" <!-- {build_header('a')} -->", "-b", "+a"]


def test_a_file_nothing_yields_any_more_is_stale_and_removed(tmp_path: Path) -> None:
    write_files(tmp_path, WANTED)
    (tmp_path / "docs/reference/gone.md").write_text(f"<!-- {build_header('gone')} -->\n")
    (tmp_path / "docs/reference/by_hand.md").write_text("written by a person\n")
    assert compare_files(tmp_path, WANTED) == [Drift("docs/reference/gone.md", DriftKind.STALE)]
    write_files(tmp_path, WANTED)
    assert not (tmp_path / "docs/reference/gone.md").exists()
    assert (tmp_path / "docs/reference/by_hand.md").exists()


def test_a_folder_nothing_is_written_to_is_left_alone(tmp_path: Path) -> None:
    write_files(tmp_path, WANTED)
    assert write_files(tmp_path, {"specs/new.yaml": "spec: 1\n"}) == ["specs/new.yaml"]
    assert (tmp_path / "docs/reference/a.md").exists()


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "specs").write_text("a file where a folder should be")
    with pytest.raises(NotWritten, match=r"cannot write `specs/x\.json`"):
        write_files(tmp_path, {"specs/x.json": "{}\n"})


def test_the_project_is_up_to_date() -> None:
    wanted = build_generated_files(load_plans(find_project(ROOT)))
    assert compare_files(ROOT, wanted) == [], "run `dex generate`"


def test_the_same_specs_give_the_same_files() -> None:
    plans = load_plans(find_project(ROOT))
    assert build_generated_files(plans) == build_generated_files(load_plans(find_project(ROOT)))
    operations = [plan for plan in plans if plan.research]
    assert len(build_generated_files(plans)) == 3 * len(plans) + len(operations) + 5
