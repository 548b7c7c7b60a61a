"""Agents: the official client against the real server, over HTTP with a tenant's token and over stdio."""

import gzip
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from api.mcp.arguments import ANSWER_BYTES
from tests import world
from tests.api.loopback import ADMIN_KEY, Api, bearer_headers, internal_headers, read_error, run_api, session_jwt
from tests.api.test_questions import list_questions
from tests.database.conftest import compile_text
from tests.forked_dex import find_dex

ROOT = Path(__file__).resolve().parents[2]
SPEC, SLUG = "company_intel_briefings", "company-intel-briefings"
MODES = ("auto", "legacy")
UNKNOWN = "3f0c3a0e-6a58-4f0e-9a52-1f4c6a3f1c11"


@asynccontextmanager
async def connect(api: Api, bearer: str, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=bearer_headers(bearer, **headers), timeout=60, verify=False) as http,
        Client(streamable_http_client(f"{api.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def call(client: Client, name: str, **arguments: Any) -> Any:
    """Return the answer of a tool, which is no error and not larger than it may be."""
    result = await client.call_tool(name, arguments)
    (content,) = result.content
    assert not result.is_error, content.text
    assert len(json.dumps(content.text)) <= arguments.get("max_bytes", ANSWER_BYTES)
    return json.loads(content.text)


async def call_wrongly(client: Client, name: str, **arguments: Any) -> Mapping[str, Any]:
    result = await client.call_tool(name, arguments)
    assert result.is_error
    error = json.loads(result.content[0].text)
    assert error["error"] and error["hint"], error
    return dict(error)


def insert_rows(api: Api, org: str, number: int, size: int = 10) -> list[str]:
    ids = []
    for place in range(number):
        document = {"place": place, "price": 1.10, "text": "x" * size}
        body = {"company_domain": f"c{place}.example.com", "client_company_name": "C", "raw_parallel_output": document}
        answer = api.upsert(SLUG, body, org)
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["data"]["id"])
    return ids


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_finds_its_way(api: Api, org: str, mode: str) -> None:
    ids = insert_rows(api, org, 3)
    async with connect(api, api.insert_token(org), mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"list_specs", "describe", "query", "get", "explain", "coverage", "costs"} == tools.keys()
        assert all(tool.annotations.read_only_hint for tool in tools.values())
        assert SPEC in tools["query"].input_schema["properties"]["spec"]["enum"]
        specs = (await call(client, "list_specs"))["data"]
        assert {spec["spec"] for spec in specs} == {plan.name for plan in api.plans}
        facts = (await call(client, "describe", spec=SPEC))["data"]
        domain = next(column for column in facts["columns"] if column["name"] == "company_domain")
        assert "prefix" in domain["operators"] and domain["normalized"] == ["domain"]
        page = await call(client, "query", spec=SPEC, filters={"company_domain": {"prefix": "c1."}}, count="exact")
        assert [row["id"] for row in page["data"]] == [ids[1]] and page["meta"]["count"] == 1
        row = (await call(client, "get", spec=SPEC, id=ids[1]))["data"]
        assert row == page["data"][0] == api.query(SLUG, org, {"id": ids[1]}).json()["data"][0]
        assert (await call(client, "coverage", spec=SPEC))["data"] == []
        assert (await call(client, "costs"))["data"] == []


async def test_an_agent_asks_why(api: Api, org: str) -> None:
    row_id = insert_rows(api, org, 1)[0]
    token = api.insert_token(org)
    headers = bearer_headers(token)
    async with connect(api, token) as client:
        explained = (await call(client, "explain", spec=SPEC, id=row_id))["data"]
        assert explained == api.client.get(f"/api/v1/{SLUG}/{row_id}/explain", headers=headers).json()["data"]
        assert (explained["id"], explained["state"]) == (row_id, "unsourced")
        (cell,) = (await call(client, "explain", spec=SPEC, id=row_id, field="company_domain"))["data"]["cells"]
        assert cell["value"] == "c0.example.com"
        known = (await call(client, "explain", spec=SPEC, key={"company_domain": "nobody.example"}))["data"]
        assert (known["id"], known["state"]) == (None, "never_asked")


async def test_coverage_and_costs_are_those_of_the_endpoints(api: Api, org: str) -> None:
    _, run = api.insert_submission(org)
    with psycopg.connect(api.dsn, autocommit=True) as connection:
        world.insert_step(connection, run, payload=world.build_payload("company.derive.intel_briefing", {}))
    api.execute(
        "insert into research_orders (org_id, operation, provider, processor, question, price, cost, status,"
        " provider_run_id, ended_at) values (%s, 'x.y', 'parallel', 'pro', repeat('a', 64), 2, 1.25, 'completed', 'r',"
        " now())",
        [org],
    )
    token = api.insert_token(org)
    headers = bearer_headers(token)
    async with connect(api, token) as client:
        for tool in ("coverage", "costs"):
            expected = api.client.get(f"/api/v1/{tool}", headers=headers).json()["data"]
            assert expected and (await call(client, tool))["data"] == expected
        assert (await call(client, "costs", month="1999-01"))["data"] == []


async def test_pages_meet_each_row_once_within_the_bytes(api: Api, org: str) -> None:
    """Documents of 30 KB are left out unless they are named; named, a page ends early and the next one goes on."""
    ids = insert_rows(api, org, 12, 30_000)
    async with connect(api, api.insert_token(org)) as client:
        page = await call(client, "query", spec=SPEC)
        assert len(page["data"]) == 12 and page["meta"]["left_out"]["columns"] == ["raw_parallel_output"]
        assert "raw_parallel_output" not in page["data"][0]
        met, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            given: dict[str, Any] = {"cursor": cursor} if cursor else {}
            page = await call(
                client, "query", spec=SPEC, fields=["id", "raw_parallel_output"], max_bytes=70_000, **given
            )
            met += [row["id"] for row in page["data"]]
            assert all(len(row["raw_parallel_output"]["text"]) == 30_000 for row in page["data"])
            cursor, pages = page["meta"]["next_cursor"], pages + 1
        assert sorted(met) == sorted(ids) and pages == 6
        paths = await call(client, "query", spec=SPEC, fields=["raw_parallel_output.place"], limit=5)
        assert [row["raw_parallel_output.place"] for row in paths["data"]] == [11, 10, 9, 8, 7]


async def test_what_does_not_fit_is_shortened_and_says_so(api: Api, org: str) -> None:
    row_id = insert_rows(api, org, 1, 60_000)[0]
    async with connect(api, api.insert_token(org)) as client:
        row = (await call(client, "get", spec=SPEC, id=row_id))["data"]
        assert row["id"] == row_id and row["company_domain"] == "c0.example.com"
        assert "characters)" in row["raw_parallel_output"]["text"]
        whole = (await call(client, "get", spec=SPEC, id=row_id, max_bytes=200_000))["data"]
        assert len(whole["raw_parallel_output"]["text"]) == 60_000


async def test_the_example_of_filters_is_one_that_is_taken(api: Api, org: str) -> None:
    async with connect(api, api.insert_token(org)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        description = tools["query"].input_schema["properties"]["filters"]["description"]
        example = json.loads(description[description.index("{") : description.rindex("}") + 1])
        assert example and (await call(client, "query", spec=SPEC, filters=example))["data"] == []


@pytest.mark.parametrize("most", [1_000, 2_000])
async def test_a_cursor_stays_whole_however_short_the_answer(api: Api, org: str, most: int) -> None:
    """A row of many long columns is shortened; the cursor after it is not, since a part of it would be refused."""
    ids = insert_rows(api, org, 5)
    text = "repeat('x', 900)"
    api.execute(f"update company_intel_briefings set client_company_description = {text} where org_id = %s", [org])
    async with connect(api, api.insert_token(org)) as client:
        page = await call(client, "query", spec=SPEC, max_bytes=most)
        rows = len(page["data"])
        while cursor := page["meta"]["next_cursor"]:
            page = await call(client, "query", spec=SPEC, max_bytes=most, cursor=cursor)
            rows += len(page["data"])
    assert rows == len(ids)


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (LONG, {}),
        ("query", {LONG: 1}),
        ("describe", {"spec": LONG}),
        ("query", {"spec": SPEC, "filters": {LONG: 1}}),
        ("query", {"spec": SPEC, "filters": {"\0" * 100_000: 1}}),
        ("query", {"spec": SPEC, "fields": [f"column_{number}" for number in range(200)]}),
        ("explain", {"spec": SPEC, "key": {"company_domain": LONG}}),
        ("get", {"spec": SPEC, "id": UNKNOWN, "fields": [LONG]}),
    ],
)
async def test_an_error_is_no_longer_than_an_answer(api: Api, org: str, tool: str, arguments: dict[str, Any]) -> None:
    async with connect(api, api.insert_token(org), "legacy") as client:  # newer clients send the name as a header, too
        result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert result.is_error and len(json.dumps(content.text, ensure_ascii=False).encode()) <= ANSWER_BYTES
    error = json.loads(content.text)
    assert error["error"] and error["code"] in ("not_found", "unknown_field", "unknown_column", "invalid_body")


async def test_nothing_leaves_the_organisation(api: Api, org: str) -> None:
    """Every operator of every column, while another organisation has the same rows."""
    mine = insert_rows(api, org, 4)
    other = api.insert_organisation()
    foreign = insert_rows(api, other, 4)
    plan = next(plan for plan in api.plans if plan.name == SPEC)
    row = api.query(SLUG, org, {"limit": 1}).json()["data"][0]
    async with connect(api, api.insert_token(org)) as client:
        for question in list_questions(plan, row):
            page = await call(client, "query", spec=SPEC, filters=question)
            assert {one["id"] for one in page["data"]} <= set(mine), question
        assert (await call_wrongly(client, "get", spec=SPEC, id=foreign[0]))["code"] == "not_found"
        error = await call_wrongly(client, "query", spec=SPEC, filters={"org_id": other})
        assert error["code"] == "other_organisation"


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("queries", {}, "did you mean `query`?"),
        ("query", {}, "spec"),
        ("query", {"spec": "company_intel_briefing"}, "did you mean `company_intel_briefings`?"),
        ("query", {"spec": SPEC, "filter": {}}, "did you mean `filters`?"),
        ("query", {"spec": SPEC, "filters": {"company_domian": "x"}}, "did you mean `company_domain`?"),
        ("query", {"spec": SPEC, "filters": {"company_domain": {"like": "x"}}}, "unknown operator"),
        ("query", {"spec": SPEC, "limit": 0}, "the tool's schema describes the arguments of `query`"),
        ("query", {"spec": SPEC, "filters": {"limit": 1000}}, "give `limit` beside `filters`"),
        ("query", {"spec": SPEC, "filters": {"offset": 1}}, "`filters`: `offset` is no column"),
        ("explain", {"spec": SPEC}, "give either `id`"),
        ("explain", {"spec": SPEC, "id": UNKNOWN, "key": {"company_domain": "x.com"}}, "give either `id`"),
        ("explain", {"spec": SPEC, "key": {"company_domain": "x.com"}, "field": "processor"}, "give either `id`"),
        ("query", {"spec": SPEC, "cursor": "x"}, "cursor"),
        ("query", {"spec": SPEC, "max_bytes": 10**9}, "max_bytes"),
        ("get", {"spec": SPEC, "id": "1"}, "UUID"),
        ("costs", {"month": "november"}, "month"),
    ],
)
async def test_a_wrong_word_is_named(api: Api, org: str, tool: str, arguments: Any, sentence: str) -> None:
    async with connect(api, api.insert_token(org)) as client:
        error = await call_wrongly(client, tool, **arguments)
    assert sentence in json.dumps(error), error


class TestWhoMay:
    async def test_every_kind_of_tenant(self, api: Api, org: str) -> None:
        ids = insert_rows(api, org, 1)
        sent = internal_headers(org)
        callers: list[tuple[str, dict[str, str]]] = [
            (api.insert_token(org), {}),
            (session_jwt(org), {}),
            (sent["authorization"].removeprefix("Bearer "), {"x-internal-org-id": org}),
        ]
        for bearer, headers in callers:
            async with connect(api, bearer, **headers) as client:
                assert [row["id"] for row in (await call(client, "query", spec=SPEC))["data"]] == ids

    def test_nobody_else(self, api: Api, org: str) -> None:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        read_error(api.post("/mcp", message), 401, "missing_token")
        read_error(api.post("/mcp", message, headers=bearer_headers("dex_unknown")), 401, "invalid_token")
        read_error(api.post("/mcp", message, headers=bearer_headers(ADMIN_KEY)), 401, "tenant_required")
        revoked = bearer_headers(api.insert_token(org, revoked_at="2026-01-01"))
        read_error(api.post("/mcp", message, headers=revoked), 401, "revoked_token")

    def test_there_is_no_session_to_keep(self, api: Api, org: str) -> None:
        """Any process may answer any request: no session id is given, and none is asked for."""
        headers = bearer_headers(
            api.insert_token(org), accept="application/json, text/event-stream", **{"content-type": "application/json"}
        )
        answer = api.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers)
        assert answer.status_code == 200 and "mcp-session-id" not in answer.headers
        assert len(answer.json()["result"]["tools"]) >= 6
        assert api.client.get("/mcp", headers=headers).status_code == 405


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


class TestMessages:
    @pytest.fixture
    def headers(self, api: Api, org: str) -> dict[str, str]:
        sent = {"accept": "application/json", "content-type": "application/json"}
        return bearer_headers(api.insert_token(org), **sent)

    def test_gzip_is_taken_as_by_every_endpoint(self, api: Api, headers: dict[str, str]) -> None:
        packed = gzip.compress(json.dumps(LIST).encode())
        answer = api.post("/mcp", packed, headers={**headers, "content-encoding": "gzip"})
        assert answer.json()["result"]["tools"]
        read_error(api.post("/mcp", packed, headers={**headers, "content-encoding": "br"}), 415, "unsupported_encoding")
        read_error(api.post("/mcp", packed[:9], headers={**headers, "content-encoding": "gzip"}), 422, "invalid_gzip")

    @pytest.mark.parametrize("version", [{}, {"mcp-protocol-version": "2026-07-28"}], ids=["older", "newest"])
    def test_a_message_that_is_none_is_told(self, api: Api, headers: dict[str, str], version: dict[str, str]) -> None:
        for body, code, request_id, said in (
            (b"{", -32700, None, "the body is not JSON"),
            ([LIST], -32600, None, "the body is no JSON object"),
            ({**LIST, "id": None}, -32600, None, "`id` is neither a string nor a whole number"),
            ({**LIST, "id": 1.5}, -32600, None, "`id` is neither a string nor a whole number"),
            ({**LIST, "jsonrpc": "1.0"}, -32600, 1, '`jsonrpc` is not "2.0"'),
            ({**LIST, "method": 5}, -32600, 1, "`method` is not a string"),
            ({**LIST, "params": []}, -32600, 1, "`params` is no JSON object"),
            ({"jsonrpc": "2.0", "id": 1, "result": {}}, -32600, 1, "`method` is not a string"),
        ):
            answer = api.post("/mcp", body, headers={**headers, **version})
            error = answer.json()
            assert (answer.status_code, error["id"], error["error"]["code"]) == (400, request_id, code), body
            assert error["error"]["message"].startswith(said) and error["error"]["data"]["hint"]
        notified = api.post("/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)
        assert notified.status_code == 202


async def test_a_new_spec_appears_by_itself(database: str) -> None:
    from tests.api.test_questions import TEXT

    with run_api(database, (compile_text(TEXT),)) as api:
        org = api.insert_organisation()
        async with connect(api, api.insert_token(org)) as client:
            assert [spec["spec"] for spec in (await call(client, "list_specs"))["data"]] == ["rounds"]
            assert (await call(client, "describe", spec="rounds"))["data"]["search"] == ["name", "tags"]
            error = await call_wrongly(client, "query", spec="rounds")
            assert error["code"] == "table_misfit"  # its table is not there yet


@pytest.mark.parametrize("mode", MODES)
async def test_over_stdio(api: Api, org: str, mode: str) -> None:
    ids = insert_rows(api, org, 2)
    environment = {**os.environ, "DATABASE_URL": api.dsn, "DEX_TOKEN": api.insert_token(org)}
    for options, variables in ((["--org", org], {"DEX_TOKEN": ""}), ([], {})):
        program = StdioServerParameters(
            command=str(find_dex()),
            args=["mcp", *options],
            env={**environment, **variables},
            cwd=str(ROOT),
        )
        async with Client(program, mode=mode) as client:
            assert {row["id"] for row in (await call(client, "query", spec=SPEC))["data"]} == set(ids)
            assert (await call_wrongly(client, "get", spec=SPEC, id=org))["code"] == "not_found"
