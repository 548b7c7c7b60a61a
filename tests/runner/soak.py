"""Everything at once for a while: writers, backfills, verify, exports, a database that is killed, and bad clients.

Each writer does what a runner does, over HTTP, and repeats a call until it is answered: what was answered must be there
in the end, once, and the newest of each key in the table.
"""

import contextlib
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.conftest import ROOT
from tests.forked_dex import run_dex_text
from tests.plain_http import HTTP
from tests.runner.chaos import Stage, open_stage
from tests.runner.conftest import ICP, KEY

WRITERS, KEYS, IDLE = 16, 40, 1000
SPECS = ("icp_job_titles", "research_evidence")
#: What a call may be answered while the database is gone.
OUTAGE = (500, 502, 503, 504)


class SoakStage(Stage):
    """The API over a database of its own, with room for a thousand idle clients beside the others."""

    def build_environment(self) -> dict[str, str]:
        return {**super().build_environment(), "DEX_LIMIT_CONNECTIONS": "1500", "DEX_SWEEP_SECONDS": "5"}


@dataclass
class Soak:
    """What is measured while it lasts."""

    stage: SoakStage
    seconds: float
    pause: float  # seconds that everybody rests between two pieces of work: a writer so many at most, a command twice
    ends_at: float
    health: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # KB, of the API
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    def count(self, name: str) -> None:
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1

    # --- those who work ---

    def write_results(self, writer: int) -> None:
        """Submit, record and store one result after the other; each call is repeated until it is answered."""
        chance = random.Random(writer)
        headers = {"authorization": f"Bearer {KEY}", "x-internal-org-id": self.stage.org_id}
        with httpx.Client(base_url=self.stage.url, headers=headers, timeout=30, verify=False) as client:
            number = 0
            while not self.is_over:
                number += 1
                self._write_result(client, f"{writer}-{number}", f"c{chance.randrange(KEYS)}.example.com")
                time.sleep(chance.uniform(self.pause / 3, self.pause))

    def _write_result(self, client: httpx.Client, name: str, domain: str) -> None:
        body = {"steps": [{"operation_id": ICP}], "inputs": [{"domain": domain, "company_name": domain}]}
        run = self._post(client, "/api/v1/submissions", body, **{"idempotency-key": name})["pipeline_runs"][0]["id"]
        read = self._post(client, "/api/internal/pipeline-runs/get", {"pipeline_run_id": run})
        step = read["step_results"][0]["id"]
        raw = {"output": {"content": {"name": name}, "basis": [{"field": "name", "reasoning": name}]}}
        output = {"domain": domain, "company_name": name, "parallel_run_id": name, "parallel_raw_response": raw}
        payload = {"operation_result": {"operation_id": ICP, "status": "found", "output": output}}
        change = {"step_result_id": step, "status": "succeeded", "output_payload": payload}
        self._post(client, "/api/internal/step-results/update", change)
        row = {"company_domain": domain, "company_name": name, "raw_parallel_output": raw["output"]["content"]}
        sources = {"parallel_run_id": name, "source_pipeline_run_id": run, "source_step_result_id": step}
        self._post(client, "/api/internal/icp-job-titles/upsert", {**row, **sources})
        ended = {"pipeline_run_id": run, "status": "succeeded"}
        self._post(client, "/api/internal/pipeline-runs/update-status", ended)
        self.count("written")

    def _post(self, client: httpx.Client, path: str, body: Any, **headers: str) -> Any:
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = client.post(path, json=body, headers=headers)
                if answer.is_success:
                    return answer.json()["data"]
                assert answer.status_code in OUTAGE, f"{path}: {answer.status_code} {answer.text}"
                self.count(f"answered {answer.status_code}")
            except httpx.TransportError:
                self.count("cut off")
            assert time.monotonic() < deadline, f"{path} is not answered"
            time.sleep(0.2)

    def repeat_command(self, *words: str) -> None:
        """Run a command again and again; it may fail for the database that is gone, and for nothing else.

        It gives way to the API: an operator runs it elsewhere, and the question here is whether the API answers.
        """
        environment = {**os.environ, **self.stage.build_environment()}
        while not self.is_over:
            done = run_dex_text(*words, environment=environment, niceness=10)
            self.count(f"{words[0]} {done.returncode}")
            is_outage = any(word in done.stderr for word in ("does not answer", "went away", "cannot be reached"))
            if done.returncode and not is_outage:
                self.faults.append(f"{words}: {done.returncode} {done.stdout[-500:]} {done.stderr[-500:]}")
            time.sleep(2 * self.pause)

    def export_rows(self) -> None:
        """Export everything again and again: a key stands in it once, also while it is rewritten."""
        headers = {"authorization": f"Bearer {KEY}", "x-internal-org-id": self.stage.org_id}
        headers["accept"] = "application/x-ndjson"
        while not self.is_over:
            with contextlib.suppress(httpx.TransportError):
                url = f"{self.stage.url}/api/v1/icp-job-titles/export"
                answer = HTTP.post(url, json={}, headers=headers, timeout=30)
                if answer.is_success:
                    keys = [json.loads(line)["company_domain"] for line in answer.text.splitlines()]
                    assert len(keys) == len(set(keys)), keys
                    self.count("exported")
            time.sleep(self.pause)

    # --- those who disturb ---

    def kill_database(self) -> None:
        pause = min(30.0, self.seconds / 3)
        while time.monotonic() + pause < self.ends_at:
            time.sleep(pause)
            self.stage.crash_database()
            self.count("killed")

    def lock_table(self) -> None:
        """Hold a table of another spec, again after each kill."""
        while not self.is_over:
            with contextlib.suppress(psycopg.Error), psycopg.connect(self.stage.dsn) as connection:
                connection.execute("lock table person_intel_briefings in access exclusive mode")
                while not self.is_over:
                    connection.execute("select")
                    time.sleep(0.2)
            time.sleep(0.2)

    def hold_idle_connections(self) -> None:
        """Keep a thousand connections open on which nothing is sent; those that are closed are opened again."""
        with ExitStack() as stack:
            idle: list[socket.socket] = []
            while not self.is_over:
                for one in filter(_is_closed, idle):
                    one.close()
                idle = [one for one in idle if one.fileno() != -1]
                while len(idle) < IDLE and not self.is_over:
                    try:
                        one = socket.create_connection(("127.0.0.1", self.stage.api_port), timeout=5)
                    except OSError:
                        break
                    one.setblocking(False)
                    idle.append(stack.enter_context(contextlib.closing(one)))
                time.sleep(0.5)

    def send_endless_header(self) -> None:
        while not self.is_over:
            with contextlib.suppress(OSError):
                address = ("127.0.0.1", self.stage.api_port)
                with socket.create_connection(address, timeout=5) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\nx: ")
                    while not self.is_over:
                        connection.sendall(b"a" * 65536)
            time.sleep(self.pause / 20)

    # --- those who watch ---

    def ask_health(self) -> None:
        """Ask for health over connections of their own, from another process."""
        command = [sys.executable, "-m", "tests.runner.ask_health", self.stage.url]
        # A file: a pipe that nobody reads would stop the process after some minutes.
        with tempfile.TemporaryFile("w+") as answers:
            with subprocess.Popen(command, cwd=ROOT, stdout=answers) as asker:
                time.sleep(max(self.ends_at - time.monotonic(), 0))
                assert asker.poll() is None, "health was refused"
                asker.terminate()
            answers.seek(0)
            self.health += [float(line) for line in answers]
        assert len(self.health) > self.seconds * 2, f"health was asked {len(self.health)} times only"

    def watch_memory(self) -> None:
        api = self.stage.parts["api"].popen.pid
        while not self.is_over:
            status = Path(f"/proc/{api}/status").read_text()
            self.memory.append(int(status.split("VmRSS:")[1].split()[0]))
            time.sleep(0.1)

    # --- the end ---

    def check_books(self) -> None:
        """Nothing is lost, doubled or stale."""
        headers = {"authorization": f"Bearer {KEY}"}
        answer = HTTP.post(f"{self.stage.url}/api/internal/reconcile", headers=headers, timeout=120)
        assert answer.is_success, answer.text
        written = self.counts["written"]
        runs = self.stage.execute("select status, count(*) from pipeline_runs group by 1")
        steps = self.stage.execute("select status, count(*) from step_results group by 1")
        assert (runs, steps) == ([("succeeded", written)], [("succeeded", written)])
        accounts = json.loads(self.stage.run_dex("coverage", "--json"))
        assert {account["spec"]: account["found"] for account in accounts} == dict.fromkeys(SPECS, written)
        assert [(account["pending"], account["stale_rows"], account["rejected"]) for account in accounts] == [
            (0, 0, 0)
        ] * 2
        for found in json.loads(self.stage.run_dex("verify", "--json")):
            assert found["rows"] == found["matching"], found
        newest = self.stage.execute(
            "select distinct on (domain) domain, output ->> 'company_name' from (select recorded_at, id,"
            " output_payload #> '{operation_result,output}' as output,"
            " output_payload #>> '{operation_result,output,domain}' as domain from step_results) as step"
            " order by domain, recorded_at desc, id desc"
        )
        assert self.stage.execute("select company_domain, company_name from icp_job_titles order by 1") == newest

    def report(self) -> str:
        """Return what was measured, as one line."""
        third = max(len(self.memory) // 3, 1)
        early, late = statistics.median(self.memory[:third]), statistics.median(self.memory[-third:])
        slow = sum(seconds >= 0.5 for seconds in self.health)
        return (
            f"{self.counts}; health: {len(self.health)} asks, {max(self.health):.3f} s at most, {slow} from 0.5 s on;"
            f" memory of the API: {early / 1024:.0f} MB in the first third, {late / 1024:.0f} MB in the last"
        )

    @property
    def memory_growth(self) -> float:
        """By how much the memory of the last third exceeds that of the second."""
        third = max(len(self.memory) // 3, 1)
        return statistics.median(self.memory[-third:]) / statistics.median(self.memory[third : 2 * third])


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextmanager
def open_soak(seconds: float, pause: float) -> Iterator[Soak]:
    """Start a database and an API for `seconds` of work with rests of `pause` seconds."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with open_stage(SoakStage, ["api"]) as stage:
        stage.parts["api"].wait_for_line("serving on")
        yield Soak(stage, seconds, pause, time.monotonic() + seconds)


def run_soak(seconds: float, pause: float) -> Soak:
    """Let everybody work for `seconds`, compare the books, and return what was measured."""
    with open_soak(seconds, pause) as soak:
        work: list[Callable[[], None]] = [
            soak.ask_health,
            soak.watch_memory,
            soak.kill_database,
            soak.lock_table,
            soak.hold_idle_connections,
            soak.send_endless_header,
            soak.export_rows,
            *(lambda spec=spec: soak.repeat_command("backfill", spec, "--all") for spec in SPECS),
            lambda: soak.repeat_command("verify", SPECS[0]),
            *(lambda writer=writer: soak.write_results(writer) for writer in range(WRITERS)),
        ]
        with ThreadPoolExecutor(len(work)) as threads:
            for future in [threads.submit(each) for each in work]:
                future.result()
        soak.check_books()
        return soak
