"""A changed key or type, through a table beside the old one that takes its place in one transaction."""

import asyncio
import json
import shutil
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.rows import dict_row

from engine.backfill import versions
from engine.backfill.live import LiveUpsert
from engine.backfill.run import run_backfill
from engine.erase.run import Erasure, erase_subject
from engine.erase.subject import read_company
from engine.plan import Plan
from engine.rows.query import build_row_query
from engine.sql.rebuild import LOCK_SWAP_SQL
from engine.sql.step_results import Scope
from engine.store.changes import fetch_changes
from engine.store.connection import connect
from engine.store.errors import StoreRefused
from engine.tables.inspect import find_differences
from engine.tables.rebuild import rebuild_spec
from engine.tables.rebuild_swap import RebuildRefused, RebuildReport, build_new_plan
from engine.verify.run import verify_spec
from tests.conftest import ROOT
from tests.database.conftest import START, THINGS, World, build_head
from tests.database.page_walk import walk_page
from tests.database.test_erase import search_database
from tests.forked_dex import run_dex_text, start_dex
from tests.world import build_payload, insert_step

HEAD = build_head("things", THINGS, "name")
FIELDS = """
name: {type: text, path: "output.name", required: true, filter: true}
domain: {type: text, path: "output.domain"}
size: {type: text, path: "output.size", normalize: [text]}
document: {type: jsonb, path: "output.document"}
"""
CHANGED = """
name: {type: text, path: "output.name", filter: true}
domain: {type: text, path: "output.domain", required: true, filter: true}
size: {type: bigint, path: "output.size", on_invalid: missing}
document: {type: jsonb, path: "output.document"}
"""
SAME_KEY = CHANGED.replace('path: "output.name"', 'path: "output.name", required: true')
LISTS = {"rows": "output.list", "on_absent": "delete"}
LIST = """
name: {type: text, path: "output.name", required: true}
kind: {type: text, path: "output.kind"}
domain: {type: text, path: "item.domain"}
size: {type: text, path: "item.size", normalize: [text]}
"""
LIST_CHANGED = """
kind: {type: text, path: "output.kind", required: true}
domain: {type: text, path: "item.domain"}
size: {type: bigint, path: "item.size"}
"""


@pytest.fixture
def before(world: World) -> Plan:
    return world.create_spec(FIELDS, head=HEAD)


def change(world: World, fields: str = CHANGED, key: str = "domain") -> Plan:
    return world.compile_plan(fields, head=HEAD.replace("org_id, name", f"org_id, {key}"))


def rebuild(world: World, plan: Plan, **options: Any) -> RebuildReport:
    return world.loop.run(rebuild_spec(world.dsn, plan, **options))


def read_ids(world: World, key: str) -> dict[Any, tuple[Any, Any]]:
    rows = world.db.execute(f"select {key} as key, id::text, created_at from things".encode()).fetchall()
    return {row["key"]: (row["id"], row["created_at"]) for row in rows}


def insert_quotes(world: World, count: int = 5) -> tuple[Any, list[str]]:
    run = world.add_run()
    outputs = [
        {"name": f"n{number}", "domain": f"d{number // 2}.com", "size": number, "document": {"n": number}}
        for number in range(count)
    ]
    return run, [world.add_step(run, THINGS, output, at=number) for number, output in enumerate(outputs)]


def compile_pair(world: World, lists: bool) -> tuple[Plan, Plan]:
    """Return a spec, whose table is created, and the same with another key and other types; `lists`: with `rows`."""
    fields, changed, more = (LIST, LIST_CHANGED, LISTS) if lists else (FIELDS, CHANGED, {})
    before = world.create_spec(fields, head=HEAD.replace("name]", "name, domain]") if lists else HEAD, **more)
    after = world.compile_plan(changed, head=HEAD.replace("name]", "kind, domain]" if lists else "domain]"), **more)
    return before, after


def build_listed(label: str) -> dict[str, Any]:
    """Build the output of a step for either spec of `compile_pair`: one row, or two elements."""
    elements = [{"domain": f"d{label}.com", "size": 3}, {"domain": f"e{label}.com", "size": 2}]
    return {"name": f"n{label}", "kind": f"k{label}", "domain": f"d{label}.com", "size": 3, "list": elements}


def assert_fresh(world: World, plan: Plan) -> None:
    """Table and lineage are those of a fresh backfill, and nothing is pending."""
    rows, lineage = world.read_rows(plan), read_lineage(world, plan)
    for account in world.read_accounts(plan):
        assert account["pending"] == account["stale_rows"] == 0, account
    world.delete_rows(plan)
    world.db.execute("delete from row_lineage")
    world.run_backfill(plan)
    assert world.read_rows(plan) == rows
    assert read_lineage(world, plan) == lineage
    names = world.db.execute(
        "select relname from pg_class where relname ilike '%rebuild%' union all"
        " select spec from step_persistence where spec ilike '%rebuild%' union all"
        " select spec from row_lineage where spec ilike '%rebuild%' union all"
        " select spec from pending_results where spec ilike '%rebuild%' union all"
        " select spec from spec_versions where spec ilike '%rebuild%' union all"
        " select conname from pg_constraint where conname ilike '%rebuild%'"
    ).fetchall()
    assert names == [], names


def read_lineage(world: World, plan: Plan) -> list[dict[str, Any]]:
    """Return the lineage of a spec, with the key of the row in place of its id."""
    key = ", ".join(f"stored.{name}::text as {name}_of_row" for name in plan.conflict)
    sql = (
        f"select unit::text, step_result_id::text, parent, refused, row_id is null as is_list, {key} from row_lineage"
        f" left join things as stored on stored.id = row_id where spec = %s order by unit, step_result_id"
    )
    return world.db.execute(sql.encode(), [plan.name]).fetchall()


def test_a_changed_key_and_changed_types(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    after = change(world)
    report = rebuild(world, after)
    assert (report.rows, report.copied, report.left) == (3, 0, 0)
    assert report.account is not None and report.account.outcomes == {"written": 3, "superseded": 2}
    rows = [(row["domain"], row["name"], row["size"], row["document"]) for row in world.read_rows(after)]
    assert rows == [("d0.com", "n1", 1, '{"n": 1}'), ("d1.com", "n3", 3, '{"n": 3}'), ("d2.com", "n4", 4, '{"n": 4}')]
    assert count(world, "select count(*) from pg_stats where tablename = 'things'") > 3, "Postgres knows its columns"
    assert_fresh(world, after)


def test_the_account_counts_what_the_database_refuses_once(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    world.db.execute("alter table things add constraint known check (domain <> 'd1.com') not valid")
    after = change(world)
    account = rebuild(world, after).account
    assert account is not None
    assert account.outcomes == {"written": 2, "superseded": 1, "rejected": 2}
    assert (account.found, account.elements["refused"], account.stale_rows) == (5, 2, 0)
    assert account.reasons == {("refused_by_database", None): 2}
    assert_fresh(world, after)


def test_what_the_key_does_not_change_keeps_id_and_creation_time(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    known = read_ids(world, "name")
    same_key = change(world, SAME_KEY, "name")
    rebuild(world, same_key)
    assert read_ids(world, "name") == known
    changes = world.db.execute("select removed from row_changes where table_name = 'things'").fetchall()
    assert [row["removed"] for row in changes] == [False] * 5
    assert_fresh(world, same_key)


def test_a_number_that_an_earlier_engine_stored_with_zeros_is_the_same_key(world: World) -> None:
    fields = FIELDS.replace("size: {type: text", "size: {type: numeric").replace(
        ", normalize: [text]", ", required: true"
    )
    plan = world.create_spec(fields, head=HEAD.replace("org_id, name", "org_id, size"))
    insert_quotes(world, count=11)
    world.run_backfill(plan)
    world.db.execute("update things set size = (size::text || '.00')::numeric")
    known = {int(size): told for size, told in read_ids(world, "size").items()}
    rebuild(world, plan)
    assert read_ids(world, "size::text") == {str(size): told for size, told in known.items()}
    assert_fresh(world, plan)


def test_rows_that_go_are_noted_as_removed(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    old = {row_id for row_id, _ in read_ids(world, "name").values()}
    rebuild(world, change(world))
    new = {row_id for row_id, _ in read_ids(world, "domain").values()}
    changes = world.db.execute("select row_id::text as id, removed from row_changes where table_name = 'things'")
    noted = {row["id"]: row["removed"] for row in changes.fetchall()}
    assert noted == {**dict.fromkeys(old, True), **dict.fromkeys(new, False)}
    assert len(old & new) == 3, "a row of the new key takes the id of an old row that has it"


def test_everything_around_the_table_is_carried_over(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    role = f"reader_{world.db.info.dbname}"
    for statement in (
        "alter table things add column remark text, add column serial bigint generated by default as identity",
        "alter table things add constraint known_size check (domain <> 'x')",
        "create index own on things (remark) where remark is not null",
        "create index in_order on things (domain)",
        "create function stamp() returns trigger language plpgsql as $$ begin return new; end $$",
        "create trigger own_stamp before insert or update on things for each row execute function stamp()",
        f"create role {role}",
        f"grant select on things to {role}",
        f"grant update (remark) on things to {role}",
        "create policy closed on things as restrictive for select to public using (domain <> 'secret')",
        "alter table things set (fillfactor = 80, toast.autovacuum_enabled = off)",
        "alter table things cluster on in_order",
        "comment on table things is 'what was found'",
        "alter table things disable trigger own_stamp",
        "alter table things add constraint apart exclude using btree (remark with =) where (remark is not null)",
        "create statistics together (dependencies) on name, domain from things",
        "create statistics sizes on size, name from things",
        "alter table things alter column name set statistics 500",
        "alter table things alter column domain set (n_distinct = -0.5)",
        "alter table things replica identity full",
        "comment on index own is 'of one person'",
        "comment on trigger own_stamp on things is 'does nothing'",
        "comment on policy closed on things is 'keeps secrets'",
        "comment on column things.remark is 'by hand'",
        "alter table things set unlogged",
        "update things set remark = 'mine' where name = 'n4'",
    ):
        world.db.execute(statement.encode())
    around = describe_table(world)
    try:
        after = change(world)
        rebuild(world, after)
        assert describe_table(world) == {
            **around,
            "indexes": sorted(
                [
                    *(index for index in around["indexes"] if "idx_things_dedup" not in index),
                    "idx_things_dedup CREATE UNIQUE INDEX ON public.things USING btree (org_id, domain)",
                    'idx_things_domain_newest CREATE INDEX ON public.things USING btree (org_id, domain COLLATE "C",'
                    " created_at DESC, id DESC)",
                ]
            ),
        }
        assert [row["remark"] for row in world.db.execute("select remark from things order by domain")] == [
            None,
            None,
            "mine",
        ]
        assert_fresh(world, after)
    finally:
        world.db.execute(f"drop owned by {role}; drop role {role}".encode())


def describe_table(world: World) -> dict[str, list[str]]:
    """Return what stands around the table, as the catalog spells it."""
    queries = {
        "indexes": "select c.relname || ' ' || replace(pg_get_indexdef(c.oid), c.relname || ' ', '') from pg_index as i"
        " join pg_class as c on c.oid = i.indexrelid where i.indrelid = 'things'::regclass",
        "constraints": "select conname || pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = 'things'::regclass and contype <> 'n'",
        "statistics": "select pg_get_statisticsobjdef(oid) from pg_statistic_ext where stxrelid = 'things'::regclass",
        "columns": "select concat_ws(' ', attname, attstattarget, attoptions, attidentity) from pg_attribute"
        " where attrelid = 'things'::regclass and attnum > 0 and not attisdropped",
        "remarks": "select concat_ws(' ', named.type, replace(named.identity, c.relname, ''), description)"
        " from pg_class as c, pg_description as remark, pg_identify_object(classoid, objoid, objsubid) as named"
        " where c.oid = 'things'::regclass and (objoid = c.oid or objoid in (select indexrelid from pg_index where"
        " indrelid = c.oid) or objoid in (select oid from pg_trigger where tgrelid = c.oid union all"
        " select oid from pg_policy where polrelid = c.oid))",
        "triggers": "select concat_ws(' ', tgenabled, pg_get_triggerdef(oid)) from pg_trigger"
        " where tgrelid = 'things'::regclass and not tgisinternal",
        "policies": "select concat_ws(' ', policyname, permissive, roles, cmd, qual, with_check) from pg_policies"
        " where tablename = 'things'",
        "grants": "select a::text from pg_class cross join unnest(relacl) as a where relname = 'things' union all"
        " select attname || a::text from pg_attribute cross join unnest(attacl) as a"
        " where attrelid = 'things'::regclass",
        "options": "select concat_ws(' ', reloptions, relrowsecurity, relreplident, relpersistence, (select reloptions"
        " from pg_class as toast where toast.oid = c.reltoastrelid), (select indexrelid::regclass from pg_index"
        " where indrelid = c.oid and indisclustered)) from pg_class as c where oid = 'things'::regclass",
    }
    return {
        name: sorted(next(iter(row.values())) for row in world.db.execute(query.encode()).fetchall())
        for name, query in queries.items()
    }


def test_rows_of_no_step_result_are_copied(world: World, before: Plan) -> None:
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    blank = dict.fromkeys(column.name for column in before.fields)
    world.upsert_rows(before, run.org, {**blank, "name": "by hand", "domain": "hand.com", "size": "12"})
    world.upsert_rows(before, run.org, {**blank, "name": "again", "domain": "d0.com"})
    report = rebuild(world, change(world))
    assert (report.rows, report.copied, report.left) == (4, 1, 1), "research has the other one's key"
    (row,) = world.db.execute("select name, size from things where domain = 'hand.com'").fetchall()
    assert (row["name"], row["size"]) == ("by hand", 12)


@pytest.mark.parametrize(("status", "sizes"), [("succeeded", [3]), ("failed", [])])
@pytest.mark.parametrize("lists", [False, True], ids=["one row", "rows"])
def test_a_row_of_a_step_that_is_not_recorded_yet_is_copied(
    world: World, lists: bool, status: str, sizes: list[int]
) -> None:
    before, after = compile_pair(world, lists)
    run = world.add_run()
    for number in range(3):
        world.add_step(run, THINGS, build_listed(f"{number}"), at=number)
    world.run_backfill(before)
    step = world.add_step(run, THINGS, build_listed("early"), status="running", at=9)
    blank = dict.fromkeys(column.name for column in before.fields)
    early = {**blank, "name": "nearly", "domain": "dearly.com", "size": "2", "source_step_result_id": step}
    if lists:
        early["kind"] = "kearly"
    world.upsert_rows(before, run.org, early)
    report = rebuild(world, after)
    assert (report.rows, report.copied, report.left) == (7 if lists else 4, 1, 0)
    world.db.execute(f"update step_results set status = '{status}' where id = '{step}'".encode())
    for _ in range(2):  # the row belongs to rows of the new key, which are queued when those of the old key are done
        world.run_backfill(after)
    assert [row["size"] for row in world.read_rows(after) if row["domain"] == "dearly.com"] == sizes
    assert_fresh(world, after)


def test_all_rows_of_a_step_that_fails_later_are_removed(world: World) -> None:
    """The key is as before, so the rows belong to the parent key by which the step's lineage knows one of them."""
    before, _ = compile_pair(world, lists=True)
    same_key = LIST.replace(
        'size: {type: text, path: "item.size", normalize: [text]}', 'size: {type: bigint, path: "item.size"}'
    )
    after = world.compile_plan(same_key, head=HEAD.replace("name]", "name, domain]"), **LISTS)
    run = world.add_run()
    world.add_step(run, THINGS, build_listed("0"))
    world.run_backfill(before)
    step = world.add_step(run, THINGS, build_listed("early"), status="running", at=9)
    early = {"name": "nearly", "kind": "kearly", "size": "2", "source_step_result_id": step}
    world.upsert_rows(before, run.org, *({**early, "domain": f"{letter}early.com"} for letter in "def"))
    assert rebuild(world, after).copied == 3
    world.db.execute(f"update step_results set status = 'failed' where id = '{step}'".encode())
    for _ in range(2):
        world.run_backfill(after)
    assert [row["domain"] for row in world.read_rows(after)] == ["d0.com", "e0.com"]
    assert_fresh(world, after)


def test_a_row_of_no_step_result_that_does_not_fit_is_a_reason_to_refuse(world: World, before: Plan) -> None:
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    rows = world.read_rows(before)
    blank = dict.fromkeys(column.name for column in before.fields)
    world.upsert_rows(before, run.org, {**blank, "name": "by hand", "domain": "hand.com", "size": "many"})
    after = change(world)
    with pytest.raises(RebuildRefused, match=r"1 row.s. of `things` come from no step result") as caught:
        rebuild(world, after)
    by_hand, _ = read_ids(world, "name")["by hand"]
    assert f"{by_hand} (invalid input syntax" in caught.value.message and "--drop-unsourced" in caught.value.hint
    assert len(world.read_rows(before)) == len(rows) + 1, "the table is as it was"
    world.upsert_rows(before, run.org, {**blank, "name": "by hand too", "domain": "too.com", "size": "2"})
    report = rebuild(world, after, drop_unsourced=True)
    assert (report.rows, report.copied, report.left) == (4, 1, 1), "what fits is copied"
    world.db.execute("delete from things where domain = 'too.com'")
    assert_fresh(world, after)


def test_rows_of_no_step_result_that_fall_together_are_a_reason_to_refuse(world: World, before: Plan) -> None:
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    blank = dict.fromkeys(column.name for column in before.fields)
    for name in ("older", "newer"):
        world.upsert_rows(before, run.org, {**blank, "name": name, "domain": "hand.com", "size": "1"})
    rows = read_ids(world, "name")
    after = change(world)
    with pytest.raises(RebuildRefused, match="1 of them have the same key as another one") as caught:
        rebuild(world, after)
    assert rows["older"][0] in caught.value.message and rows["newer"][0] not in caught.value.message
    assert len(world.read_rows(before)) == len(rows), "the table is as it was"
    report = rebuild(world, after, drop_unsourced=True)
    assert (report.copied, report.left) == (1, 1)
    assert [row["name"] for row in world.read_rows(after) if row["domain"] == "hand.com"] == ["newer"]


def test_a_column_whose_values_cannot_be_taken_over_is_named_at_once(world: World, before: Plan) -> None:
    """Numbers that the new table has given to its rows meet those of the present ones: to try again would not help."""
    insert_quotes(world)
    world.run_backfill(before)
    world.db.execute("alter table things add column serial bigint generated by default as identity unique")
    for opposite in ("-serial", "serial + 6"):
        world.db.execute(f"update things set serial = {opposite}".encode())
    after = change(world, SAME_KEY, "name")
    with pytest.raises(StoreRefused, match="duplicate key value"):
        world.loop.run(asyncio.wait_for(rebuild_spec(world.dsn, after), timeout=30))
    assert len(world.read_rows(before)) == 5, "the table is as it was"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("create view seen as select * from things", "view `seen`"),
        ("create materialized view kept as select name from things", "materialized view `kept`"),
        ("create table others (thing uuid references things (id))", "foreign key `others_thing_fkey of others`"),
        ("create rule quiet as on delete to things do instead nothing", "rule `quiet`"),
        ("create table child () inherits (things)", "partition or child `child`"),
        ("create publication told for table things", "publication `told`"),
        ("create publication told for all tables", "publication `told`"),
        ("create publication told for tables in schema public", "publication `told`"),
        ("alter table things add column parent uuid references things (id)", "foreign key `things_parent_fkey of thi"),
        (
            "create function label(things) returns text language sql return 'x'",
            "function `public.label(public.things)`",
        ),
        (
            "create function number() returns bigint language sql begin atomic select count(*) from things; end",
            "function `public.number()`",
        ),
        ("create table kept (thing things)", "table column `public.kept.thing`"),
        (
            "create table kept (id uuid); create policy of_things on kept using (id in (select id from things))",
            "policy `of_things on public.kept`",
        ),
    ],
)
def test_what_depends_on_the_table_is_a_reason_to_refuse(
    world: World, before: Plan, statement: str, named: str
) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    world.db.execute(statement.encode())
    with pytest.raises(RebuildRefused) as caught:
        rebuild(world, change(world))
    assert named in caught.value.message
    assert len(world.read_rows(before)) == 5


def test_a_role_that_lost_a_default_privilege_does_not_get_it_back(world: World, before: Plan) -> None:
    role = f"reader_{world.db.info.dbname}"
    world.db.execute(f"create role {role}; alter default privileges grant all on tables to {role}".encode())
    try:
        insert_quotes(world)
        world.run_backfill(before)
        rebuild(world, change(world))
        read = world.db.execute(f"select has_table_privilege('{role}', 'things', 'select') as may".encode())
        assert read.fetchone() == {"may": False}
    finally:
        world.db.execute(f"drop owned by {role}; drop role {role}".encode())


def test_numbers_that_are_always_generated_are_kept(world: World, before: Plan) -> None:
    world.db.execute("alter table things add column serial bigint generated always as identity")
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    blank = dict.fromkeys(column.name for column in before.fields)
    world.upsert_rows(before, run.org, {**blank, "name": "by hand", "domain": "hand.com"})
    world.db.execute("delete from things where name = 'n0'")
    world.run_backfill(before, all=True)  # so that the numbers are not in the order of the step results
    numbers = "select name, serial from things order by name"
    known = world.db.execute(numbers).fetchall()
    rebuild(world, change(world, SAME_KEY, "name"))
    assert world.db.execute(numbers).fetchall() == known
    (last,) = world.db.execute(
        "insert into things (org_id, name, domain) select org_id, 'x', 'x.com' from things limit 1 returning serial"
    )
    assert last["serial"] > max(row["serial"] for row in known)


def test_the_numbers_of_a_table_without_rows_begin_where_they_begin(world: World, before: Plan) -> None:
    world.db.execute("alter table things add column serial bigint generated always as identity (minvalue 1000)")
    after = change(world)
    rebuild(world, after)
    insert_quotes(world, 1)
    world.run_backfill(after)
    assert world.db.execute("select serial from things").fetchall() == [{"serial": 1000}]


def test_a_rebuild_takes_longer_than_a_transaction_may_be_idle(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    bounds = "-c idle_in_transaction_session_timeout=100 -c statement_timeout=5000"
    world.dsn += f"&options={quote(bounds)}"
    after = change(world)
    rebuild(world, after, report=lambda line: time.sleep(0.2))
    assert len(world.read_rows(after)) == 3
    assert_fresh(world, after)


@pytest.mark.parametrize("bound", ["idle_session_timeout", "transaction_timeout"])
def test_a_rebuild_takes_longer_than_a_session_may_be_idle_or_a_transaction_may_take(
    world: World, before: Plan, bound: str
) -> None:
    if not world.db.execute("select from pg_settings where name = %s", [bound]).fetchall():
        bound = "idle_session_timeout"  # Postgres 15 and 16 do not have the other
    insert_quotes(world)
    world.run_backfill(before)
    milliseconds = 3000 if bound == "transaction_timeout" else 1000  # no transaction of a batch takes as long
    world.dsn += f"&options={quote(f'-c {bound}={milliseconds}')}"
    after = change(world)
    rebuild(world, after, report=lambda line: time.sleep(1.2))  # four times
    assert len(world.read_rows(after)) == 3
    assert_fresh(world, after)


@pytest.mark.parametrize("table", ["t" * 63, "end.things", f"{'s' * 63}.{'u' * 63}"])
def test_a_table_of_any_name(world: World, table: str) -> None:
    """The longest names that Postgres stores, and a schema that has to be quoted."""
    head = HEAD.replace("table: things", f'table: "{table}"\nslug: things')
    before = world.create_spec(FIELDS, head=head)
    insert_quotes(world)
    world.run_backfill(before)
    after = world.compile_plan(CHANGED, head=head.replace("org_id, name", "org_id, domain"))
    for _ in range(2):
        report = rebuild(world, after)
        assert (report.rows, report.account and report.account.pending) == (3, 0)
    left = world.db.execute("select relname from pg_class where relname ilike '%rebuild%'").fetchall()
    assert left == [], left
    differences = world.loop.run(find_differences(world.own, [after], reading=True))
    assert differences == []


def test_of_two_rebuilds_of_a_spec_the_second_is_refused(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    after = change(world)
    refused: list[str] = []

    def rebuild_too(line: str) -> None:
        if "0 of 0" in line:
            with ThreadPoolExecutor() as others, pytest.raises(RebuildRefused) as caught:
                others.submit(asyncio.run, rebuild_spec(world.dsn, after)).result()
            refused.append(caught.value.message)

    rebuild(world, after, report=rebuild_too)
    assert refused == ["another rebuild of `things` is running"]
    assert_fresh(world, after)


def test_two_specs_of_one_operation_are_rebuilt_at_once(world: World, before: Plan) -> None:
    other = build_head("others", THINGS, "name")
    others = world.create_spec(FIELDS, head=other)
    insert_quotes(world, 60)
    for plan in (before, others):
        world.run_backfill(plan)
    changed = [change(world), world.compile_plan(CHANGED, head=other.replace("org_id, name", "org_id, domain"))]
    with ThreadPoolExecutor() as threads:
        rebuilding = [threads.submit(asyncio.run, rebuild_spec(world.dsn, plan)) for plan in changed]
        assert [each.result().rows for each in rebuilding] == [30, 30]
    for plan in changed:
        found = world.loop.run(verify_spec(world.dsn, plan))
        assert found.holds, found.as_dict()
    assert_fresh(world, changed[0])


def test_what_a_killed_rebuild_has_left_is_removed(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    after = change(world)
    world.db.execute("create view seen as select * from things")
    world.db.execute('create table "things_Rebuild" (id uuid)')
    world.db.execute(
        "insert into spec_versions (spec, digest, number, operations) values ('things (rebuild)', 'x', 1, '{}')"
    )
    world.db.execute("drop view seen")
    assert rebuild(world, after).rows == 3
    assert_fresh(world, after)


def test_a_table_that_only_has_a_name_like_that_of_a_rebuild_is_left_alone(world: World, before: Plan) -> None:
    other = world.create_spec(FIELDS, head=build_head("things_rebuild", THINGS, "name"))
    run, _ = insert_quotes(world)
    for plan in (before, other):
        world.run_backfill(plan)
    world.loop.run(erase_subject(world.dsn, [before, other], run.org, read_company("nobody.com")))
    assert len(world.read_rows(other)) == 5
    rebuild(world, change(world))
    assert len(world.read_rows(other)) == 5


def test_what_others_write_into_a_column_of_theirs_before_the_swap_is_not_lost(world: World, before: Plan) -> None:
    """The values of columns outside the spec are taken over before the swap, and written while it waits."""
    world.db.execute("alter table things add column remark json")
    insert_quotes(world)
    world.run_backfill(before)
    after = change(world, SAME_KEY, "name")
    with psycopg.connect(world.dsn) as user, ThreadPoolExecutor() as others:

        def commit_remark() -> None:
            while not any("share row exclusive" in query for query in list_waiting(world)):
                time.sleep(0.001)
            user.commit()

        def write_remark(line: str) -> None:
            if "0 of 0" in line:
                user.execute("update things set remark = '1' where name = 'n1'")
                others.submit(commit_remark)

        rebuild(world, after, report=write_remark)
    assert world.db.execute("select name from things where remark is not null").fetchall() == [{"name": "n1"}]
    assert_fresh(world, after)


def test_what_is_written_meanwhile_is_not_lost(world: World, before: Plan) -> None:
    run, _ = insert_quotes(world, 60)
    world.run_backfill(before)
    after, stop = change(world), threading.Event()
    added: list[str] = []

    def record_more() -> None:
        while not stop.is_set() and len(added) < 200:
            output = {"name": f"m{len(added)}", "domain": f"m{len(added) // 2}.com", "size": 1}
            added.append(world.add_step(run, THINGS, output, at=1000 + len(added)))
            time.sleep(0.005)

    writer = threading.Thread(target=record_more)
    writer.start()
    try:
        rebuild(world, after)
    finally:
        stop.set()
        writer.join()
    world.run_backfill(after)
    assert len(world.read_rows(after)) == 30 + (len(added) + 1) // 2
    assert_fresh(world, after)


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("moment", "is_killed"),
    [("0 of 0", False), ("swapped", False), ("swapped", True)],
    ids=["before the swap", "behind the swap", "behind the swap, and the rebuild is killed"],
)
@pytest.mark.parametrize("lists", [False, True], ids=["one row", "rows"])
def test_what_is_changed_meanwhile_leaves_no_row_behind(
    world: World, moment: str, is_killed: bool, lists: bool
) -> None:
    before, after = compile_pair(world, lists)
    run, moved = world.add_run(), world.add_run()
    steps = []
    for number in range(6):
        steps.append(world.add_step(moved if number == 5 else run, THINGS, build_listed(f"{number}"), at=number))
    world.run_backfill(before)
    changes = (
        "insert into orgs (name, slug) values ('Elsewhere', 'elsewhere')",
        f"update pipeline_runs set org_id = (select id from orgs where slug = 'elsewhere') where id = '{moved.id}'",
        "update step_results set output_payload ="
        f" regexp_replace(output_payload::text, '\"([dk])1', '\"\\19', 'g')::jsonb where id = '{steps[1]}'",
    )

    def change_at_moment(line: str) -> None:
        if moment in line:
            for statement in changes:
                world.db.execute(statement.encode())
            if is_killed:
                raise Killed

    with pytest.raises(Killed) if is_killed else nullcontext():
        rebuild(world, after, report=change_at_moment)
    world.run_backfill(after)
    rows = [(row["org_id"], row["domain"]) for row in world.read_rows(after)]
    assert len(rows) == (12 if lists else 6), rows
    assert moved.org not in [org for org, _ in rows] and "d1.com" not in [domain for _, domain in rows]
    assert_fresh(world, after)


def test_no_row_is_older_than_before(world: World) -> None:
    """Whoever reads rows, or follows changes, meanwhile: the results of a key are folded at once, however many."""
    kept = 'note: {type: text, path: "output.note", on_missing: keep}'
    before = world.create_spec(FIELDS + kept, head=HEAD)
    after = change(world, CHANGED + kept)
    run = world.add_run()
    for number in range(400):
        output = {"name": f"n{number % 4}", "domain": f"d{number % 4}.com", "size": number}
        world.add_step(run, THINGS, {**output, "note": "found once"} if number < 4 else output, at=number)
    world.run_backfill(before)
    seen: defaultdict[str, list[int]] = defaultdict(list)
    stop = threading.Event()

    async def follow_rows() -> None:
        query, number = build_row_query(before, run.org, None), 0
        async with await connect(world.dsn) as connection:
            is_last = False
            while not is_last:
                is_last = stop.is_set()
                async with connection.cursor(row_factory=dict_row) as cursor:
                    await cursor.execute("select domain, size, note from things", prepare=False)
                    rows = await cursor.fetchall()
                changes = await fetch_changes(connection, before, query, after=number, limit=9, max_bytes=10**6)
                number = changes.next
                for row in [*rows, *(json.loads(entry)["row"] for entry in changes.entries)]:
                    assert row is None or row["note"] == "found once", row
                    if row is not None:
                        seen[row["domain"]].append(int(row["size"]))

    def research_again(line: str) -> None:
        """Record and fold one more step result, once the new table has all of them."""
        if "0 of 0" in line:
            output = {"name": "n0", "domain": "d0.com", "size": 400}
            world.add_step(run, THINGS, output, at=400)
            with ThreadPoolExecutor() as another:
                another.submit(asyncio.run, run_backfill(world.dsn, before, Scope())).result()

    with ThreadPoolExecutor() as follower:
        following = follower.submit(asyncio.run, follow_rows())
        try:
            rebuild(world, after, report=research_again)
        finally:
            stop.set()
        following.result()
    assert seen.keys() == {"d0.com", "d1.com", "d2.com", "d3.com"}
    for domain, sizes in seen.items():
        assert sizes == sorted(sizes) and sizes[0] >= 396, (domain, sizes)
    assert seen["d0.com"][-1] == 400
    assert_fresh(world, after)


def test_who_is_erased_meanwhile_is_not_in_the_new_table_and_nothing_else_is_lost(world: World) -> None:
    kept = 'note: {type: text, path: "output.note", on_missing: keep}'
    before = world.create_spec(FIELDS + kept, head=HEAD)
    run = world.add_run()
    for at, (name, domain, note) in enumerate(
        [("older", "a.com", "a"), ("newer", "gone.com", "g"), ("older", "gone.com", None), ("newer", "b.com", None)]
    ):
        output = {"name": name, "domain": domain, "company_domain": domain, "size": at, "note": note}
        world.add_step(run, THINGS, output, at=at)
    same_key = change(world, SAME_KEY + kept, "name")
    world.run_backfill(before)

    def erase_subject_meanwhile(line: str) -> None:
        if "0 of 0" in line:
            work = erase_subject(world.dsn, [before], run.org, read_company("gone.com"))
            with ThreadPoolExecutor() as another:
                assert another.submit(asyncio.run, work).result().removed["step_results"] == 2

    rebuild(world, same_key, report=erase_subject_meanwhile)
    rows = [(row["name"], row["domain"], row["note"]) for row in world.read_rows(same_key)]
    assert sorted(rows) == [("newer", "b.com", None), ("older", "a.com", "a")]
    assert_fresh(world, same_key)


@pytest.mark.parametrize("lists", [False, True], ids=["one row", "rows"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["running", "killed"])
def test_who_is_erased_is_nowhere_at_once(world: World, is_killed: bool, lists: bool) -> None:
    """Neither in the table of a rebuild that is running or was killed, nor in what is recorded of that table.

    Under the changed key one row has two step results, and what the older one of the two says is kept in it.
    """
    before, after = compile_pair(world, lists)
    run = world.add_run()
    shared = build_listed("shared")
    about = {"company_domain": "erased.com", "document": {"about": "erased.com"}, "kind": "erased.com"}
    for at, output in enumerate(({**shared, **about}, {**shared, "name": "kept", "kind": "kept"})):
        world.add_step(run, THINGS, output, at=at)
    corrected = world.add_step(run, THINGS, {**build_listed("right"), **about, "company_domain": "right.com"}, at=2)
    world.run_backfill(before)

    def erase_meanwhile() -> None:
        correct = "replace(output_payload::text, 'erased.com', 'kright')::jsonb where id = %s"
        world.db.execute(f"update step_results set output_payload = {correct}".encode(), [corrected])
        with ThreadPoolExecutor() as another:
            another.submit(asyncio.run, run_backfill(world.dsn, before, Scope())).result()
            if not is_killed:  # it computes the row of the corrected step result
                another.submit(asyncio.run, run_backfill(world.dsn, after_rebuilt, Scope())).result()
            work = erase_subject(world.dsn, [before], run.org, read_company("erased.com"))
            assert another.submit(asyncio.run, work).result().removed["step_results"] == 1
        assert search_database(world, "erased.com") == set()
        assert world.db.execute("select from stale_rows").fetchall() == []

    def act(line: str) -> None:
        if "0 of 0" in line and is_killed:
            raise Killed
        if "0 of 0" in line:
            erase_meanwhile()

    after_rebuilt = build_new_plan(after, "public")
    with pytest.raises(Killed) if is_killed else nullcontext():
        rebuild(world, after, report=act)
    if is_killed:
        erase_meanwhile()
        rebuild(world, after)
    assert search_database(world, "erased.com") == set()
    domains = {row["domain"] for row in world.read_rows(after)}
    assert domains == {"dshared.com", "dright.com", *(("eshared.com", "eright.com") if lists else ())}
    assert_fresh(world, after)


def test_the_swap_waits_for_an_erasure(world: World, before: Plan) -> None:
    """What the erasure has found is recorded by the names that it has until the swap."""
    run, _ = insert_quotes(world)
    output = {"name": "n", "domain": "d0.com", "company_domain": "erased.com", "document": {"about": "erased.com"}}
    step = world.add_step(run, THINGS, output, at=-1)
    world.run_backfill(before)
    after = change(world)
    is_filled = threading.Event()
    with ThreadPoolExecutor() as others, psycopg.connect(world.dsn) as user:

        def erase(line: str) -> None:
            if "0 of 0" in line and not is_filled.is_set():
                user.execute("select from step_results where id = %s for update", [step])
                work = erase_subject(world.dsn, [before], run.org, read_company("erased.com"))
                erasing.append(others.submit(asyncio.run, work))
                while not list_waiting(world):
                    assert not erasing[0].done(), erasing[0].result()
                    time.sleep(0.001)
                is_filled.set()

        erasing: list[Future[Erasure]] = []
        rebuilding = others.submit(asyncio.run, rebuild_spec(world.dsn, after, report=erase))
        assert is_filled.wait(30)
        while not any("dex swap" in query for query in list_waiting(world)):
            assert not rebuilding.done(), rebuilding.result()
            time.sleep(0.001)
        user.commit()
        assert erasing[0].result().removed["step_results"] == 1
        rebuilding.result()
    assert search_database(world, "erased.com") == set()
    assert_fresh(world, after)


def test_an_erasure_that_waits_for_a_swap_is_not_in_its_way(world: World, before: Plan) -> None:
    """Otherwise the two wait for each other until one of them is ended."""
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    with psycopg.connect(world.dsn) as swap, ThreadPoolExecutor() as others:
        swap.execute(LOCK_SWAP_SQL, {"spec": before.name})
        erasing = others.submit(asyncio.run, erase_subject(world.dsn, [before], run.org, read_company("d0.com")))
        while not any("dex swap" in query for query in list_waiting(world)):
            assert not erasing.done(), erasing.result()
            time.sleep(0.001)
        swap.execute("lock table things in access exclusive mode nowait")
        swap.commit()
        assert erasing.result().removed["things"] == 2


def test_a_row_is_not_left_behind_whose_step_is_corrected_while_its_id_is_taken_over(
    world: World, before: Plan
) -> None:
    """The correction is open while the last step results are folded; the row then gets the id of the present one."""
    _, steps = insert_quotes(world)
    world.run_backfill(before)
    after = change(world, SAME_KEY, "name")
    with psycopg.connect(world.dsn) as user, ThreadPoolExecutor() as others:

        def commit_correction() -> None:
            while not any(query.startswith("update row_lineage") for query in list_waiting(world)):
                time.sleep(0.001)
            user.commit()

        def correct_step(line: str) -> None:
            if "0 of 0" in line:
                renamed = "replace(output_payload::text, 'n1', 'm1')::jsonb"
                user.execute(f"update step_results set output_payload = {renamed} where id = %s".encode(), [steps[1]])
                others.submit(commit_correction)

        rebuild(world, after, report=correct_step)
    assert [row["name"] for row in world.read_rows(after)] == ["m1", "n0", "n2", "n3", "n4"]
    assert_fresh(world, after)


def test_the_row_of_a_step_that_fails_once_it_was_copied_is_removed(world: World, before: Plan) -> None:
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    step = world.add_step(run, THINGS, {"name": "early", "domain": "early.com"}, status="running", at=9)
    blank = dict.fromkeys(column.name for column in before.fields)
    early = {**blank, "name": "early", "domain": "early.com", "source_step_result_id": step}
    world.upsert_rows(before, run.org, early)
    after = change(world)
    with ThreadPoolExecutor() as others, psycopg.connect(world.dsn) as user:
        user.execute("select from row_changes where table_name = 'things' for update")
        rebuilding = others.submit(asyncio.run, rebuild_spec(world.dsn, after))
        while not any(query.startswith("\nupdate row_changes") for query in list_waiting(world)):
            assert not rebuilding.done()
            time.sleep(0.001)
        world.db.execute(f"update step_results set status = 'failed' where id = '{step}'".encode())
        user.commit()
        assert rebuilding.result().copied == 1
    for _ in range(2):  # as above
        world.run_backfill(after)
    assert [row["domain"] for row in world.read_rows(after)] == ["d0.com", "d1.com", "d2.com"]
    assert_fresh(world, after)


def test_who_corrects_a_list_beside_a_copied_row_waits_for_no_swap(world: World) -> None:
    """Otherwise the two wait for each other, one for the list's lineage and one for its parent key in `stale_rows`."""
    head = HEAD.replace("name]", "name, domain]")
    before = world.create_spec(LIST, head=head, **LISTS)
    fields = LIST.replace('text, path: "item.size", normalize: [text]', 'bigint, path: "item.size"')
    after = world.compile_plan(fields, head=head, **LISTS)
    run = world.add_run()
    step = world.add_step(run, THINGS, build_listed("1"))
    world.run_backfill(before)
    blank = dict.fromkeys(column.name for column in before.fields)
    world.upsert_rows(before, run.org, {**blank, "name": "n1", "kind": "k1", "domain": "by hand.com"})

    def correct_step() -> None:
        with psycopg.connect(world.dsn, autocommit=True) as connection:
            sql = "update step_results set output_payload = jsonb_set(output_payload, '{more}', '1') where id = %s"
            connection.execute(sql, [step])

    with ThreadPoolExecutor() as others, psycopg.connect(world.dsn) as user:
        user.execute("select from row_changes where table_name = 'things' for update")
        rebuilding = others.submit(asyncio.run, rebuild_spec(world.dsn, after))
        while not any("row_changes" in query for query in list_waiting(world)):
            assert not rebuilding.done()
            time.sleep(0.001)
        correcting = others.submit(correct_step)
        while not correcting.done() and len(list_waiting(world)) < 2:
            time.sleep(0.001)
        user.commit()
        correcting.result()
        assert rebuilding.result().copied == 1
    world.run_backfill(after)
    assert {row["domain"] for row in world.read_rows(after)} == {"by hand.com", "d1.com", "e1.com"}


@pytest.mark.parametrize("action", ["backfill", "correction", "upsert"])
def test_what_begins_during_the_swap_waits_for_it(world: World, before: Plan, action: str) -> None:
    """The swap has moved the lineage and waits for a reader of the table; meanwhile somebody else begins."""
    world.db.execute("alter table things add constraint known check (domain <> 'x')")
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    step = world.add_step(run, THINGS, {"domain": "new.com"}, at=5)  # it has no row before
    after = change(world)
    correct = (
        "update step_results set output_payload = replace(output_payload::text, 'new', 'newer')::jsonb where id = %s"
    )

    def begin_action() -> None:
        if action == "backfill":
            asyncio.run(run_backfill(world.dsn, after, Scope()))
        elif action == "upsert":  # on a connection that has prepared nothing: it locks tables before it locks the row
            try:
                asyncio.run(upsert_by_hand(world, after, run.org))
            except StoreRefused as error:
                if error.sqlstate != "42883":
                    raise
                begin_action()  # the swap gave way to it, so it met the old table, of another type: text = bigint
        else:
            with psycopg.connect(world.dsn, autocommit=True) as connection:
                connection.execute(correct, [step])

    with psycopg.connect(world.dsn) as user, ThreadPoolExecutor() as others:
        user.execute("select from things")
        rebuilding = others.submit(asyncio.run, rebuild_spec(world.dsn, after))
        waiting: set[str] = set()
        while len(waiting) < 2:
            while not any(query.endswith("in access exclusive mode") for query in list_waiting(world)):
                time.sleep(0.001)
            begun = others.submit(begin_action)
            while not begun.done() and len(waiting) < 2:
                waiting = list_waiting(world)
        user.commit()
        rebuilding.result()
        begun.result()
    world.run_backfill(after)
    by_hand = world.db.execute("delete from things where name = 'by hand' returning id").fetchall()
    assert (len(by_hand), len(world.read_rows(after))) == (1 if action == "upsert" else 0, 4)
    assert_fresh(world, after)


async def upsert_by_hand(world: World, plan: Plan, org: str) -> None:
    blank = dict.fromkeys(column.name for column in plan.fields)
    async with await connect(world.dsn) as connection:
        await LiveUpsert.build(plan).write_rows(connection, org, [{**blank, "name": "by hand", "domain": "hand.com"}])


def list_waiting(world: World) -> set[str]:
    """Return the statements that wait for a lock."""
    sql = "select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return {row["query"] for row in world.db.execute(sql).fetchall()}


def test_an_id_is_that_of_its_key_whatever_changes_before_the_swap(world: World, before: Plan) -> None:
    """Ids are taken over before the table is swapped; while it is in use, a present row gets another key."""
    run = world.add_run()
    steps = [world.add_step(run, THINGS, {"name": "n", "domain": f"d{at}.com", "size": at}, at=at) for at in (1, 2)]
    world.run_backfill(before)
    known, _ = read_ids(world, "name")["n"]
    after = change(world, key="name, domain")

    def change_key() -> None:
        """Let the older one be the newest, once the row of the other one has taken over the id."""
        with psycopg.connect(world.dsn, autocommit=True) as db:
            while db.execute("select to_regclass('\"things_Rebuild\"') is not null").fetchone() != (True,):
                time.sleep(0.01)
            while not db.execute('select from "things_Rebuild" where id = %s', [known]).fetchall():
                time.sleep(0.01)
            db.execute("update step_results set finished_at = finished_at + interval '1 h' where id = %s", [steps[0]])
        asyncio.run(run_backfill(world.dsn, before, Scope()))
        user.commit()

    with psycopg.connect(world.dsn) as user:
        user.execute("lock table things in access share mode")
        writer = threading.Thread(target=change_key)
        writer.start()
        rebuild(world, after)
        writer.join()
    assert {row["domain"] for row in world.read_rows(after)} == {"d1.com", "d2.com"}
    assert read_ids(world, "domain")["d1.com"][0] == known
    assert_fresh(world, after)


def test_nobody_waits_for_a_rebuild_that_waits_for_step_results(
    world: World, before: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_QUEUE_TIMEOUT", 0.2)
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    after = change(world)
    locked = "select count(*) from pg_locks where relation = 'things'::regclass and mode = 'ShareRowExclusiveLock'"
    is_filled = threading.Event()
    with ThreadPoolExecutor() as others, psycopg.connect(world.dsn) as long:
        payload = build_payload(THINGS, {"name": "late", "domain": "late.com"})
        insert_step(long, run.id, position=9, payload=payload, finished_at=START)
        work = rebuild_spec(world.dsn, after, report=lambda line: is_filled.set() if "0 of 0" in line else None)
        rebuilding = others.submit(asyncio.run, work)
        assert is_filled.wait(30)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert not count(world, locked) and not rebuilding.done()
            time.sleep(0.01)
        long.commit()
        rebuilding.result()
    assert len(world.read_rows(after)) == 4
    assert_fresh(world, after)


def test_nobody_waits_behind_a_rebuild_that_waits(world: World, before: Plan) -> None:
    """Foreign keys of the new table lock submissions, which a long transaction has changed: others go on."""
    run, _ = insert_quotes(world)
    world.run_backfill(before)
    after = change(world)
    other = world.add_run()
    with psycopg.connect(world.dsn) as long, psycopg.connect(world.dsn, autocommit=True) as short:
        long.execute("update submissions set source = 'long' where id = %s", [run.submission])
        rebuilding = threading.Thread(target=lambda: asyncio.run(rebuild_spec(world.dsn, after)))
        rebuilding.start()
        waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        while not short.execute(waiting).fetchall():
            time.sleep(0.01)
        short.execute("set lock_timeout = '5s'")
        short.execute("update submissions set source = 'short' where id = %s", [other.submission])
        assert rebuilding.is_alive()
        long.commit()
        rebuilding.join()
    assert len(world.read_rows(after)) == 3
    assert_fresh(world, after)


def test_a_reader_sees_the_old_table_or_the_new_one(world: World, before: Plan) -> None:
    insert_quotes(world, 60)
    world.run_backfill(before)
    counts: set[int] = set()
    stop = threading.Event()

    def read_counts() -> None:
        with psycopg.connect(world.dsn, autocommit=True) as connection:
            while not stop.is_set():
                row = connection.execute("select count(*) from things").fetchone()
                counts.add(row[0] if row else -1)

    reader = threading.Thread(target=read_counts)
    reader.start()
    try:
        rebuild(world, change(world))
    finally:
        stop.set()
        reader.join()
    assert counts <= {60, 30} and 60 in counts, counts


def test_a_table_of_another_schema_of_the_search_path_stays_in_it(world: World, before: Plan) -> None:
    insert_quotes(world)
    world.run_backfill(before)
    world.db.execute("create schema entities")
    world.db.execute("alter table things set schema entities")
    world.dsn += f"&options={quote('-c search_path=public,entities')}"
    world.loop.run(world.own.execute("set search_path = public, entities"))
    world.db.execute("set search_path = public, entities")
    after = change(world)
    rebuild(world, after)
    row = world.db.execute("select relnamespace::regnamespace::text from pg_class where relname = 'things'").fetchone()
    assert row == {"relnamespace": "entities"}
    assert_fresh(world, after)


def test_a_rebuild_that_is_killed_anywhere_is_done_again(world: World, before: Plan, tmp_path: Path) -> None:
    """kill -9 at moments of its way, while somebody records step results: the next one ends well."""
    run, _ = insert_quotes(world, 100)
    world.run_backfill(before)
    after = change(world)
    spec = (HEAD.strip().replace("org_id, name", "org_id, domain"), "fields:", *CHANGED.strip().splitlines())
    make_project(tmp_path, "\n".join((*spec[:2], *(f"  {line}" for line in spec[2:]))))
    filling = "select count(*) from pg_class where relname = 'things_Rebuild' and pg_relation_size(oid) > 0"
    swapped = "select count(*) from pg_attribute where attrelid = 'things'::regclass and attname = 'size' and"
    swapped += " atttypid = 'int8'::regtype"
    environment = {"DATABASE_URL": world.dsn}
    for number, query in enumerate((filling, swapped)):
        with (
            psycopg.connect(world.dsn) as reader,
            start_dex("rebuild", "things", "--yes", environment=environment, folder=tmp_path) as running,
        ):
            if query == filling:
                reader.execute("select from things")  # so that nothing is swapped before it was seen
            output = {"name": f"m{number}", "domain": f"m{number}.com", "size": 1}
            world.add_step(run, THINGS, output, at=1000 + number)
            while not count(world, query):
                assert running.popen.poll() is None, running.text
                time.sleep(0.002)
            running.kill()
        assert len(world.db.execute("select from things").fetchall()) in (100, 50, 51, 52), "one table or the other"
    ended = run_dex_text("rebuild", "things", "--yes", "--json", environment=environment, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["rows"] == 52
    assert_fresh(world, after)


def count(world: World, query: str) -> int:
    row = world.db.execute(query.encode()).fetchone()
    return int(row["count"]) if row else 0


def make_project(folder: Path, spec: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "specs").mkdir()
    (folder / "specs" / "things.yaml").write_text(spec + "\n")


def test_the_commands_of_the_page(world: World, tmp_path: Path) -> None:
    """A key of a shipped spec is changed and walked to the end by docs/howto/change-the-key.md."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    answer = {"parallel_raw_response": {"output": {"content": {"a": 1}}}, "domain": "acme.com"}
    sample = Path("tests", "cases", "good", "company_intel_briefings", "step_output.json")
    (tmp_path / sample).parent.mkdir(parents=True)
    (tmp_path / sample).write_text(json.dumps({**answer, "client_company_name": "One"}))
    run = world.add_run()
    for at, client in enumerate(("One", "Two")):
        world.add_step(run, "company.derive.intel_briefing", {**answer, "client_company_name": client}, at=at)
    world.run_backfill(world.specs["company_intel_briefings"])
    spec = tmp_path / "specs" / "company_intel_briefings.yaml"
    key = "conflict: [org_id, company_domain, client_company_name]"
    assert key in spec.read_text()
    spec.write_text(spec.read_text().replace(key, "conflict: [org_id, company_domain]"))

    page = ROOT / "docs" / "howto" / "change-the-key.md"
    ended = walk_page(page, tmp_path, world.dsn, world.db.execute, answers=("dex rebuild",))
    assert [(each.command, each.status) for each in ended] == [
        ("dex check", 0),
        (f"dex extract company_intel_briefings {sample}", 0),
        ("dex generate", 0),
        ("dex rebuild company_intel_briefings", 0),
        ("dex check --database", 0),
        ("dex verify company_intel_briefings", 0),
    ], ended
    rows = world.db.execute("select company_domain, client_company_name from company_intel_briefings").fetchall()
    assert rows == [{"company_domain": "acme.com", "client_company_name": "Two"}]


def test_a_column_that_only_has_the_name_of_stored_words_is_carried_over(world: World) -> None:
    plan = world.create_spec(FIELDS, head=HEAD)
    world.db.execute("alter table things add column search_document text default 'of somebody else'")
    insert_quotes(world)
    world.run_backfill(plan)
    after = world.compile_plan(CHANGED, head=HEAD.replace("org_id, name", "org_id, domain") + "search: [domain]\n")
    rebuild(world, after)
    rows = world.db.execute("select distinct search_document as words from things").fetchall()
    assert [row["words"] for row in rows] == ["of somebody else"]


def test_the_words_of_a_search_are_those_of_the_changed_spec(world: World) -> None:
    """Postgres changes no column from which another one is computed, and both the columns and the search change."""
    plan = world.create_spec(FIELDS, head=HEAD + "search: [name, size]\n")
    insert_quotes(world)
    world.run_backfill(plan)
    after = world.compile_plan(CHANGED, head=HEAD.replace("org_id, name", "org_id, domain") + "search: [domain]\n")
    rebuild(world, after)
    words = world.db.execute("select search_document::text as words from things order by domain").fetchall()
    assert [row["words"] for row in words] == ["'d0.com':1", "'d1.com':1", "'d2.com':1"]
    assert_fresh(world, after)
