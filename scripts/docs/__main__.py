"""`python -m scripts.docs [--check]`: write or check the generated pages about the product itself.

These pages (errors, normalizers, spec format) depend on the engine's code and not on specs, so they are not written by
`dex generate`, which works on the specs of any project.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.docs.errors import ERRORS_PAGE, build_errors_page
from scripts.docs.normalizers import NORMALIZERS_PAGE, build_normalizers_page
from scripts.docs.spec_format import FORMAT_PAGE, build_format_page

ROOT = Path(__file__).resolve().parents[2]


def build_pages() -> dict[str, str]:
    """Return the text of every page by its path in the repository."""
    return {
        ERRORS_PAGE: build_errors_page(),
        NORMALIZERS_PAGE: build_normalizers_page(),
        FORMAT_PAGE: build_format_page(),
    }


def main() -> int:
    """Write the pages; with `--check`, only print the names of those that differ. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page differs")
    if parser.parse_args().check:
        outdated = [name for name, text in build_pages().items() if not is_current(name, text)]
        for name in outdated:
            print(f"{name} differs: run `make generate`")
        return 1 if outdated else 0
    for name, text in build_pages().items():
        (ROOT / name).write_text(text, encoding="utf-8")
    return 0


def is_current(name: str, text: str) -> bool:
    """Return whether the file `name` has exactly this text."""
    path = ROOT / name
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
