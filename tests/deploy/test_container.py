"""The images are built without a daemon, and what `compose.yaml` starts is started from them, with its environment.

buildah does it with chroot isolation over a base that debootstrap makes; both come from Debian's packages, and only
root may use them so. Docker and its networks are not there: the containers meet on loopback.
"""

import json
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from scripts.processes import Process, start_process
from tests import world
from tests.conftest import ROOT
from tests.plain_http import find_free_port
from tests.system_postgres import needs_system_postgres, run_system_postgres

FOLDER = ROOT / "scripts" / "deploy"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
TOOLS = ("buildah", "debootstrap")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="needs the packages `buildah` and `debootstrap`"
)


@dataclass
class Builder:
    """buildah with a store of its own."""

    folder: Path

    def build_command(self, *arguments: str | Path) -> list[str]:
        store = ["--root", self.folder / "store", "--runroot", self.folder / "run", "--storage-driver", "vfs"]
        return [str(part) for part in ("buildah", *store, *arguments)]

    def run(self, *arguments: str | Path, seconds: float = 900) -> str:
        command = self.build_command(*arguments)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def build_image(self, target: str) -> str:
        """Build a target of the Dockerfile; return the image. Certificates of this machine are lent to it."""
        (self.folder / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
        (self.folder / "npmrc").write_text(f"cafile={CERTIFICATES}\n")
        volumes = [
            f"{CERTIFICATES}:{CERTIFICATES}:ro",
            f"{self.folder / 'pip.conf'}:/etc/pip.conf:ro",
            f"{self.folder / 'npmrc'}:{Path.home() / '.npmrc'}:ro",
        ]
        lent = [word for volume in volumes for word in ("--volume", volume)]
        image = f"localhost/dex-{target}"
        file, ignored = FOLDER / "Dockerfile", FOLDER / "Dockerfile.dockerignore"
        options = ["--isolation", "chroot", "--layers", "--build-arg", "BASE=localhost/dex-base", *lent]
        self.run("bud", *options, "--ignorefile", ignored, "-f", file, "--target", target, "-t", image, ".")
        return image

    @contextmanager
    def start_service(self, name: str, places: Mapping[str, str], values: Mapping[str, str]) -> Iterator[Process]:
        """Run the command of a service of compose.yaml, with its environment and the hosts' places."""
        service = COMPOSE[name]
        environment = fill(service.get("environment", {}), places, values)
        image = f"localhost/dex-{service['build']['target']}"
        container = self.run("from", "--pull-never", image)
        described = json.loads(self.run("inspect", "--type", "image", image))["OCIv1"]["config"]
        command = fill(service.get("command", described["Cmd"]), places, values)
        given = [word for pair in environment.items() for word in ("--env", "=".join(pair))]
        user = described["User"]
        with start_process(
            self.build_command("run", "--isolation", "chroot", "--user", user, *given, container, "--", *command)
        ) as process:
            yield process
        self.run("rm", container)


def fill(value: Any, places: Mapping[str, str], values: Mapping[str, str]) -> Any:
    """Put in the variables of `.env` and, in place of each host with its port, where it is reached here."""
    if isinstance(value, dict):
        return {name: fill(each, places, values) for name, each in value.items()}
    if isinstance(value, list):
        return [fill(each, places, values) for each in value]
    text = re.sub(r"\$\{(\w+):\?\}", lambda match: values[match[1]], value).replace("$$", "$")
    for place, here in places.items():
        text = text.replace(place, here)
    return text


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    with tempfile.TemporaryDirectory(prefix="dex-deploy-") as folder:
        base = Path(folder) / "base"
        packages = "--include=python3,python3-venv,ca-certificates"
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", packages, "bookworm", base],
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert made.returncode == 0, made.stdout[-2000:]
        builder = Builder(Path(folder))
        container = builder.run("from", "scratch")
        builder.run("add", "-q", container, base, "/")
        builder.run("commit", "-q", container, "localhost/dex-base")
        shutil.rmtree(base)
        yield builder


def test_every_variable_of_compose_is_one_that_its_head_names() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    head = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    assert set(re.findall(r"\$\{(\w+):\?\}", text)) == set(re.findall(r"[A-Z]+(?:_[A-Z]+)+", head))
    targets = set(re.findall(r"^FROM .* AS (\w+)$", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE))
    assert {service["build"]["target"] for service in COMPOSE.values() if "build" in service} <= targets


@pytest.mark.long
@needs_tools
@needs_system_postgres
def test_the_images_are_built_and_do_what_compose_starts(builder: Builder) -> None:
    for target in ("api", "worker", "pooler"):
        builder.build_image(target)
    for image in ("api", "worker"):
        container = builder.run("from", "--pull-never", f"localhost/dex-{image}")
        run = ["run", "--isolation", "chroot", "--user", "10001", container, "--"]
        assert builder.run(*run, "id", "-u") == "10001"
        packages = builder.run(
            *run, "python3", "-c", "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        )
        assert {"data-engine-x", "fastapi"} <= set(packages.split())
        assert not {"pytest", "mypy", "ruff", "hypothesis", "playwright", "pip"} & set(packages.split())
        assert "No such file" in builder.run(*run, "sh", "-c", "ls /app/tests 2>&1 || true")
        builder.run(*run, "dex", "check")
        builder.run("rm", container)

    values = {
        name: secrets.token_hex(20)
        for name in (
            *("DEX_MIGRATE_PASSWORD", "DEX_API_PASSWORD", "INTERNAL_API_KEY"),
            *("JWT_SECRET", "PARALLEL_API_KEY"),
        )
    }
    ports = {name: find_free_port() for name in ("pooler", "api", "operator")}
    with run_system_postgres() as server:
        values["POSTGRES_PASSWORD"] = server.password
        with psycopg.connect(server.build_url(), autocommit=True) as connection:
            connection.execute("create database dex")
        owner = server.build_url("dex")
        places = {
            "postgres:5432": f"127.0.0.1:{server.port}",
            "pooler:6432": f"127.0.0.1:{ports['pooler']}",
            "http://api:8000": f"http://127.0.0.1:{ports['api']}",
            "0.0.0.0:9000": f"127.0.0.1:{ports['operator']}",
            "exec pgbouncer /etc/pgbouncer/dex.ini": (
                f"sed -e 's/host=postgres port=5432/host=127.0.0.1 port={server.port}/'"
                f" -e 's/6432/{ports['pooler']}/' /etc/pgbouncer/dex.ini > /tmp/dex.ini; exec pgbouncer /tmp/dex.ini"
            ),
        }
        with builder.start_service("setup", places, values) as setup:
            assert setup.wait_for_exit(300) == 0, setup.text
        assert "applied 060_newest_runs.sql" in setup.text and not set(values.values()) & set(
            re.findall(r"\w+", setup.text)
        )
        with psycopg.connect(owner, autocommit=True) as connection:
            org = world.insert_organisation(connection)
        COMPOSE["api"]["environment"]["PORT"] = str(ports["api"])
        with (
            builder.start_service("pooler", places, values) as pooler,
            builder.start_service("api", places, values) as api,
        ):
            pooler.wait_for_line("process up")
            address = api.wait_for_line("serving on ").rsplit(" ", 1)[-1].replace("0.0.0.0", "127.0.0.1")
            client = httpx.Client(base_url=address, timeout=60)
            ready = httpx.get(f"http://127.0.0.1:{ports['operator']}/readyz")
            assert ready.json() == {"data": {"status": "ready"}}, api.text
            assert client.get("/readyz").status_code == 404
            assert "<script" in client.get("/console").text
            headers = {"authorization": f"Bearer {values['INTERNAL_API_KEY']}", "x-internal-org-id": org}
            body = {"company_domain": "acme.com", "raw_parallel_output": {"a": 1}}
            stored = client.post("/api/internal/icp-job-titles/upsert", json=body, headers=headers)
            assert stored.json()["data"]["company_domain"] == "acme.com"
            assert not [line for line in api.log if "superuser" in line["event"]]
            with builder.start_service("worker", places, values) as worker:  # nothing is queued, so nothing is bought
                metrics, deadline = f"http://127.0.0.1:{ports['operator']}/metrics", time.monotonic() + 60
                while "pipeline-runs/claim" not in httpx.get(metrics).text:
                    assert time.monotonic() < deadline and worker.popen.poll() is None, worker.text
                    time.sleep(0.2)
