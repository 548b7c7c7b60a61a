"""Benchmark of the layers that we wrote ourselves below or beside a library, each compared with the library.

A layer is kept if its user gains at least 15 %, or if no library does the same; docs/decisions/080 and following have
the verdicts. A ratio is the library's time divided by ours.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import simplejson
from asgi_correlation_id import CorrelationIdMiddleware
from ruamel.yaml import YAML
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from starlette_exporter import PrometheusMiddleware

from api.http.metrics import Metrics
from api.http.telemetry import Telemetry, configure_logging
from engine import plans, project
from engine.spec import yaml_source
from engine.values import exact_json
from scripts.bench.dataset import Server
from scripts.bench.result import LAYER_GAIN, Group, Line
from scripts.bench.tenant_statements import measure_tenant_statements
from scripts.bench.text import Author, build_payload

_REQUESTS = 2_000
_ROUTES = 40  # about as many as the API has
_DOCUMENTS = 50


def measure_layers(server: Server, rounds: int, seconds: float, report: Callable[[str], None]) -> Group:
    """Measure every layer for which both sides can run here."""
    group = Group(f"layers of our own: the library's time / ours; {server.name}; median of {rounds}")
    group.lines += measure_tenant_statements(server, rounds, seconds, report)
    for name, part in (("telemetry", _measure_telemetry), ("yaml", _measure_yaml), ("json", _measure_json)):
        report(name)
        group.lines += part(rounds)
    return group


def _compare_times(name: str, ours: Callable[[], Any], library: Callable[[], Any], rounds: int, unit: float) -> Line:
    """Run `ours` and `library` alternately; return the ratio of processor times, with both in us per `unit`."""
    pairs = [(_measure_cpu(ours), _measure_cpu(library)) for _ in range(rounds + 1)][1:]
    own, other = (median(pair[side] for pair in pairs) / unit * 1e6 for side in (0, 1))
    ratio = median(library / own for own, library in pairs)
    return Line(name, ratio, least=LAYER_GAIN, note=f"{own:,.0f} us against {other:,.0f} us")


def _measure_cpu(function: Callable[[], Any]) -> float:
    gc.collect()
    began = time.process_time()
    function()
    return time.process_time() - began


# --- logs and metrics of requests -----------------------------------------------------------------------------------


def _measure_telemetry(rounds: int) -> Iterator[Line]:
    """Compare what logging and measuring add to a request: ours writes a log line, the libraries do not."""
    app = Starlette(routes=[Route(f"/api/internal/{n}/upsert", _answer, methods=["POST"]) for n in range(_ROUTES)])
    ours = Telemetry(app, Metrics("0"))
    libraries = CorrelationIdMiddleware(PrometheusMiddleware(app, app_name="dex", group_paths=True))
    with _discard_errors():
        configure_logging()
        yield _compare_times(
            "a request logged and counted (two libraries)",
            lambda: asyncio.run(_send_requests(ours)),
            lambda: asyncio.run(_send_requests(libraries)),
            rounds,
            _REQUESTS,
        )


async def _answer(request: Request) -> Response:
    return Response(b"{}", media_type="application/json")


async def _send_requests(app: ASGIApp) -> None:
    path = f"/api/internal/{_ROUTES - 1}/upsert"
    for _ in range(_REQUESTS):
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"bench")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await app(scope, _receive, _ignore)


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _ignore(message: Message) -> None:
    return None


# --- specs ----------------------------------------------------------------------------------------------------------


def _measure_yaml(rounds: int) -> Iterator[Line]:
    """Compare loading the plans, as every process does, with parsing the same files by ruamel.yaml with positions."""
    here = project.find_project()
    texts = [file.read_text() for file in sorted(here.specs.glob("*.yaml"))]

    def load_by_ruamel() -> None:
        for text in texts:
            YAML().load(text)

    def parse() -> None:
        for text in texts:
            yaml_source.parse_source(text, "spec.yaml")

    pairs = [
        (_measure_cpu(lambda: plans.load_plans(here)), _measure_cpu(parse), _measure_cpu(load_by_ruamel))
        for _ in range(rounds + 1)
    ][1:]
    whole, own, other = (median(seconds[part] for seconds in pairs) * 1e3 for part in range(3))
    yield Line(
        "specs to plans, as every command does (ruamel.yaml)",
        (whole - own + other) / whole,
        least=LAYER_GAIN,
        note=f"{whole:.0f} ms, of which reading YAML {own:.0f} ms against {other:.0f} ms",
    )


# --- numbers --------------------------------------------------------------------------------------------------------


def _measure_json(rounds: int) -> Iterator[Line]:
    """Compare reading and writing documents of 30 KB.

    Both keep digits; only ours also keeps how a number is written.
    """
    author = Author.from_seed(1)
    texts = [build_payload(author, number, number, 30_000) for number in range(_DOCUMENTS)]

    def convert_exactly() -> None:
        for text in texts:
            exact_json.dumps(exact_json.loads(text))

    def convert_by_simplejson() -> None:
        for text in texts:
            simplejson.dumps(simplejson.loads(text, use_decimal=True), use_decimal=True).encode()

    line = _compare_times(
        "a document read and written (simplejson)", convert_exactly, convert_by_simplejson, rounds, _DOCUMENTS
    )
    yield Line(line.name, line.value, note=f"{line.note}; kept for what simplejson changes, not for time")


@contextmanager
def _discard_errors() -> Iterator[None]:
    """Discard what is written to the file descriptor of standard error during a `with` block."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
