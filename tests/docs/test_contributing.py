"""CONTRIBUTING.md: its recipes are numbered and name files that exist. Names in files are checked by test_pages."""

import re
import tomllib

import pytest

from tests.conftest import ROOT
from tests.docs.test_pages import list_code, list_paths, matches_file

PAGE = ROOT / "CONTRIBUTING.md"
RECIPES = dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE))
EXPECTED = ("key of the spec", "normalizer", "check", "endpoint", "command", "migration", "provider")


@pytest.mark.parametrize("subject", EXPECTED)
def test_there_is_a_recipe(subject: str) -> None:
    assert [title for title in RECIPES if subject in title], f"no recipe for a {subject}"


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_numbered_and_names_files(title: str) -> None:
    steps = re.findall(r"^(\d+)\. ", RECIPES[title], re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)] and len(steps) >= 3
    files = [code for code in list_code(RECIPES[title]) if "/" in code]
    assert files and all(matches_file(code, ROOT) for code in files), files


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_names_what_is_in_the_file_before_it(title: str) -> None:
    """A name in a step, such as `compile_spec`, stands in one of the files that the step names."""
    for step in re.split(r"^\d+\. ", RECIPES[title], flags=re.MULTILINE)[1:]:
        codes = list(list_code(step))
        files = [ROOT / code for code in codes if code.endswith((".py", ".ts", ".tsx"))]
        names = [code for code in codes if re.fullmatch(r"_?[A-Za-z]+_\w+|[A-Z]\w+", code)]
        texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
        unknown = [name for name in names if not any(re.search(rf"\b{name}\b", text) for text in texts)]
        assert not unknown or not texts, (step, unknown)


def test_every_path_named_exists() -> None:
    paths = list(list_paths(PAGE))
    assert len(paths) > 30 and [path for path in paths if not matches_file(path, ROOT)] == []


def test_the_names_the_layout_test_bans_are_those_the_page_calls_bad() -> None:
    """A good example follows the rule itself."""
    good = [row.split("|")[2] for row in re.findall(r"^\|.*\|$", PAGE.read_text(), re.MULTILINE)]
    names = [name for cell in good for name in re.findall(r"`(_?[a-z]+(?:_[a-z]+)+)`", cell)]
    assert len(names) >= 4 and all("_" in name.strip("_") for name in names)


def test_the_kit_is_there_and_names_no_host() -> None:
    for name in ("SECURITY.md", ".editorconfig", ".pre-commit-config.yaml", ".github/PULL_REQUEST_TEMPLATE.md"):
        assert (ROOT / name).is_file(), name
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert "://" not in hooks and set(re.findall(r"- repo: (\S+)", hooks)) == {"local"}
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert f'"{oldest}"' in workflow
    assert all(f"make {target}" in workflow for target in ("test", "lint", "types", "check"))


def test_the_changelog_has_a_section_for_what_comes_and_one_for_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]" and headings[1].startswith(f"[{version}]")
