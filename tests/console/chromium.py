"""A Chromium for the tests: the machine's own, else the one of a package of npm. Nothing is downloaded by a test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from scripts.bootstrap import BROWSERS

PACKAGE = Path(__file__).parent / "browser"
BIN = Path(__file__).resolve().parents[2] / ".venv" / "bin"
#: No sandbox: root has none to give. The others keep the browser from speaking to anybody on its own.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_chromium() -> str:
    """Return the path of the browser's program; DEX_TEST_BROWSER names another one."""
    found = os.environ.get("DEX_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found:
        return found
    assert (PACKAGE / "node_modules").is_dir(), "no browser: `python3 scripts/bootstrap.py --browser` installs one"
    command = [BIN / "node", "path.js"]
    return str(subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=True).stdout.strip())


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()
