"""What one client may take of the API: headers, bodies, connections, requests; and that it ends when it is told to."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from api.settings import Limits
from scripts.processes import build_dex_command, start_process
from tests.api.loopback import INTERNAL_KEY, JWT_SECRET, Api, bearer_headers, read_error
from tests.conftest import ROOT
from tests.forked_dex import start_dex
from tests.plain_http import HTTP, find_free_port

SLUG = "icp-job-titles"
QUERY = f"/api/v1/{SLUG}/query"
Start = Callable[..., AbstractContextManager[Api]]
#: Seconds within which health is answered beside other tests; alone it takes some milliseconds.
PROMPTLY = 5.0


def connect(api: Api) -> socket.socket:
    parts = urlsplit(api.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def read_until_closed(connection: socket.socket) -> bytes:
    """Return everything the server sends until it closes; a connection that is cut off ends too."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def measure_health(api: Api) -> float:
    """Return the seconds that `/healthz` takes over a connection of its own."""
    started = time.monotonic()
    with connect(api) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert read_until_closed(connection).startswith(b"HTTP/1.1 200 ")
    return time.monotonic() - started


def build_request(token: str, body: bytes, length: int | None = None, *, more: str = "") -> bytes:
    head = f"POST {QUERY} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length or len(body)}"
    return f"{head}\r\n{more}\r\n".encode() + body


class TestHeaders:
    """Request line and headers are bounded in size and time."""

    def test_an_endless_header_is_cut_off_and_slows_nobody(self, api: Api) -> None:
        with connect(api) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
            sent = 0
            with pytest.raises(OSError):
                while sent < 50_000_000:
                    connection.sendall(b"a" * 100_000)
                    sent += 100_000
        assert sent < 20_000_000
        assert measure_health(api) < PROMPTLY

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: %b\r\n\r\n" % (b"a" * 1_000_000),
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n%b\r\n" % b"".join(b"x%d: y\r\n" % number for number in range(3000)),
            b"GET /healthz?%b HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * 20_000),
            b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: %b\r\n\r\n" % (b"a" * 17_000),
        ],
        ids=["one large header", "many small ones", "a long URL", "one byte too many"],
    )
    def test_headers_beyond_the_limit_are_431(self, api: Api, head: bytes) -> None:
        with connect(api) as connection:
            with suppress(OSError):  # the server may have closed already
                connection.sendall(head)
            answer = read_until_closed(connection)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
        assert answer == b"" or b'"code":"headers_too_large"' in answer

    def test_what_is_no_http_is_400_in_our_form(self, api: Api) -> None:
        with connect(api) as connection:
            connection.sendall(b"hello\r\n\r\n")
            answer = read_until_closed(connection)
        assert answer.startswith(b"HTTP/1.1 400 ") and b'"code":"invalid_request"' in answer
        assert b"x-content-type-options: nosniff" in answer

    def test_a_body_beside_the_wish_for_another_protocol_is_not_lost(self, api: Api, org: str) -> None:
        """As Java's HttpClient sends it to an `http://` address: its filters were ignored, or it was called no HTTP."""
        wish = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
        for body in (b'{"limit": 0}', b'{"limit": 1}' + b" " * 10_000):
            with connect(api) as connection:
                connection.sendall(build_request(api.insert_token(org), body, more=wish))
                answer = read_until_closed(connection)
            assert answer.startswith(b"HTTP/1.1 400 ") and b"without the header `upgrade`" in answer
        with connect(api) as connection:
            connection.sendall(f"GET /healthz HTTP/1.1\r\nhost: x\r\n{wish}\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")

    def test_trailers_do_not_grow_without_end(self, api: Api, org: str) -> None:
        token = api.insert_token(org)
        head = (
            f"POST {QUERY} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        with connect(api) as connection:
            connection.sendall(head.encode() + b"2\r\n{}\r\n0\r\nx: ")
            with pytest.raises(OSError):
                for _ in range(500):
                    connection.sendall(b"a" * 100_000)


class TestTime:
    """Headers, bodies and idle connections end in time."""

    @pytest.fixture
    def quick_api(self, start: Start) -> Iterator[Api]:
        with start(limits=Limits(header_seconds=1, body_seconds=2, idle_seconds=1)) as api:
            yield api

    def test_slow_and_idle_connections_are_closed(self, quick_api: Api) -> None:
        token = quick_api.insert_token(quick_api.insert_organisation())
        half_a_header = b"POST /healthz HTTP/1.1\r\nhost: x\r\n"
        unfinished = [
            b"",
            b"\r\n\r\n",
            half_a_header,
            build_request(token, b"{", length=1000),
            build_request("nobody", b"{", length=1000),
        ]
        with ExitStack() as stack:
            connections = []
            started = time.monotonic()
            for request in unfinished * 20:
                connections.append(stack.enter_context(connect(quick_api)))
                connections[-1].sendall(request)  # at once: a connection that says nothing for a second is closed
            answers = [read_until_closed(connection) for connection in connections]
            assert time.monotonic() - started < 20
        assert measure_health(quick_api) < PROMPTLY
        assert {answers[0], answers[1][:0]} == {b""}
        assert answers[2].startswith(b"HTTP/1.1 408 ")
        assert answers[3].startswith(b"HTTP/1.1 408 ") and b'"code":"request_timeout"' in answers[3]
        assert answers[4].startswith(b"HTTP/1.1 401 ")

    def test_dripping_a_body_does_not_keep_a_connection(self, quick_api: Api) -> None:
        with connect(quick_api) as connection:
            connection.sendall(build_request("nobody", b"{", length=1000))
            started = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - started < 20:
                    connection.sendall(b" ")
                    time.sleep(0.2)
        assert time.monotonic() - started < 10

    def test_a_connection_in_use_stays(self, quick_api: Api) -> None:
        with connect(quick_api) as connection:  # a client would connect again, and nobody would notice
            for _ in range(20):
                connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
                time.sleep(0.15)  # much less than the second after which it would be idle, for a busy machine

    def test_an_answer_nobody_takes_is_given_up(self, start: Start) -> None:
        with start(limits=Limits(unread_seconds=1)) as api, socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            parts = urlsplit(api.url)
            connection.connect((parts.hostname, parts.port))
            connection.sendall(b"GET /docs/files/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n" * 20)
            time.sleep(4)  # the server fills the buffers, and then nothing moves
            assert len(read_until_closed(connection)) < 20 * 1_000_000


class TestConnections:
    """As many connections as the limit says, and idle ones make room for new ones."""

    def test_idle_connections_lock_nobody_out(self, start: Start) -> None:
        with start(limits=Limits(connections=20)) as api, ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connect(api))
            for _ in range(30):
                assert measure_health(api) < PROMPTLY

    def test_requests_under_way_are_not_interrupted(self, start: Start) -> None:
        with start(limits=Limits(connections=2)) as api, ExitStack() as stack:
            token = api.insert_token(api.insert_organisation())
            busy = [stack.enter_context(connect(api)) for _ in range(2)]
            for connection in busy:
                connection.sendall(build_request(token, b"", length=2, more="expect: 100-continue\r\n"))
                assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n", "it is under way"
                connection.sendall(b"{")
            with connect(api) as third:
                refused = read_until_closed(third)
                assert b'"code":"too_many_connections"' in refused and b"retry-after: 2" in refused
            for connection in busy:
                connection.sendall(b"}")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")

    def test_few_file_descriptors_are_no_outage(self, database: str) -> None:
        few = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)); "
        command = [sys.executable, "-c", f"{few}os.execv(sys.argv[1], sys.argv[1:])"]
        command += build_dex_command("serve", "--port", "0")
        with start_process(command, build_environment(database), cwd=ROOT) as process:
            url = process.wait_for_line("serving on").split()[-1]
            parts = urlsplit(url)
            with ExitStack() as stack:
                for _ in range(300):
                    stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
                for _ in range(5):
                    assert HTTP.get(f"{url}/healthz", timeout=10).status_code == 200
            assert any(line["event"] == "limit reached" and line["limit"] == "connections" for line in process.log)


class TestPipelining:
    """Requests that a client sends before it has the responses to earlier ones wait in the socket, not in memory."""

    def test_requests_whose_answers_nobody_reads_are_not_taken(self, api: Api) -> None:
        with connect(api) as connection:
            connection.settimeout(3)
            sent = 0
            with pytest.raises(OSError):
                while sent < 40_000_000:
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 3000)
                    sent += 3000 * 35
        assert sent < 20_000_000
        assert measure_health(api) < PROMPTLY

    def test_each_is_answered_in_its_order(self, api: Api, org: str) -> None:
        token = api.insert_token(org)
        body = b'{"limit": 1, "fields": ["id"]%b}' % (b" " * 9000)  # longer than what is parsed at once
        requests = [build_request(token, body), b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n"] * 300
        with connect(api) as connection, ThreadPoolExecutor(1) as thread:
            sending = thread.submit(connection.sendall, b"".join(requests) + b"GET /last HTTP/1.0\r\n\r\n")
            answer = read_until_closed(connection)
            sending.result()
        statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
        assert statuses == [b"200", b"404"] * 300 + [b"404"]

    def test_who_waits_for_an_answer_is_not_late(self, start: Start) -> None:
        """The rest of a body that the server does not read yet is not the client's delay."""
        with start(limits=Limits(header_seconds=1, body_seconds=1, lock_seconds=5)) as api:
            token = api.insert_token(api.insert_organisation())
            body = b"{}" + b" " * 1_000_000
            with connect(api) as connection, ThreadPoolExecutor(1) as thread:
                with api.hold_locks("lock table icp_job_titles in access exclusive mode"):
                    sending = thread.submit(
                        connection.sendall,
                        build_request(token, b"{}") + build_request(token, body, more="connection: close\r\n"),
                    )
                    time.sleep(3)
                answer = read_until_closed(connection)
                sending.result()
            assert answer.count(b"HTTP/1.1 200 ") == 2


def test_however_many_ask_for_readiness_one_check_runs_at_a_time(api: Api) -> None:
    """Each had one of its own: the later ones were told, after seconds, that the database does not answer."""
    with ExitStack() as stack:
        asking = [stack.enter_context(connect(api)) for _ in range(800)]
        for connection in asking:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers = [read_until_closed(connection) for connection in asking]
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 200 "}


class TestRate:
    """429 beyond the rate of an address."""

    def test_a_flood_is_refused_and_the_internal_key_is_not(self, start: Start) -> None:
        with start(limits=Limits(requests_per_second=1)) as api:
            answers = [api.client.get("/api/v1/coverage") for _ in range(60)]  # refused at once: no key, or too many
            refused = [answer for answer in answers if answer.status_code == 429]
            assert 20 <= len(refused) < 60
            read_error(refused[0], 429, "too_many_requests")
            assert int(refused[0].headers["retry-after"]) >= 1
            assert [api.client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
            org = api.insert_organisation()
            assert {api.query(SLUG, org).status_code for _ in range(30)} == {200}

    def test_guessing_tokens_ends_in_429_without_a_query(self, start: Start) -> None:
        with start(limits=Limits(failed_tokens_per_minute=5)) as api:
            token = api.insert_token(api.insert_organisation())
            good = bearer_headers(token)
            assert api.post(QUERY, {}, headers=good).status_code == 200
            statuses = [api.post(QUERY, {}, headers=bearer_headers(f"dex_{n}")).status_code for n in range(20)]
            assert statuses[:5] == [401] * 5 and set(statuses[6:]) == {429}
            with api.hold_locks("lock table api_tokens in access exclusive mode"):  # a query would be answered 503
                answer = api.post(QUERY, {}, headers=bearer_headers("dex_another"))
            read_error(answer, 429, "too_many_failures")
            assert answer.headers["retry-after"]
            assert api.post(QUERY, {}, headers=good).status_code == 200
            assert (
                api.post(QUERY, {}, headers=bearer_headers(INTERNAL_KEY, **{"x-internal-org-id": "x"})).status_code
                == 400
            )


class TestEnd:
    """SIGTERM ends the process within its grace time, whatever clients do."""

    @pytest.mark.parametrize("lock", [False, True])
    def test_a_client_cannot_keep_it_from_stopping(self, database: str, lock: bool) -> None:
        environment = build_environment(database, DEX_LIMIT_SHUTDOWN_SECONDS="2")
        with start_dex("serve", "--port", "0", environment=environment) as process:
            url = process.wait_for_line("serving on").split()[-1]
            parts = urlsplit(url)
            api = Api(url, database, (), httpx.Client(verify=False))
            token = api.insert_token(api.insert_organisation())
            with ExitStack() as stack:
                if lock:
                    stack.enter_context(api.hold_locks("lock table icp_job_titles in access exclusive mode"))
                for request in (b"", b"GET / HT", build_request(token, b"{", length=9), build_request(token, b"{}")):
                    connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
                    connection.sendall(request)
                time.sleep(0.5)
                started = time.monotonic()
                process.popen.send_signal(signal.SIGTERM)
                process.wait_for_exit(30)
                assert time.monotonic() - started < 20, "two seconds of grace, and what a busy machine adds"


def build_environment(database: str, **variables: str) -> dict[str, str]:
    """Build the environment in which `dex serve` serves a database."""
    needed = {"DATABASE_URL": database, "INTERNAL_API_KEY": INTERNAL_KEY, "JWT_SECRET": JWT_SECRET}
    return {**os.environ, **needed, **variables}


def test_every_answer_carries_the_security_headers(api: Api, org: str) -> None:
    answers = [
        api.client.get("/healthz"),
        api.client.get("/nothing"),
        api.client.get("/docs"),
        api.client.get("/docs/files/swagger-ui.css"),
        api.client.put(QUERY),
        api.post(QUERY, {}),
        api.query(SLUG, org),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "cache-control" in answer.headers and "server" not in answer.headers
        assert answer.headers["strict-transport-security"]


def test_the_documentation_loads_nothing_from_elsewhere(api: Api) -> None:
    page = api.client.get("/docs")
    assert "//" not in page.text
    assert "script-src 'self';" in page.headers["content-security-policy"]
    for path in ("/docs/files/swagger-ui-bundle.js", "/docs/files/swagger-ui.css", "/docs/start.js"):
        answer = api.client.get(path)
        assert answer.status_code == 200 and path.removeprefix("/") in page.text
    assert "openapi.json" in api.client.get("/docs/start.js").text


def test_the_operator_can_have_an_address_of_its_own(start: Start) -> None:
    port = find_free_port()
    with start(operator_address=f"127.0.0.1:{port}") as api:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert api.client.get(path).status_code == 404, path
            assert HTTP.get(f"http://127.0.0.1:{port}{path}", timeout=30).status_code == 200, path
        assert HTTP.post(f"http://127.0.0.1:{port}{QUERY}", timeout=30).status_code == 404
        assert api.query(SLUG, api.insert_organisation()).status_code == 200
