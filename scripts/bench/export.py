"""Benchmark of exports over HTTP, compared with psql copying the same rows (`COPY ... TO STDOUT`).

It exports rows of 30 KB as JSON Lines, and small rows in every format; for these it also reports the API's peak
memory.
"""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable
from statistics import median

import psycopg

from scripts.bench.api_process import RunningApi, start_api
from scripts.bench.dataset import Server, build_id, vacuum_database
from scripts.bench.page import SIZE, insert_page_rows
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE

_ORG = str(build_id(1, 0))
_PATH = "/api/v1/company-intel-briefings/export"
_NARROW_PATH = "/api/v1/icp-job-titles/export"
_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_BLOCK = 256 * 1024
_COPY = f"copy (select * from {TABLE} where org_id = '{_ORG}' order by created_at desc, id desc) to stdout"
_INSERT_NARROW = """
insert into icp_job_titles (org_id, company_domain, company_name, raw_parallel_output)
select %s, 'company-' || number || '.example', 'Company ' || number, jsonb_build_object('number', number)
from generate_series(1, %s) as number
"""


def measure_exports(server: Server, rows: int, narrow_rows: int, rounds: int, report: Callable[[str], None]) -> Group:
    """Export `rows` rows with documents and `narrow_rows` rows without, alternately by the API and by psql."""
    report(f"export: making {rows:,} rows of {SIZE // 1000} KB and {narrow_rows:,} narrow ones")
    with server.create_database("export") as dsn:
        insert_page_rows(dsn, rows, organisations=1)
        _insert_narrow_rows(dsn, narrow_rows)
        ratios, rates = [], []
        with start_api(dsn) as api:
            for number in range(rounds):
                report(f"export: round {number + 1} of {rounds}")
                copied = _copy_with_psql(server, dsn)
                exported = _export_rows(api, _PATH, _TYPES["ndjson"])
                ratios.append(copied / exported)
                rates.append(rows / exported)
        peaks = {}
        for name, type_ in _TYPES.items():
            report(f"export: {narrow_rows:,} narrow rows as {name}")
            with start_api(dsn) as api:
                _export_rows(api, _NARROW_PATH, type_)
                peaks[name] = api.read_peak()
    lines = [
        Line("lines of JSON: rate, against psql copying the same rows out", median(ratios), least=0.5),
        Line("rate", median(rates), "rows/s"),
        *(
            Line(f"peak memory of the API, {narrow_rows:,} rows as {name}", peak, "MB", most=150)
            for name, peak in peaks.items()
        ),
    ]
    return Group(f"export over HTTP: {rows:,} rows of {SIZE / 1000:.0f} KB; {server.name}; median of {rounds}", lines)


def _insert_narrow_rows(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(_INSERT_NARROW, [_ORG, rows])
    vacuum_database(dsn)


def _export_rows(api: RunningApi, path: str, accept: str) -> float:
    """Request an export and read it to its end; return the seconds. Raises RuntimeError for an error response."""
    headers = {**api.build_headers(_ORG), "content-type": "application/json", "accept": accept}
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=600)
    began = time.perf_counter()
    connection.request("POST", path, b"{}", headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"POST {path}: {answer.status} {answer.read()[:500].decode()}")
    while answer.read(_BLOCK):
        pass
    connection.close()
    return time.perf_counter() - began


def _copy_with_psql(server: Server, dsn: str) -> float:
    began = time.perf_counter()
    command = [str(server.programs / "psql"), "-X", "-q", "-o", "/dev/null", "-d", dsn, "-c", _COPY]
    subprocess.run(command, check=True)
    return time.perf_counter() - began
