"""Generated files on disk: what differs is found, mended, and nothing else is touched."""

from pathlib import Path

import pytest

from engine import plans as load
from engine import project
from engine.generate import emitters
from engine.generate import files as artifact
from engine.generate.files import Drift, NotWritten
from engine.generate.header import header

ROOT = Path(__file__).resolve().parents[3]
WANTED = {"docs/reference/a.md": f"<!-- {header('a')} -->\na\n", "specs/x.json": "{}\n"}


def test_writing_makes_the_difference_none(tmp_path: Path) -> None:
    assert artifact.diff(tmp_path, WANTED) == [
        Drift("docs/reference/a.md", "missing"),
        Drift("specs/x.json", "missing"),
    ]
    assert artifact.write(tmp_path, WANTED) == ["docs/reference/a.md", "specs/x.json"]
    assert artifact.diff(tmp_path, WANTED) == []
    assert artifact.write(tmp_path, WANTED) == []


def test_an_edited_file_differs_and_is_written_again(tmp_path: Path) -> None:
    artifact.write(tmp_path, WANTED)
    (tmp_path / "specs/x.json").write_text("{}\r\n")
    assert artifact.diff(tmp_path, WANTED) == [Drift("specs/x.json", "differs")]
    artifact.write(tmp_path, WANTED)
    assert (tmp_path / "specs/x.json").read_bytes() == b"{}\n"


def test_a_file_nothing_yields_any_more_is_stale_and_removed(tmp_path: Path) -> None:
    artifact.write(tmp_path, WANTED)
    (tmp_path / "docs/reference/gone.md").write_text(f"<!-- {header('gone')} -->\n")
    (tmp_path / "docs/reference/by_hand.md").write_text("written by a person\n")
    assert artifact.diff(tmp_path, WANTED) == [Drift("docs/reference/gone.md", "stale")]
    artifact.write(tmp_path, WANTED)
    assert not (tmp_path / "docs/reference/gone.md").exists()
    assert (tmp_path / "docs/reference/by_hand.md").exists()


def test_a_folder_nothing_is_written_to_is_left_alone(tmp_path: Path) -> None:
    artifact.write(tmp_path, WANTED)
    assert artifact.write(tmp_path, {"specs/new.yaml": "spec: 1\n"}) == ["specs/new.yaml"]
    assert (tmp_path / "docs/reference/a.md").exists()


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "specs").write_text("a file where a folder should be")
    with pytest.raises(NotWritten, match=r"cannot write `specs/x\.json`"):
        artifact.write(tmp_path, {"specs/x.json": "{}\n"})


def test_the_project_is_up_to_date() -> None:
    wanted = emitters.emit(load.load(project.find(ROOT)))
    assert artifact.diff(ROOT, wanted) == [], "run `dex generate`"


def test_the_same_specs_give_the_same_files() -> None:
    plans = load.load(project.find(ROOT))
    assert emitters.emit(plans) == emitters.emit(load.load(project.find(ROOT)))
    assert len(emitters.emit(plans)) == 3 * len(plans) + 4
