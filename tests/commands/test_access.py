"""`dex token` and `dex org`: somebody without SQL gets a token, uses it, and ends it."""

import json
import subprocess
from typing import Any

import pytest

from tests.api.loopback import bearer_headers, read_error, run_api
from tests.forked_dex import run_dex_text

NOBODY = "8b2f1f1e-0000-4000-8000-000000000000"


def run_dex(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_dex_text(*arguments, environment={"DATABASE_URL": dsn, "COLUMNS": "200"})


def read_json(dsn: str, *arguments: str) -> Any:
    ended = run_dex(dsn, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_from_an_organisation_to_a_token_that_ends(database: str) -> None:
    organisation = read_json(database, "org", "create", "Acme, Inc.")
    assert (organisation["name"], organisation["slug"]) == ("Acme, Inc.", "acme-inc")
    org = organisation["id"]
    assert [one["id"] for one in read_json(database, "org", "list")] == [org]
    made = read_json(
        database, "token", "create", "--org", org, "--name", "ci", "--role", "org_admin", "--expires", "90d"
    )
    assert set(made) == {"id", "token"} and len(made["token"]) > 40
    plain = run_dex(database, "token", "create", "--org", org, "--name", "console")
    (shown,) = plain.stdout.split()
    with run_api(database) as api:
        query = "/api/v1/icp-job-titles/query"
        for token in (made["token"], shown):
            assert api.post(query, {}, headers=bearer_headers(token)).status_code == 200
        listed = run_dex(database, "token", "list", "--org", org, "--json").stdout
        assert made["token"] not in listed and shown not in listed and "hash" not in listed
        tokens = {one["name"]: one for one in json.loads(listed)}
        assert (tokens["ci"]["role"], tokens["ci"]["state"]) == ("org_admin", "good")
        assert tokens["ci"]["expires_at"] and tokens["ci"]["last_used_at"] and not tokens["console"]["expires_at"]
        assert run_dex(database, "token", "revoke", made["id"]).returncode == 0
        read_error(api.post(query, {}, headers=bearer_headers(made["token"])), 401, "revoked_token")
        assert api.post(query, {}, headers=bearer_headers(shown)).status_code == 200
        assert "revoked" in run_dex(database, "token", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["token", "create", "--org", NOBODY, "--name", "x"], 2, "no organisation"),
        (["token", "create", "--org", "x", "--name", "x"], 2, "not a UUID; `dex org list`"),
        (
            ["token", "create", "--org", NOBODY, "--name", "x", "--expires", "soon"],
            2,
            "90d",
        ),
        (["token", "revoke", NOBODY], 1, "no API token"),
        (["org", "create", " "], 2, "blank"),
        (["org", "create", "x" * 201], 2, "the name has 201 characters, and takes at most 200"),
        (["org", "create", "Acme\nInc."], 2, "character 5 of the name is U+000A"),
        (["token", "create", "--org", NOBODY, "--name", "x\u202e"], 2, "character 2 of the name is U+202E"),
        (["org", "budget", NOBODY, "--usd", "1", "--operation", "company.derive.nothing"], 2, "no spec executes"),
        (["org", "budget", NOBODY, "--usd", "1e400"], 2, "no amount of USD"),
        (["costs", "--month", "2026-13"], 2, "no month such as 2026-11"),
        (["orders", "--status", "lost"], 2, "not_accepted"),
        *(
            ([*command, "--org", NOBODY], 2, "there is no organisation")
            for command in (
                ["query", "icp_job_titles"],
                ["backfill", "icp_job_titles"],
                ["verify", "icp_job_titles"],
                ["coverage"],
                ["coverage", "--columns"],
                ["costs"],
                ["orders"],
                ["runs", "list"],
                ["token", "list"],
                ["export-steps", "--to", "steps"],
                ["mcp"],
            )
        ),
    ],
)
def test_what_is_wrong_is_named(shared_database: str, arguments: list[str], status: int, sentence: str) -> None:
    ended = run_dex(shared_database, *arguments)
    assert (ended.returncode, sentence in ended.stderr) == (status, True), ended.stderr


def test_two_organisations_have_two_slugs(database: str) -> None:
    assert run_dex(database, "org", "create", "Acme").returncode == 0
    again = run_dex(database, "org", "create", "ACME!")
    assert (again.returncode, "`acme`" in again.stderr) == (1, True)
