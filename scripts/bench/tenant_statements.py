"""Benchmark of upserts and pages over HTTP: prepared statements in one message, compared with psycopg's own interface.

Processor time of the API is compared too, since other work on the machine affects it less than a rate.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.bench import live, load, page
from scripts.bench.api_process import RunningApi, start_api
from scripts.bench.dataset import Server, build_id
from scripts.bench.process import build_module_command, run_measured
from scripts.bench.result import LAYER_GAIN, Line

_ORG = str(build_id(1, 0))


@dataclass(frozen=True, slots=True)
class _Cost:
    """What requests cost: their rate per second, and the API's processor time per request in milliseconds."""

    rate: float
    cpu: float


def measure_tenant_statements(
    server: Server, rounds: int, seconds: float, report: Callable[[str], None]
) -> Iterator[Line]:
    """Measure upserts and pages of the API in turn: as it is; with psycopg's interface; without prepared statements."""
    with server.create_database("layers") as dsn, tempfile.TemporaryDirectory() as folder:
        page.insert_page_rows(dsn, 600, organisations=3)
        program = build_module_command("psycopg_front")
        with (
            start_api(dsn) as ours,
            start_api(dsn, program=program) as front,
            start_api(f"{dsn}&prepare_threshold=0") as unprepared,
        ):
            apis = {"": ours, "psycopg's front": front, "nothing prepared": unprepared}
            for name, (path, bodies, connections) in _write_jobs(Path(folder)).items():
                costs: list[dict[str, _Cost]] = []
                for number in range(rounds + 1):  # the first round is a warm-up
                    report(f"{name}: round {number} of {rounds}")
                    order = list(apis) if number % 2 else list(reversed(apis))
                    costs.append(
                        {api: _measure_requests(apis[api], path, bodies, connections, seconds) for api in order}
                    )
                for other in [api for api in apis if api]:
                    yield from _build_lines(f"{name}, {other}", [(cost[""], cost[other]) for cost in costs[1:]])


def _write_jobs(folder: Path) -> dict[str, tuple[str, Path, int]]:
    """Return the path, the file of bodies and the number of connections of each kind of request."""
    upserts, short, long = (folder / name for name in ("upserts", "short", "long"))
    live.write_bodies(upserts)
    short.write_text(json.dumps({"fields": ["id", "company_domain", "company_name"], "limit": page.PAGE}))
    long.write_text(json.dumps({"limit": page.PAGE}))
    return {
        "upsert of 29 KB": (live.PATH, upserts, 8),
        f"page of {page.PAGE} short rows": (page.PATH, short, 4),
        f"page of {page.PAGE} rows of 30 KB": (page.PATH, long, 1),
    }


def _measure_requests(api: RunningApi, path: str, bodies: Path, connections: int, seconds: float) -> _Cost:
    job = load.Job(
        port=api.port,
        path=path,
        headers=api.build_headers(_ORG),
        bodies=str(bodies),
        connections=connections,
        seconds=seconds,
    )
    before = api.read_cpu_seconds()
    result = run_measured(build_module_command("load", job.as_json()), {}).report
    return _Cost(result["rate"], (api.read_cpu_seconds() - before) / result["requests"] * 1000)


def _build_lines(name: str, costs: list[tuple[_Cost, _Cost]]) -> list[Line]:
    """Return how much the API as it is gains over the other: in rate, and in processor time per request."""
    ours, others = (median(pair[side].cpu for pair in costs) for side in (0, 1))
    rates = [median(pair[side].rate for pair in costs) for side in (0, 1)]
    return [
        Line(
            f"{name}: rate",
            median(own.rate / other.rate for own, other in costs),
            least=LAYER_GAIN,
            note=f"{rates[0]:,.0f}/s against {rates[1]:,.0f}/s",
        ),
        Line(
            f"{name}: processor time",
            median(other.cpu / own.cpu for own, other in costs),
            least=LAYER_GAIN,
            note=f"{others:.2f} ms per request against {ours:.2f} ms",
        ),
    ]
