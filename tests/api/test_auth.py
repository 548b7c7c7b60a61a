"""Which callers are authenticated, as whom, and with which errors the others are refused."""

import base64
import json
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.api.loopback import (
    ADMIN_KEY,
    ADMIN_SECRET,
    INTERNAL_KEY,
    Api,
    admin_jwt,
    bearer_headers,
    insert_admin,
    internal_headers,
    read_error,
    session_jwt,
)

UPSERT = "/api/internal/company-intel-briefings/upsert"
QUERY = "/api/v1/company-intel-briefings/query"
ROW = {"company_domain": "example.com", "raw_parallel_output": {}}

INTERNAL_PATHS = [
    UPSERT,
    "/api/internal/pipeline-runs/claim",
    "/api/internal/pipeline-runs/heartbeat",
    "/api/internal/pipeline-runs/get",
    "/api/internal/pipeline-runs/update-status",
    "/api/internal/step-results/update",
    "/api/internal/step-results/mark-remaining-skipped",
    "/api/internal/step-results/normalize-inputs",
    "/api/internal/submissions/sync-status",
    "/api/internal/submissions/dispatch",
]


def build_unsigned_jwt(claims: dict[str, Any]) -> str:
    """A JWT with `alg: none`."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


@pytest.mark.parametrize("path", INTERNAL_PATHS)
@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, "Missing authorization token"),
        ({"authorization": ""}, "Missing authorization token"),
        ({"authorization": "Bearer"}, "Missing authorization token"),
        ({"authorization": INTERNAL_KEY}, "Missing authorization token"),
        ({"authorization": f"Basic {INTERNAL_KEY}"}, "Missing authorization token"),
        (bearer_headers("wrong"), "Invalid internal API key"),
        (bearer_headers(INTERNAL_KEY + "x"), "Invalid internal API key"),
        (bearer_headers(INTERNAL_KEY[:-1]), "Invalid internal API key"),
        (bearer_headers("schlüssel"), "Invalid internal API key"),
        (bearer_headers(ADMIN_KEY), "Invalid internal API key"),
    ],
)
def test_internal_endpoints_want_the_internal_key(api: Api, path: str, headers: dict[str, str], error: str) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = api.client.post(path, headers=encoded, content=b"not even JSON")
    assert (answer.status_code, answer.json()["error"]) == (401, error)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["hint"]


def test_coverage_wants_the_internal_key(api: Api) -> None:
    assert api.client.get("/api/internal/coverage").status_code == 401
    assert api.client.get("/api/internal/coverage", headers=internal_headers()).json() == {"data": []}


def test_an_upsert_wants_an_organisation(api: Api) -> None:
    answer = api.post(UPSERT, ROW, headers=internal_headers())
    assert answer.status_code == 401
    assert answer.json()["error"] == "Missing x-internal-org-id for internal authorization"


@pytest.mark.parametrize(
    "value", ["x", "123", "b0293785-aa7a-4234-8201-cc47305295f", "{b0293785-aa7a-4234-8201-cc473}"]
)
def test_an_organisation_that_is_no_uuid_is_400(api: Api, value: str) -> None:
    answer = api.post(UPSERT, ROW, headers=internal_headers(value))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert api.post(QUERY, {}, headers=internal_headers(value)).status_code == 400


def test_the_scheme_is_not_case_sensitive(api: Api, org: str) -> None:
    headers = {"authorization": f"bearer {INTERNAL_KEY}", "x-internal-org-id": org}
    assert api.post(QUERY, {}, headers=headers).status_code == 200


def wait_for_use(api: Api, org: str) -> list[Any]:
    """Wait until the use of the organisation's token is noted, which no request does; return time and version."""
    deadline = time.monotonic() + 20
    noted = "select last_used_at, xmin::text from api_tokens where org_id = %s and last_used_at > now() - interval '1m'"
    while not (rows := api.execute(noted, [org])):
        assert time.monotonic() < deadline, "the use of the token was not noted"
        time.sleep(0.01)
    return rows


class TestTenant:
    """A query as a tenant."""

    def test_internal_key_with_an_organisation(self, api: Api, org: str) -> None:
        assert api.post(QUERY, {}, headers=internal_headers(org)).status_code == 200
        assert api.post(QUERY, {}, headers=internal_headers()).status_code == 401

    def test_a_session(self, api: Api, org: str) -> None:
        assert api.post(QUERY, {}, headers=bearer_headers(session_jwt(org))).status_code == 200

    def test_a_session_of_a_clock_that_is_a_little_ahead(self, api: Api, org: str) -> None:
        for ahead, status in ((10, 200), (120, 401)):
            moment = int(time.time()) + ahead
            session = session_jwt(org, iat=moment, nbf=moment)
            assert api.post(QUERY, {}, headers=bearer_headers(session)).status_code == status

    @pytest.mark.parametrize("seconds", [1, 20])
    def test_a_session_or_a_super_admin_that_has_just_expired(self, api: Api, org: str, seconds: int) -> None:
        expired = int(time.time()) - seconds
        for token in (session_jwt(org, exp=expired), admin_jwt(sub=insert_admin(api), exp=expired)):
            answer = api.post(QUERY, {"org_id": org}, headers=bearer_headers(token))
            assert read_error(answer, 401, "expired_token")["error"] == "Session token has expired"

    @pytest.mark.parametrize(
        ("claims", "error"),
        [
            ({"type": "super_admin"}, "Invalid JWT type for tenant endpoints"),
            ({"type": "refresh"}, "Invalid JWT type for tenant endpoints"),
            ({"type": None}, "Invalid JWT type for tenant endpoints"),
            ({"exp": 1}, "Session token has expired"),
            ({"exp": None}, "Session token lacks `exp`"),
            ({"exp": "soon"}, "Invalid session token"),
            ({"sub": None}, "Session token lacks `sub` or a valid `org_id`"),
            ({"org_id": None}, "Session token lacks `sub` or a valid `org_id`"),
            ({"org_id": "nobody"}, "Session token lacks `sub` or a valid `org_id`"),
            ({"company_id": "nobody"}, "Session token holds an invalid `company_id`"),
            ({"nbf": 9_999_999_999}, "Invalid session token"),
        ],
    )
    def test_a_session_that_does_not_hold(self, api: Api, org: str, claims: dict[str, Any], error: str) -> None:
        answer = api.post(QUERY, {}, headers=bearer_headers(session_jwt(**{"org_id": org} | claims)))
        assert (answer.status_code, answer.json()["error"]) == (401, error)
        assert answer.json()["hint"]

    def test_a_session_signed_by_somebody_else(self, api: Api, org: str) -> None:
        good = session_jwt(org)
        head, body, signature = good.split(".")
        tokens = [
            session_jwt(org, secret="another secret, just as long as the real one"),
            session_jwt(org, secret=ADMIN_SECRET),
            session_jwt(org, algorithm="HS384"),
            session_jwt(org, algorithm="HS512"),
            build_unsigned_jwt({"type": "session", "sub": "x", "org_id": org, "exp": int(time.time()) + 600}),
            f"{head}.{body}.",
            f"{head}.{body}.{signature[::-1]}",
            f"{head}.{session_jwt(str(uuid.uuid4())).split('.')[1]}.{signature}",
        ]
        for token in tokens:
            answer = api.post(QUERY, {}, headers=bearer_headers(token))
            assert (answer.status_code, answer.json()["error"]) == (401, "Invalid session token"), token

    def test_an_api_token(self, api: Api, org: str) -> None:
        assert api.post(QUERY, {}, headers=bearer_headers(api.insert_token(org))).status_code == 200
        later = "2099-01-01T00:00:00Z"
        assert api.post(QUERY, {}, headers=bearer_headers(api.insert_token(org, expires_at=later))).status_code == 200

    def test_an_api_token_that_does_not_hold(self, api: Api, org: str) -> None:
        past = "2020-01-01T00:00:00Z"
        for token, error in [
            ("dex_unknown", "Invalid API token"),
            ("a.b.c", "Invalid API token"),
            (api.insert_token(org, revoked_at=past), "API token has been revoked"),
            (api.insert_token(org, expires_at=past), "API token has expired"),
            (api.insert_token(org)[:-1], "Invalid API token"),
        ]:
            answer = api.post(QUERY, {}, headers=bearer_headers(token))
            assert (answer.status_code, answer.json()["error"]) == (401, error)

    def test_the_hash_of_a_token_is_no_token(self, api: Api, org: str) -> None:
        api.insert_token(org)
        stored = api.fetch_value("select token_hash from api_tokens where org_id = %s", [org])
        assert api.post(QUERY, {}, headers=bearer_headers(stored)).status_code == 401

    def test_last_use_is_noted_once_a_minute(self, api: Api, org: str) -> None:
        token = bearer_headers(api.insert_token(org))
        used = "select last_used_at, xmin::text from api_tokens where org_id = %s"
        api.post(QUERY, {}, headers=token)
        first = wait_for_use(api, org)
        for _ in range(3):
            api.post(QUERY, {}, headers=token)
        assert api.execute(used, [org]) == first
        api.execute("update api_tokens set last_used_at = now() - interval '2 minutes' where org_id = %s", [org])
        api.post(QUERY, {}, headers=token)
        wait_for_use(api, org)

    def test_naming_an_organisation(self, api: Api, org: str) -> None:
        other = api.insert_organisation()
        for headers in (
            internal_headers(org),
            bearer_headers(session_jwt(org)),
            bearer_headers(api.insert_token(org)),
        ):
            assert api.post(QUERY, {"org_id": org}, headers=headers).status_code == 200
            assert api.post(QUERY, {"org_id": org.upper()}, headers=headers).status_code == 200
            answer = api.post(QUERY, {"org_id": other}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "other_organisation")

    def test_a_session_may_not_write(self, api: Api, org: str) -> None:
        for token in (session_jwt(org), api.insert_token(org), admin_jwt(), ADMIN_KEY):
            answer = api.post(UPSERT, ROW, headers={**bearer_headers(token), "x-internal-org-id": org})
            assert answer.status_code == 401
        assert api.fetch_value("select count(*) from company_intel_briefings where org_id = %s", [org]) == 0


class TestSuperAdmin:
    """A super-admin may query every organisation, one at a time."""

    def test_names_an_organisation(self, api: Api, org: str) -> None:
        api.upsert("company-intel-briefings", ROW, org)
        for token in (ADMIN_KEY, admin_jwt(sub=insert_admin(api))):
            answer = api.post(QUERY, {"org_id": org}, headers=bearer_headers(token))
            assert [row["company_domain"] for row in answer.json()["data"]] == ["example.com"]

    def test_must_name_one(self, api: Api) -> None:
        for token in (ADMIN_KEY, admin_jwt(sub=insert_admin(api))):
            answer = api.post(QUERY, {}, headers=bearer_headers(token))
            assert (answer.status_code, answer.json()["code"]) == (400, "org_id_required")
            assert "org_id is required for super-admin" in answer.json()["error"]

    def test_must_name_one_that_exists(self, api: Api) -> None:
        answer = api.post(QUERY, {"org_id": str(uuid.uuid4())}, headers=bearer_headers(ADMIN_KEY))
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_organisation")
        assert api.post(QUERY, {"org_id": "x"}, headers=bearer_headers(ADMIN_KEY)).status_code == 422

    def test_is_told_to_use_a_tenants_token_where_only_tenants_are_answered(self, api: Api) -> None:
        for token in (ADMIN_KEY, admin_jwt(sub=insert_admin(api))):
            refused = read_error(
                api.post("/api/v1/submissions", {}, headers=bearer_headers(token)), 401, "tenant_required"
            )
            assert "`dex token create`" in refused["hint"]
        wrong = api.post("/api/v1/submissions", {}, headers=bearer_headers(ADMIN_KEY[:-1]))
        assert read_error(wrong, 401, "invalid_token")["error"] == "Invalid API token"

    def test_a_token_that_does_not_hold(self, api: Api, org: str) -> None:
        admin = insert_admin(api)
        claims = {"type": "super_admin", "sub": admin, "exp": int(time.time()) + 600}
        for token in (
            admin_jwt(sub=admin, exp=1),
            admin_jwt(sub=admin, type="session"),
            admin_jwt(sub=admin, secret="another secret, just as long as the real one"),
            session_jwt(org, type="super_admin", sub=admin),
            admin_jwt(sub=str(uuid.uuid4())),
            admin_jwt(sub="x"),
            admin_jwt(sub=""),
            build_unsigned_jwt(claims),
            ADMIN_KEY[:-1],
        ):
            assert api.post(QUERY, {"org_id": org}, headers=bearer_headers(token)).status_code == 401, token

    def test_who_is_no_longer_active(self, api: Api, org: str) -> None:
        admin = insert_admin(api, is_active=False)
        asked = {"org_id": org}
        assert api.post(QUERY, asked, headers=bearer_headers(admin_jwt(sub=admin))).status_code == 401
        api.execute("update super_admins set is_active = true where id = %s", [admin])
        assert api.post(QUERY, asked, headers=bearer_headers(admin_jwt(sub=admin))).status_code == 200
        api.execute("delete from super_admins where id = %s", [admin])
        answer = api.post(QUERY, asked, headers=bearer_headers(admin_jwt(sub=admin)))
        assert read_error(answer, 401, "inactive_super_admin")

    def test_no_super_admin_without_its_secrets(self, start: Callable[..., AbstractContextManager[Api]]) -> None:
        with start(super_admin_api_key=None, super_admin_jwt_secret=None) as api:
            asked = {"org_id": api.insert_organisation()}
            assert api.post(QUERY, asked, headers=bearer_headers(ADMIN_KEY)).status_code == 401
            assert api.post(QUERY, asked, headers=bearer_headers(admin_jwt())).status_code == 401
