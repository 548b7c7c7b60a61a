"""Clients made of the OpenAPI document by the usual generators, each asking the real API a typed question."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.loopback import Api

TRIGGER = Path(__file__).resolve().parents[2] / "trigger"

PYTHON = """
import sys
sys.path.insert(0, sys.argv[3])
from client import AuthenticatedClient
from client.api.company_intel_briefings import get_company_intel_briefing, query_company_intel_briefings
from client.models import (
    CompanyIntelBriefingCompanyDomainComparison as Comparison, CompanyIntelBriefingPage, CompanyIntelBriefingQuery
)

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
question = CompanyIntelBriefingQuery(company_domain=Comparison(prefix="a."), limit=10)
page = query_company_intel_briefings.sync(client=client, body=question)
assert isinstance(page, CompanyIntelBriefingPage), page
(row,) = page.data
assert row.company_domain == "a.example.com", row
answer = get_company_intel_briefing.sync(row.id, client=client)
print(answer.data.company_domain)
"""

TYPESCRIPT = """
import type { components, paths } from "./api.ts";

type Question = components["schemas"]["CompanyIntelBriefingQuery"];
type Answer = paths["/api/v1/company-intel-briefings/query"]["post"]["responses"]["200"]["content"]["application/json"];

const question: Question = { company_domain: { prefix: "a." }, order: ["-updated_at"], limit: 10 };
// @ts-expect-error a column that is not there
export const wrong: Question = { company_domian: "a.example.com" };
const answer = await fetch(`${process.argv[2]}/api/v1/company-intel-briefings/query`, {
  method: "POST",
  headers: { authorization: `Bearer ${process.argv[3]}`, "content-type": "application/json" },
  body: JSON.stringify(question),
});
const page = (await answer.json()) as Answer;
const row: components["schemas"]["CompanyIntelBriefingShown"] | undefined = page.data[0];
console.log(row?.company_domain);
"""


@pytest.fixture(scope="module")
def document(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document as a file."""
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_text(api.client.get("/openapi.json").text)
    return file


@pytest.fixture
def token(api: Api, org: str) -> str:
    for domain in ("a.example.com", "b.example.com"):
        body = {"company_domain": domain, "client_company_name": "C", "raw_parallel_output": {"n": 1}}
        assert api.upsert("company-intel-briefings", body, org).status_code == 200
    return api.insert_token(org)


def run(*command: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_names_are_those_of_the_rows(document: Path) -> None:
    schemas = json.loads(document.read_text())["components"]["schemas"]
    names = ("", "Shown", "Query", "Page", "Upsert", "UpsertAnswer", "Export", "Answer", "Change", "Changes")
    assert {f"CompanyIntelBriefing{name}" for name in names} <= schemas.keys()


def test_a_python_client(api: Api, document: Path, token: str, tmp_path: Path) -> None:
    client = tmp_path / "client"
    made = run(
        *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"),
        *("--path", str(document), "--output-path", str(client)),
    )
    assert "WARNING" not in made.upper(), made
    program = tmp_path / "ask.py"
    program.write_text(PYTHON)
    assert run(sys.executable, str(program), api.url, token, str(tmp_path)).strip() == "a.example.com"


def test_a_typescript_client(api: Api, document: Path, token: str, tmp_path: Path) -> None:
    """The types are checked by the compiler that the runner uses; the program runs as the runner does."""
    tools = TRIGGER / "node_modules"
    types = tmp_path / "api.ts"
    made = run(str(tools / ".bin" / "openapi-typescript"), str(document), "--output", str(types))
    assert "warn" not in made.lower(), made
    program = tmp_path / "ask.ts"
    program.write_text(TYPESCRIPT)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    options = ("--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--allowImportingTsExtensions")
    roots = ("--typeRoots", str(tools / "@types"), "--types", "node", "--skipLibCheck")
    run(str(tools / ".bin" / "tsc"), *options, *roots, str(program))
    loader = (tools / "tsx" / "dist" / "loader.mjs").as_uri()
    assert run("node", "--import", loader, str(program), api.url, token).strip() == "a.example.com"
