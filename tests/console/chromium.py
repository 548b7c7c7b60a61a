"""A Chromium for the tests: that of a package of npm, else the machine's own. Nothing is downloaded by a test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from engine.embedded_postgres import lock

PACKAGE = Path(__file__).parent / "browser"
BIN = Path(__file__).resolve().parents[2] / ".venv" / "bin"
#: Names of browsers that a system may have.
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: No sandbox: root has none to give. The others keep the browser from speaking to anybody on its own.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@cache
def find_chromium() -> str:
    """Return the path of the browser's program; DEX_TEST_BROWSER names another one.

    The one of npm has no window at all, so that opening a tab takes a quarter of the processor time of the machine's.
    """
    if named := os.environ.get("DEX_TEST_BROWSER"):
        return named
    assert (PACKAGE / "node_modules").is_dir(), "no browser: `python3 scripts/bootstrap.py --browser` installs one"
    with lock.hold_exclusively(PACKAGE / "node_modules" / ".lock"):  # it may have to be unpacked
        asked = subprocess.run([BIN / "node", "path.js"], cwd=PACKAGE, capture_output=True, text=True, check=True)
    installed = asked.stdout.strip()
    try:
        subprocess.run([installed, "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        # It is for Linux on x64, and needs libraries that the machine's own browser brings along.
        found = next(filter(None, map(shutil.which, SYSTEM_BROWSERS)), None)
        assert found, f"the browser of npm does not start, and the machine has none: {error}"
        return found
    return installed


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()
