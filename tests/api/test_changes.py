"""Changes: whoever wrote or removed, in an order that never skips what commits late."""

import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.api.loopback import ADMIN_KEY, Api, bearer_headers, internal_headers, read_error

SLUG = "icp-job-titles"
PATH = f"/api/v1/{SLUG}/changes"


def insert_row(api: Api, org: str, domain: str) -> str:
    """Insert a row by hand; return its id."""
    statement = (
        "insert into icp_job_titles (org_id, company_domain, raw_parallel_output) values (%s, %s, '1') returning id"
    )
    return str(api.fetch_value(statement, [org, domain]))


def read(api: Api, org: str, after: int = 0, **parameters: Any) -> tuple[list[dict[str, Any]], int]:
    answer = api.client.get(PATH, params={"after": after, **parameters}, headers=internal_headers(org))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["data"], found["meta"]["next"]


def test_what_is_written_comes_once_with_its_row(api: Api, org: str) -> None:
    body = {"company_domain": "a.com", "raw_parallel_output": {"n": 1.10}}
    stored = api.upsert(SLUG, body, org).json()["data"]
    entries, following = read(api, org)
    assert entries == [{"number": following, "kind": "written", "id": stored["id"], "row": stored}]
    assert read(api, org, following) == ([], following)
    assert api.upsert(SLUG, body, org).json()["meta"]["outcome"] == "unchanged"
    assert read(api, org, following) == ([], following), "what is unchanged is no change"


def test_a_row_that_changes_again_comes_again_with_what_it_is_now(api: Api, org: str) -> None:
    ids = [insert_row(api, org, name) for name in ("a.com", "b.com")]
    first, following = read(api, org)
    assert {entry["id"] for entry in first} == set(ids)
    api.execute("update icp_job_titles set company_name = 'A' where id = %s", [ids[0]])
    entries, last = read(api, org, following)
    assert [(entry["id"], entry["row"]["company_name"]) for entry in entries] == [(ids[0], "A")]
    assert [entry["id"] for entry in read(api, org)[0]] == [ids[1], ids[0]], "from the start each row comes once"
    assert last > following


def test_a_removal_has_no_content(api: Api, org: str) -> None:
    row_id = insert_row(api, org, "a.com")
    _, following = read(api, org)
    api.execute("delete from icp_job_titles where id = %s", [row_id])
    entries, last = read(api, org, following)
    assert entries == [{"number": last, "kind": "removed", "id": row_id, "row": None}]


def test_a_row_that_moves_leaves_one_organisation_and_comes_to_another(api: Api, org: str) -> None:
    row_id, other = insert_row(api, org, "a.com"), api.insert_organisation()
    _, following = read(api, org)
    api.execute("update icp_job_titles set org_id = %s where id = %s", [other, row_id])
    assert [entry["kind"] for entry in read(api, org, following)[0]] == ["removed"]
    assert [(entry["kind"], entry["id"]) for entry in read(api, other)[0]] == [("written", row_id)]


def test_truncate_removes_every_row(own_api: Api) -> None:
    org = own_api.insert_organisation()
    ids = {insert_row(own_api, org, name) for name in ("a.com", "b.com")}
    _, following = read(own_api, org)
    own_api.execute("truncate icp_job_titles cascade")
    entries, _ = read(own_api, org, following)
    assert {(entry["id"], entry["kind"]) for entry in entries} == {(row_id, "removed") for row_id in ids}


def test_an_organisation_that_goes_takes_its_changes_along(own_api: Api) -> None:
    org = own_api.insert_organisation()
    insert_row(own_api, org, "a.com")
    read(own_api, org)
    own_api.execute("delete from orgs where id = %s", [org])
    assert own_api.fetch_value("select count(*) from row_changes") == 0
    assert own_api.fetch_value("select count(*) from change_numbers") == 0


def test_nobody_sees_the_changes_of_another(api: Api, org: str) -> None:
    insert_row(api, org, "a.com")
    other = api.insert_organisation()
    assert read(api, other) == ([], 0)
    admin = api.client.get(PATH, params={"org_id": other}, headers=bearer_headers(ADMIN_KEY))
    assert admin.json()["data"] == []
    read_error(api.client.get(PATH, params={"org_id": other}, headers=internal_headers(org)), 403, "other_organisation")
    read_error(api.client.get(PATH, headers=internal_headers(str(uuid.uuid4()))), 404, "unknown_organisation")


@pytest.mark.parametrize("parameters", [{"after": "-1"}, {"after": "x"}, {"after": str(2**63)}, {"limit": "0"}])
def test_a_wrong_number_is_422(api: Api, org: str, parameters: dict[str, str]) -> None:
    read_error(api.client.get(PATH, params=parameters, headers=internal_headers(org)), 422, "out_of_range")


def test_fields_and_limit(api: Api, org: str) -> None:
    for name in ("a.com", "b.com", "c.com"):
        insert_row(api, org, name)
    entries, following = read(api, org, limit=2, fields="company_domain,raw_parallel_output.x")
    assert [entry["row"] for entry in entries] == [
        {"company_domain": name, "raw_parallel_output.x": None} for name in ("a.com", "b.com")
    ]
    assert [entry["row"]["company_domain"] for entry in read(api, org, following)[0]] == ["c.com"]


def test_a_writer_that_commits_late_is_not_passed(api: Api, org: str) -> None:
    with psycopg.connect(api.dsn) as late:
        statement = (
            "insert into icp_job_titles (org_id, company_domain, raw_parallel_output) values (%s, 'late.com', '1')"
        )
        late.execute(statement, [org])
        insert_row(api, org, "early.com")
        entries, following = read(api, org)
        assert [entry["row"]["company_domain"] for entry in entries] == ["early.com"]
        late.commit()
    entries, _ = read(api, org, following)
    assert [entry["row"]["company_domain"] for entry in entries] == ["late.com"]


def test_a_read_only_server_serves_what_has_a_number(own_api: Api) -> None:
    org = own_api.insert_organisation()
    insert_row(own_api, org, "a.com")
    numbered, following = read(own_api, org)
    insert_row(own_api, org, "b.com")
    name = own_api.fetch_value("select current_database()")
    own_api.execute(f'alter database "{name}" set default_transaction_read_only = on')
    own_api.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    for _ in range(10):  # the pool hands out connections that ended, until it has met them all
        answer = own_api.client.get(PATH, headers=internal_headers(org))
        if answer.status_code == 200:
            break
    assert answer.json() == {"data": numbered, "meta": {"next": following}}


def test_reading_while_sixteen_write_loses_and_repeats_nothing(api: Api, org: str) -> None:
    """Writers insert, update and delete, some slow to commit; a follower rebuilds the table from what it reads."""
    stop = threading.Event()

    def write(number: int) -> None:
        chance = random.Random(number)
        with psycopg.connect(api.dsn) as connection:
            for turn in range(25):
                domain = f"{number}-{chance.randrange(8)}.com"
                if chance.random() < 0.25:
                    statement = "delete from icp_job_titles where org_id = %s and company_domain = %s"
                    connection.execute(statement, [org, domain])
                else:
                    statement = (
                        "insert into icp_job_titles (org_id, company_domain, raw_parallel_output) values (%s, %s, %s)"
                        " on conflict (org_id, company_domain) do update"
                        " set raw_parallel_output = excluded.raw_parallel_output"
                    )
                    connection.execute(statement, [org, domain, str(number * 1000 + turn)])
                if chance.random() < 0.2:
                    time.sleep(chance.random() / 10)
                connection.commit()

    copy: dict[str, Any] = {}
    numbers: list[int] = []

    def follow() -> None:
        after = 0
        while True:
            done = stop.is_set()
            entries, following = read(api, org, after, limit=7)
            for entry in entries:
                numbers.append(entry["number"])
                if entry["kind"] == "written":
                    copy[entry["id"]] = entry["row"]["raw_parallel_output"]
                else:
                    copy.pop(entry["id"], None)
            if done and not entries:
                return
            after = following

    follower = threading.Thread(target=follow)
    follower.start()
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(write, range(16)))
    stop.set()
    follower.join(120)
    assert not follower.is_alive()
    stored = api.execute("select id::text, raw_parallel_output from icp_job_titles where org_id = %s", [org])
    assert copy == dict(stored)
    assert numbers == sorted(set(numbers))
