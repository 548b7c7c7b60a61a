"""One trace from a submission over the runner to the row, received as OpenTelemetry's own exporters send it."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.api.loopback import internal_headers, run_api
from tests.plain_http import HTTP
from tests.runner.conftest import (
    COMPANY,
    ICP,
    PERSON,
    TRIGGER,
    Services,
    build_worker_command,
    bundle_script,
    start_process,
)
from tests.runner.test_pipeline import CONTEXT
from tests.world import insert_organisation

PARENT = "b7ad6b7169203331"


class Collector(BaseHTTPRequestHandler):
    """Takes spans over OTLP: as protobuf from Python, as JSON from TypeScript."""

    spans: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self._read_body()
        if "json" in self.headers["content-type"]:
            self.spans.extend(_read_json(json.loads(body)))
        else:
            self.spans.extend(_read_protobuf(ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def _read_body(self) -> bytes:
        """Read the body, which Node.js sends in chunks."""
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


def _read_json(body: Any) -> Iterator[dict[str, Any]]:
    for resource in body["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                facts = {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}
                yield {
                    "name": span["name"],
                    "trace": span["traceId"],
                    "id": span["spanId"],
                    "parent": span.get("parentSpanId", ""),
                    **facts,
                }


def _read_protobuf(body: Any) -> Iterator[dict[str, Any]]:
    for resource in body.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                facts = {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
                yield {
                    "name": span.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    **facts,
                }


def build_local_command() -> tuple[str, ...]:
    return *build_worker_command(), "--until-idle"


def build_task_command() -> tuple[str, ...]:
    contract = bundle_script("tests/tasks/run-pipeline.contract.ts")
    return "node", "--test", "--test-name-pattern", "a run is executed", str(contract)


@pytest.mark.parametrize(
    "build_command", [build_local_command, build_task_command], ids=["local runner", "Trigger.dev"]
)
def test_one_trace_from_submission_to_row(
    build_command: Callable[[], tuple[str, ...]],
    services: Services,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trace_id = uuid.uuid4().hex
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    with psycopg.connect(database, autocommit=True) as connection:
        org = insert_organisation(connection)
    with ExitStack() as stack:
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        api = stack.enter_context(run_api(database, traces=True))
        body = {"steps": [{"operation_id": name} for name in (ICP, COMPANY, PERSON)], "inputs": [CONTEXT]}
        token = {"authorization": f"Bearer {api.insert_token(org, role='org_admin')}"}
        sent = HTTP.post(
            f"{api.url}/api/v1/submissions", json=body, headers={**token, "traceparent": f"00-{trace_id}-{PARENT}-01"}
        )
        assert sent.status_code == 200, sent.text
        (run,) = sent.json()["data"]["pipeline_runs"]
        environment = {
            "DATA_ENGINE_API_URL": api.url,
            "DATA_ENGINE_INTERNAL_API_KEY": internal_headers()["authorization"].removeprefix("Bearer "),
            "PARALLEL_API_KEY": "key-of-the-recorded-provider",
            "PARALLEL_BASE_URL": services.provider_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "CONTRACT_ORG_ID": org,
            "CONTRACT_RUN_ID": run["id"],
        }
        ended = stack.enter_context(start_process(build_command(), environment, TRIGGER))
        assert ended.wait_for_exit() == 0, ended.text
        ((found,),) = api.execute("select count(*) from company_intel_briefings where org_id = %s", [org])
        assert found == 1
    spans = {span["name"]: span for span in Collector.spans if span["trace"] == trace_id}
    submitted, ran = spans["POST /api/v1/submissions"], spans["run"]
    upsert = spans["POST /api/internal/company-intel-briefings/upsert"]
    assert submitted["parent"] == PARENT
    assert (ran["parent"], ran["dex.pipeline_run_id"]) == (submitted["id"], run["id"])
    assert spans[COMPANY]["parent"] == ran["id"]
    assert (upsert["parent"], upsert["dex.pipeline_run_id"]) == (ran["id"], run["id"])
    assert upsert["http.response.status_code"] == 200
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("route") == upsert["http.route"]]
    assert (line["trace_id"], line["pipeline_run_id"]) == (trace_id, run["id"])


def test_without_an_endpoint_nothing_of_it_is_imported(services: Services) -> None:
    """The runner passes a trace on all the same."""
    python = "import sys, api.app; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    with start_process(["python", "-c", python], {}) as process:
        process.wait_for_exit()
        assert process.text.strip() == "[]"
    script = (
        "import { traceWork, buildTraceHeaders, startTracing } from './src/tracing.ts';"
        "await (await startTracing({}, console))();"
        "console.log(await traceWork('run', {}, '00-a-b-01', async () => buildTraceHeaders()), buildTraceHeaders());"
    )
    with start_process(["node", "--import", "tsx", "--input-type=module", "-e", script], {}, TRIGGER) as process:
        process.wait_for_exit()
        assert "{ traceparent: '00-a-b-01' } {}" in process.text, process.text
