"""Somebody who is erased is nowhere in the database any more, the rest closes, and nothing brings them back.

The search is independent of the engine's: it walks the catalog, reads every row of every table, and looks in the text.
"""

import asyncio
import json
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from engine.erase.run import Erasure, erase_subject
from engine.erase.subject import Subject, UnknownSubject, read_company, read_person
from engine.orders.orders import record_end
from engine.orders.statuses import OrderStatus
from engine.store.connection import RawJson
from engine.store.errors import UnknownOrganisation
from engine.verify.run import verify_spec
from tests.database.conftest import World, build_head
from tests.forked_dex import run_dex_text, start_dex
from tests.world import build_payload, insert_step

TITLES = "company.derive.icp_job_titles"
PERSON = "person.derive.intel_briefing"
JIM = "https://www.linkedin.com/in/jim-higgins"
LENS = {"client_company_name": "SecurityPal", "client_company_description": "questionnaires"}
COREWEAVE = {"company_name": "CoreWeave", "domain": "coreweave.com", "company_description": "GPU clouds"}


def build_person(name: str, url: str | None, **more: Any) -> dict[str, Any]:
    """Return the input of a person's briefing, by the names its prompt has."""
    person = {"person_full_name": name, "person_linkedin_url": url, "title": "VP", **more}
    return {key: value for key, value in person.items() if value is not None} | {"current_company_name": "CoreWeave"}


class Office:
    """An organisation that researches, as the runner leaves it in the database."""

    def __init__(self, world: World) -> None:
        self.world, self.org = world, world.add_org()
        self.count = 0

    def submit(self, *inputs: dict[str, Any], **columns: Any) -> list[str]:
        """Store a submission and a run per input; return the runs."""
        values = {"metadata": "{}", "source": None, "idempotency_key": None, **columns}
        (row,) = self.world.db.execute(
            "insert into submissions (org_id, input_payload, status, metadata, source, idempotency_key)"
            " values (%s, %s, 'completed', %s, %s, %s) returning id::text",
            [self.org, json.dumps({"inputs": inputs}), values["metadata"], values["source"], values["idempotency_key"]],
        )
        return [
            self.world.db.execute(
                "insert into pipeline_runs (org_id, submission_id, status, blueprint_snapshot)"
                " values (%s, %s, 'succeeded', %s) returning id::text",
                [self.org, row["id"], json.dumps({"steps": [], "entity": {"input": given}})],
            ).fetchone()["id"]
            for given in inputs
        ]

    def research(self, run: str, operation: str, context: dict[str, Any], says: str, old: bool = False) -> str:
        """Store a step result, with the order that it was bought by; return its id."""
        self.count += 1
        names = {"run_id": f"trun_{self.count}"}
        basis = [{"field": "about", "reasoning": says, "citations": [{"url": f"https://news.example/{self.count}"}]}]
        raw = {"run": names, "output": {"content": {"about": says}, "basis": basis}}
        if operation == PERSON:
            output = {
                "full_name": context["person_full_name"],
                "linkedin_url": context.get("person_linkedin_url"),
                "title": context["title"],
                "person_current_company_name": context["current_company_name"],
                **LENS,
            }
        else:
            output = {"domain": context["domain"], "company_name": context["company_name"]}
        output |= {"parallel_run_id": names["run_id"], "processor": "pro", "parallel_raw_response": raw}
        kept = {key: value for key, value in output.items() if old or key != "parallel_raw_response"}
        step = insert_step(
            self.world.db,
            run,
            position=self.count,
            payload=build_payload(operation, output, context={**context, **kept}),
        )
        order = self.world.db.execute(
            "insert into research_orders (org_id, operation, provider, processor, question, status, price, cost,"
            " provider_run_id, step_result_id) values (%s, %s, 'parallel', 'pro', %s, 'completed', 0.1, 0.1, %s, %s)"
            " returning id",
            [self.org, operation, f"digest {self.count}", names["run_id"], step],
        ).fetchone()["id"]
        self.world.db.execute(
            "update step_results set order_id = %s, input_payload = %s where id = %s",
            [order, json.dumps(context), step],
        )
        return step

    def erase(self, subject: Subject, dry_run: bool = False) -> Erasure:
        plans = tuple(self.world.specs.values())
        return self.world.loop.run(erase_subject(self.world.dsn, plans, self.org, subject, dry_run=dry_run))

    def backfill(self) -> None:
        for plan in self.world.specs.values():
            self.world.run_backfill(plan)


def read_database(world: World) -> set[tuple[str, str]]:
    """Return (table, its JSON) of every row of the database."""
    tables = world.db.execute(
        "select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as place, c.relname from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'm')"
        " and n.nspname not in ('pg_catalog', 'information_schema') and c.relpersistence <> 't'"
    ).fetchall()
    assert len(tables) > 15
    return {
        (table["relname"], row["text"])
        for table in tables
        for row in world.db.execute(f"select to_jsonb(t)::text as text from {table['place']} as t").fetchall()
    }


def search_database(world: World, *texts: str) -> set[tuple[str, str]]:
    """Return (table, id) of every row of the database that has one of `texts`, whatever its case and blanks."""
    found = set()
    for table, row in read_database(world):
        text = " ".join(row.casefold().replace("\\n", " ").split())
        if any(word in text for word in texts):
            found.add((table, json.loads(row).get("id", "")))
    return found


def check_accounts(world: World) -> None:
    """The accounts close, nothing is pending, and every table is what its step results say."""
    for account in world.read_accounts(*world.specs.values()):
        assert (account["pending"], account["stale_rows"]) == (0, 0), account
        assert account["elements"] == account["rows"] + account["duplicates"] + account["refused"]
    for plan in world.specs.values():
        found = world.loop.run(verify_spec(world.dsn, plan))
        assert found.holds and found.counts["unsourced"] == 0, found.as_dict()


@pytest.fixture
def office(world: World) -> Office:
    """An organisation in which Jim Higgins was researched three times, and is mentioned twice."""
    office = Office(world)
    jim = {**COREWEAVE, **LENS, **build_person("Jim  HIGGINS", "http://uk.linkedin.com/in/Jim-Higgins/?trk=x")}
    ann = {**LENS, **build_person("Ann Lee", "https://www.linkedin.com/in/annlee")}
    first, second = office.submit(
        jim, ann, metadata='{"note": "ask Jim Higgins\\n", "deal": 1.10}', idempotency_key="jim higgins 1"
    )
    office.research(first, TITLES, jim, "CoreWeave sells to VPs such as Jim Higgins")
    office.research(first, PERSON, {**jim, "parallel_raw_response": {"old": 1}}, "Jim runs networks", old=True)
    office.research(second, PERSON, ann, "Ann Lee reports to jim higgins")
    (third,) = office.submit(build_person("jim higgins", None))
    office.research(third, PERSON, build_person("jim higgins", None), "nothing is known")
    (fourth,) = office.submit(build_person("James Higgins", f"{JIM}/"), source="list of Jim Higgins")
    office.research(fourth, PERSON, build_person("James Higgins", f"{JIM}/"), "the same one")
    return office


@pytest.mark.parametrize(
    "named", ["Jim Higgins", "http://www.linkedin.com/in/JIM-higgins/", "linkedin.com/in/jim-higgins"]
)
def test_a_person_is_gone_and_what_mentions_them_is_listed(office: Office, named: str) -> None:
    world = office.world
    other = Office(world)
    (run,) = other.submit(build_person("Jim Higgins", JIM))
    theirs = other.research(run, PERSON, build_person("Jim Higgins", JIM), "of another organisation")
    office.backfill()
    before = read_database(world)
    words = ("jim higgins", "jim-higgins", "james higgins")
    foreign = {place for place in search_database(world, *words) if place[1] in _list_rows_of(world, other.org)}
    assert ("step_results", theirs) in foreign

    dry = office.erase(read_person(named), dry_run=True)
    assert read_database(world) == before, "a dry run changes nothing"

    erasure = office.erase(read_person(named))
    assert erasure.as_dict() == dry.as_dict()
    assert erasure.removed["step_results"] == 3
    assert erasure.removed["person_intel_briefings"] == 3 and erasure.removed["research_evidence"] == 3
    assert erasure.as_dict()["blanked"] == {
        "research_orders": 3,
        "pipeline_runs": 3,
        "submissions": 3,
        "step_results": 1,
    }
    mentioned = {(mention.table, mention.id) for mention in erasure.mentions}
    assert {table for table, _ in mentioned} == {
        *("step_results", "icp_job_titles", "person_intel_briefings", "research_evidence")
    }
    assert search_database(world, *words) - foreign == mentioned
    assert search_database(world, "jim runs networks", "nothing is known", "the same one", '"old": 1') == set()

    office.backfill()
    check_accounts(world)
    assert search_database(world, *words) - foreign == mentioned, "a backfill brings nothing back"
    orders = world.db.execute("select question, cost::text from research_orders where erased_at is not null").fetchall()
    assert [(order["question"][:6], order["cost"]) for order in orders] == [("erased", "0.1")] * 3
    (kept,) = world.db.execute(
        "select metadata::text, input_payload from submissions where metadata <> '{}'"
    ).fetchall()
    assert kept["metadata"] == '{"deal": 1.10, "note": null}'
    assert kept["input_payload"]["inputs"][0] == {**COREWEAVE, **LENS}
    assert kept["input_payload"]["inputs"][1]["person_full_name"] == "Ann Lee"
    assert office.erase(read_person(named)).as_dict()["removed"] == {}


def _list_rows_of(world: World, org: str) -> set[str]:
    """Return the ids of everything an organisation has, and its own."""
    found = {org}
    for table in ("submissions", "pipeline_runs", "step_results", "person_intel_briefings", "research_evidence"):
        found |= {row["id"] for row in world.db.execute(f"select id::text from {table} where org_id = %s", [org])}
    return found


def test_a_short_name_is_not_found_in_digests(office: Office) -> None:
    office.world.db.execute("update orgs set name = 'Office', slug = 'office'")  # they were a random id, of any letters
    digest = "ada" * 21 + "0"
    row = (office.org, "CI", digest)
    office.world.db.execute("insert into api_tokens (org_id, name, token_hash) values (%s, %s, %s)", row)
    assert list(office.erase(read_person("Ada")).mentions) == []
    office.world.db.execute("update api_tokens set name = 'of Ada' where token_hash = %s", [digest])
    (mention,) = office.erase(read_person("Ada")).mentions
    assert (mention.table, list(mention.columns)) == ("api_tokens", ["name"])


def test_a_company_is_gone_and_its_people_stay(office: Office) -> None:
    world = office.world
    office.backfill()
    erasure = office.erase(read_company("https://www.CoreWeave.com/about"))
    assert (erasure.removed["step_results"], erasure.removed["icp_job_titles"]) == (1, 1)
    assert search_database(world, "coreweave.com", "gpu clouds") == set()
    assert {mention.table for mention in erasure.mentions} == {
        *("submissions", "pipeline_runs", "step_results", "person_intel_briefings")
    }, "those who work there name it"
    assert len(world.read_rows(world.specs["person_intel_briefings"])) == 4
    office.backfill()
    check_accounts(world)


def test_a_spec_without_a_table_stops_no_erasure(office: Office) -> None:
    """Such as one that was drafted, and whose migration was not applied yet."""
    world = office.world
    office.backfill()
    drafted = replace(world.specs["company_intel_briefings"], name="not_migrated", table="not_migrated")
    plans = (*world.specs.values(), drafted)
    erasure = world.loop.run(erase_subject(world.dsn, plans, office.org, read_company("coreweave.com")))
    assert erasure.specs_without_table == ["not_migrated"]
    assert (erasure.removed["step_results"], erasure.removed["icp_job_titles"]) == (1, 1)


def test_a_name_without_a_profile_takes_its_namesakes_and_a_profile_does_not(world: World) -> None:
    office = Office(world)
    for number, url in enumerate(("https://linkedin.com/in/a_n", "https://linkedin.com/in/axn", None)):
        given = build_person("Zoë O'Néill 100%", url)
        (run,) = office.submit(given)
        office.research(run, PERSON, given, f"number {number}")
    assert office.erase(read_person("linkedin.com/in/A_N"), dry_run=True).removed["step_results"] == 2
    assert office.erase(read_person("ZOË O'NÉILL 100%"), dry_run=True).removed["step_results"] == 3
    assert office.erase(read_person("Zoë O'Néill 1_0%")).as_dict()["removed"] == {}
    assert office.erase(read_person("Zoe\u0308  O'Ne\u0301ill 100%")).removed["step_results"] == 3
    assert search_database(world, "néill", "in/axn") == set()


@pytest.mark.parametrize("name", ["İpek Işık", "Οδυσσέας Ελύτης", "ΟΔΥΣΣΕΥΣ ΕΛΥΤΗΣ", "Heinrich Weiß"])
def test_a_name_is_found_whose_letters_have_other_small_forms(world: World, name: str) -> None:
    office = Office(world)
    given = build_person(name, None)
    (run,) = office.submit(given)
    office.research(run, PERSON, given, f"about {name}")
    assert office.erase(read_person(name)).removed["step_results"] == 1
    assert search_database(world, name) == set()


def test_an_answer_that_arrives_later_is_not_kept(office: Office) -> None:
    world = office.world
    world.db.execute(
        "update research_orders set status = 'open', cost = null, answer = null where operation = %s", [PERSON]
    )
    world.db.execute("update pipeline_runs set status = 'running'")
    erasure = office.erase(read_person("Jim Higgins"))
    assert erasure.canceled_runs == 3
    for order in world.db.execute("select id::text from research_orders where erased_at is not null").fetchall():
        answer = RawJson(b'{"output": "Jim Higgins"}')
        world.loop.run(record_end(world.own, order["id"], OrderStatus.COMPLETED, office.org, answer=answer))
    spent = world.db.execute("select status, cost::text, answer from research_orders where erased_at is not null")
    assert [tuple(row.values()) for row in spent] == [("completed", "0.1", None)] * 3


def start_erasure(office: Office, pool: ThreadPoolExecutor) -> Future[Erasure]:
    """Start the erasure of Jim Higgins, and wait until it waits for a lock."""
    world, plans = office.world, tuple(office.world.specs.values())
    erased = pool.submit(asyncio.run, erase_subject(world.dsn, plans, office.org, read_person("Jim Higgins")))
    waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    while not world.db.execute(waiting).fetchall():
        assert not erased.done(), erased.result()
        time.sleep(0.05)
    return erased


def test_the_key_of_a_row_that_waits_for_a_sweep_is_gone(world: World) -> None:
    """The step result was deleted by hand; where the rows of a parent key go together, the queue has that key."""
    head = build_head("things", "company.derive.things", "company_domain, name")
    fields = """
    company_domain: {type: text, path: "output.domain", required: true}
    name: {type: text, path: "item", required: true}
    """
    plan = world.create_spec(fields, head=head, rows="output.names", on_absent="delete")
    run = world.add_run()
    step = world.add_step(run, "company.derive.things", {"domain": "acme.com", "names": ["a", "b"]})
    world.run_backfill(plan)
    world.db.execute("delete from step_results where id = %s", [step])
    assert ("stale_rows", "") in search_database(world, "acme.com")
    erased = world.loop.run(erase_subject(world.dsn, [plan], run.org, read_company("acme.com")))
    assert (erased.removed["things"], erased.mentions) == (2, [])
    assert search_database(world, "acme.com") == set()


def test_a_deadlock_is_lost_and_the_erasure_begun_anew(office: Office) -> None:
    """Who writes rows locks a step result and its lineage in another order than an erasure."""
    world = office.world
    office.backfill()
    (row,) = world.db.execute(
        "select id from step_results where output_payload #>> '{operation_result,output,full_name}' = 'jim higgins'"
    ).fetchall()
    with psycopg.connect(world.dsn) as writer, ThreadPoolExecutor(1) as pool:
        writer.execute("set deadlock_timeout = '1min'")  # so that it is the erasure that loses
        writer.execute("select from row_lineage where step_result_id = %s for update", [row["id"]])
        erased = start_erasure(office, pool)
        writer.execute("select from step_results where id = %s for update", [row["id"]])
        writer.rollback()
        assert erased.result(30).removed["step_results"] == 3
    office.backfill()
    check_accounts(world)


def test_what_moves_to_another_organisation_meanwhile_is_left_alone(office: Office) -> None:
    """A run is moved while an erasure has found it and waits for it."""
    world, other = office.world, Office(office.world)
    (run,) = office.submit(build_person("Jim Higgins", JIM))
    step = office.research(run, PERSON, build_person("Jim Higgins", JIM), "of the other organisation")
    read_moved = "select to_jsonb(r) - 'updated_at' as text from pipeline_runs as r where id = %s"
    with psycopg.connect(world.dsn) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("update pipeline_runs set org_id = %s where id = %s", [other.org, run])
        moved = holder.execute(read_moved, [run]).fetchone()
        erased = start_erasure(office, pool)
        holder.commit()
        assert erased.result(30).removed["step_results"] == 3
    assert world.db.execute("select from step_results where id = %s", [step]).fetchall()
    assert world.db.execute(read_moved, [run]).fetchone() == {"text": moved[0] if moved else None}


def test_rows_without_a_step_result_and_those_of_removed_specs_go(office: Office) -> None:
    world = office.world
    plan = world.specs["person_intel_briefings"]
    row = {column.name: None for column in plan.fields}
    row |= {"person_full_name": "Jim Higgins", "raw_parallel_output": RawJson(b'{"a": 1}')}
    world.upsert_rows(plan, office.org, row)
    world.db.execute(
        "create table old_briefings (id uuid primary key default gen_random_uuid(), org_id uuid, notes text,"
        " source_step_result_id uuid)"
    )
    world.db.execute(
        "insert into old_briefings (org_id, notes, source_step_result_id)"
        " select org_id, 'a secret', id from step_results"
    )
    erasure = office.erase(read_person("Jim Higgins"))
    assert (erasure.removed["person_intel_briefings"], erasure.removed["old_briefings"]) == (1, 3)


def test_whom_nobody_can_be(world: World) -> None:
    for text in (" ", "https://acme.com"):
        with pytest.raises(UnknownSubject):
            read_person(text)
    for text in (" ", "Acme", "a b.c/"):
        with pytest.raises(UnknownSubject):
            read_company(text)
    with pytest.raises(UnknownOrganisation):
        world.loop.run(erase_subject(world.dsn, (), "00000000-0000-4000-8000-000000000000", read_person("A B")))


def test_the_command(office: Office) -> None:
    world = office.world
    office.backfill()

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": "/usr/bin:/bin", "DATABASE_URL": world.dsn}
        return run_dex_text("erase", *words, environment=env)

    words = ("--org", office.org, "--person", "Jim Higgins")
    refused = run(*words)
    assert (refused.returncode, "add --yes" in refused.stderr) == (2, True), refused.stderr
    wrong = run("--org", "00000000-0000-4000-8000-000000000000", "--person", "Jim Higgins", "--dry-run")
    assert (wrong.returncode, "dex org list" in wrong.stderr) == (2, True), wrong.stderr
    shown = run(*words, "--dry-run")
    assert "would remove 3 of step_results" in shown.stdout and "mentioned in" in shown.stdout
    done = run(*words, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["removed"]["step_results"] == 3 and report["mentions"][0]["table"]
    assert "Jim" not in done.stdout and "nothing is stored" in run(*words, "--yes").stdout


def test_killed_before_its_commit_nothing_is_removed(office: Office) -> None:
    """The whole erasure waits for the last row it removes; its connection is ended there, as by a kill."""
    world = office.world
    office.backfill()
    before = read_database(world)
    with psycopg.connect(world.dsn) as holder:
        holder.execute("select from submissions for update")
        words = ("erase", "--yes", "--org", office.org, "--person", "Jim Higgins")
        waiting = (
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and query like '%submissions%'"
        )
        with start_dex(*words, environment={"DATABASE_URL": world.dsn}) as process:
            while not world.db.execute(waiting).fetchall():
                assert process.popen.poll() is None, process.text
                time.sleep(0.05)
            process.kill()
    assert read_database(world) == before
    assert office.erase(read_person("Jim Higgins")).removed["step_results"] == 3
