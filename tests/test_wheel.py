"""The wheel works outside of a checkout, in an environment of its own: migrations, console and templates are inside.

The packages it needs are those of this environment, which are the ones that the lock names; the container of
`tests/deploy/` installs them anew.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from scripts.processes import start_process
from tests.conftest import ROOT
from tests.plain_http import HTTP

#: A table that the checkout has made for itself, as in its tutorial; it has the number that `dex init` begins with.
OF_THE_CHECKOUT = "1001_of_the_checkout.sql"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what it is made of; a build leaves files beside its sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("engine", "api", "scripts", "migrations"):
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "requirements.in"):
        shutil.copy(ROOT / name, source)
    (source / "migrations" / OF_THE_CHECKOUT).write_text("select 1;")
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, check=True, timeout=200)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def dex(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment that knows nothing of this checkout; return its `dex`."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python3*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=200)
    # A plain path: the link to this checkout, which lies there too, is a file that is only read in a `site-packages`.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "dex"


def run(dex: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    harmless = {name: value for name, value in os.environ.items() if name not in ("DEX_ENV_FILE", "PYTHONPATH")}
    return subprocess.run(
        [dex, *arguments], cwd=folder, env={**harmless, **variables}, capture_output=True, text=True, timeout=200
    )


def test_what_is_inside(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"engine", "api", "scripts"}
    assert not [name for name in names if "node_modules" in name or name.endswith((".tsx", ".ts"))]
    shipped = sorted(name.split("/")[-1] for name in names if name.startswith("engine/migrations/"))
    assert shipped == sorted([OF_THE_CHECKOUT, *(file.name for file in (ROOT / "migrations").glob("*.sql"))])
    assert {"engine/orders/prices.toml", "engine/runs/runs.sql", "api/console/dist/index.html"} <= set(names)


def test_a_project_elsewhere(dex: Path, database: str, empty_database: str, tmp_path: Path) -> None:
    outside = run(dex, tmp_path, "check")
    assert outside.returncode == 1 and "`dex init FOLDER` makes a new one" in outside.stderr
    assert run(dex, tmp_path, "init", "Our research").returncode == 0
    project = tmp_path / "Our research"
    again = run(dex, tmp_path, "init", "Our research")
    assert again.returncode == 2 and "exists already" in again.stderr
    for command in (["check", "--strict"], ["test"]):
        done = run(dex, project, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    (project / ".env").write_text(f"DATABASE_URL={empty_database}\nJWT_SECRET='short'\n")
    migrated = run(dex, project, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "the database of `DATABASE_URL` in .env" in migrated.stderr
    applied = migrated.stdout.split()[1::2]
    assert applied[0] == "001_tenancy.sql" and applied[-1] == "1001_company_competitors.sql"
    assert OF_THE_CHECKOUT not in applied
    org = run(dex, project, "org", "create", "Ours").stdout.strip()
    draft = run(dex, project, "new", "company.derive.news", "--columns", "title:text")
    assert draft.returncode == 0, draft.stderr
    drafted = run(dex, project, "draft-migration", "company_news")
    assert "wrote migrations/1002_company_news.sql" in drafted.stdout, drafted.stderr
    assert run(dex, project, "migrate").stdout.split() == ["applied", "1002_company_news.sql"]
    assert run(dex, project, "generate").returncode == 0
    program = f"from engine.generated import query_company_news as query; print(query(org_id='{org}'))"
    done = run(dex.with_name("python"), project, "-c", program, DATABASE_URL=empty_database)
    assert done.stdout == "[]\n", done.stderr

    elsewhere = run(dex, project, "migrate", "--status", DATABASE_URL=database)
    assert "1001_company_competitors.sql" in elsewhere.stdout and "pending" in elsewhere.stdout, "the environment wins"
    refused = run(dex, project, "serve")
    assert refused.returncode == 1 and "`INTERNAL_API_KEY`" in refused.stderr
    short = run(dex, project, "serve", INTERNAL_API_KEY="x" * 32)
    assert "shorter than 32 characters: `JWT_SECRET`" in short.stderr and "`JWT_SECRET` is that of .env" in short.stderr
    for needs_runner in ("demo", "worker"):
        missing = run(dex, project, needs_runner)
        assert missing.returncode == 2 and "no runner in `trigger" in missing.stderr
    secrets = {"INTERNAL_API_KEY": "i" * 32, "JWT_SECRET": "j" * 32, "SUPER_ADMIN_API_KEY": "s" * 32}
    serving = {**secrets, "DEX_ENV_FILE": str(project / ".env")}
    with start_process([dex, "serve", "--port", "0"], serving, cwd=project) as process:
        address = process.wait_for_line("serving on ").rsplit(" ", 1)[-1]
        assert HTTP.get(f"{address}/readyz").json() == {"data": {"status": "ready"}}
        assert "<script" in HTTP.get(f"{address}/console").text
        answer = HTTP.post(
            f"{address}/api/v1/company-competitors/query",
            json={"org_id": org},
            headers={"authorization": f"Bearer {'s' * 32}"},
        )
        assert json.loads(answer.text)["data"] == []
