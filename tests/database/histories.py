"""Random histories of step results, and what is done with each: for the laws of `test_row_laws.py`.

A history is a list of actions. An action names a step result by a number, taken modulo those that there are, so that
any part of a history is a history too and a failure shrinks to the few actions that cause it.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.backfill import coverage
from engine.backfill import run as backfill
from engine.backfill.versions import SpecOutdated, register_versions
from engine.erase.run import erase_subject
from engine.erase.subject import read_company
from engine.generate import typescript
from engine.plan import Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.sql.identifiers import quote_names
from engine.sql.step_results import Scope
from engine.store.connection import connect
from engine.store.errors import StoreUnavailable
from engine.tables.rebuild import rebuild_spec
from engine.values import exact_json
from engine.verify.repair import repair_spec
from engine.verify.report import Verification
from engine.verify.run import verify_spec
from tests.api.loopback import INTERNAL_KEY
from tests.database.history_specs import EDITED_CELLS, ORGS, Action, Edit, Mistake
from tests.database.laboratory import Laboratory, kill_at
from tests.world import build_payload, insert_organisation, insert_run, insert_step, insert_submission

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Step:
    """A step result of the history: what was written last."""

    id: str
    run: str
    submission: str


@dataclass
class History:
    """One history in the making."""

    lab: Laboratory
    orgs: list[str]
    steps: list[Step] = field(default_factory=list)
    version: int = 0
    recorded: int = 0
    lines: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, lab: Laboratory) -> "History":
        """Begin a history in an empty database."""
        lab.empty()
        return cls(lab, [insert_organisation(lab.db) for _ in range(ORGS)])

    @property
    def plan(self) -> Plan:
        return self.lab.plans[self.version]

    @property
    def operation(self) -> str:
        return self.plan.operations[0]

    def play(self, actions: Sequence[Action]) -> None:
        """Do one action after the other. Every version of the spec is known: which one is present is part of it."""
        for version in reversed(range(len(self.lab.plans))):
            self.do_respec(version)
        for name, *arguments in actions:
            getattr(self, f"do_{name}")(*arguments)

    def verify(self) -> Verification:
        found: Verification = self.lab.call(verify_spec(self.lab.dsn, self.plan))
        return found

    def repair_table(self) -> Verification:
        found: Verification = self.lab.call(repair_spec(self.lab.dsn, self.plan))
        return found

    def pick(self, number: int) -> Step | None:
        return self.steps[number % len(self.steps)] if self.steps else None

    # --- the actions ---

    def do_record(self, org: int, output: Any, at: int | None, order: int, live: bool) -> None:
        """Record a step result, at one of a few times or without one; then write its rows live, or do not.

        `order` comes first in its id, which decides between results of one time.
        """
        db = self.lab.db
        submission = insert_submission(db, self.orgs[org])
        run = insert_run(db, self.orgs[org], submission)
        finished = None if at is None else START + timedelta(seconds=at)
        self.recorded += 1
        step_id = str(uuid.UUID(int=order << 64 | self.recorded, version=4))
        insert_step(db, run, payload=self.build_payload(output), finished_at=finished, step_id=step_id)
        self.steps.append(Step(step_id, run, submission))
        if live:
            self.do_live(len(self.steps) - 1, None)

    def build_payload(self, output: Any, status: str = "found") -> str:
        text = exact_json.dumps(output).decode()
        return build_payload(self.operation, text, context=text, status=status)

    def do_live(self, number: int, version: int | None) -> None:
        """Write the rows of a step result as the runner does: its generated block, against the API of a version."""
        step = self.pick(number)
        if step is None:
            return
        row = self.lab.db.execute(
            "select org_id::text, output_payload::text as payload, to_json(recorded_at) #>> '{}' as at, result_status"
            " from step_results where id = %s",
            [step.id],
        ).fetchone()
        if row is None or row["result_status"] != "found":
            return
        version = self.version if version is None else version
        payload = exact_json.loads(row["payload"])
        request: Any = {
            "module": self.lab.modules[version],
            "function": typescript.build_function_name(self.lab.plans[version]),
            "url": self.lab.apis[version].url,
            "key": INTERNAL_KEY,
            "org": row["org_id"],
            "step": {
                "operationId": self.operation,
                "result": payload["operation_result"],
                "context": payload["cumulative_context"],
                "run": {
                    "org_id": row["org_id"],
                    "submission_id": step.submission,
                    "pipeline_run_id": step.run,
                    "step_position": 1,
                },
                "stepResultId": step.id,
                "recordedAt": row["at"],
            },
        }
        self.lines += self.lab.blocks.run_block(exact_json.dumps(request))

    def do_sweep(self, version: int | None, batch_size: int, limit: int | None) -> None:
        """Backfill what is pending, as a process with that version of the spec does."""
        self.backfill(self.version if version is None else version, batch_size=batch_size, limit=limit)

    def backfill(self, version: int, *, batch_size: int = 500, limit: int | None = None, all: bool = False) -> None:
        scope = Scope(limit=limit, all=all)
        try:
            self.lab.call(backfill.run_backfill(self.lab.dsn, self.lab.plans[version], scope, batch_size=batch_size))
        except SpecOutdated:
            assert version != self.version

    def do_repair(self, number: int) -> None:
        step = self.pick(number)
        if step is not None:
            self.lab.call(self.repair(step))

    async def repair(self, step: Step) -> None:
        async with await connect(self.lab.dsn) as connection:
            await backfill.repair_run(connection, [self.plan], step.run)

    def do_correct(self, number: int, output: Any) -> None:
        """Let a step result say something else."""
        self.update_step(number, "output_payload = %s::jsonb", self.build_payload(output))

    def do_time(self, number: int, at: int | None) -> None:
        self.update_step(number, "finished_at = %s", None if at is None else START + timedelta(seconds=at))

    def do_status(self, number: int, status: str) -> None:
        self.update_step(
            number,
            "output_payload = jsonb_set(output_payload, '{operation_result,status}', to_jsonb(%s::text))",
            status,
        )

    def update_step(self, number: int, change: str, value: Any) -> None:
        step = self.pick(number)
        if step is not None:
            self.lab.db.execute(f"update step_results set {change} where id = %s", [value, step.id])

    def do_delete(self, number: int) -> None:
        step = self.pick(number)
        if step is not None:
            self.lab.db.execute("delete from submissions where id = %s", [step.submission])
            self.steps.remove(step)

    def do_move(self, number: int, org: int) -> None:
        """Move the run of a step result, and its submission, to an organisation."""
        step = self.pick(number)
        if step is not None:
            for table, id_ in (("submissions", step.submission), ("pipeline_runs", step.run)):
                self.lab.db.execute(f"update {table} set org_id = %s where id = %s", [self.orgs[org], id_])

    def do_respec(self, version: int) -> None:
        """Deploy another version of the spec: from now on it is the present one."""
        self.version = version
        self.register()

    def register(self) -> None:
        """Make the present version known, as `dex migrate` does."""

        async def register() -> None:
            async with await connect(self.lab.dsn) as connection:
                await register_versions(connection, [self.plan])

        self.lab.call(register())

    def do_kill(self, exchange: int, after: bool) -> None:
        """Begin a backfill and kill it at one of its exchanges with the server."""
        with kill_at(exchange, after), suppress(StoreUnavailable):
            self.backfill(self.version, batch_size=2)

    def do_rebuild(self, exchange: int | None, after: bool) -> None:
        """Rebuild the table; with `exchange`, be killed at that exchange with the server."""
        killed = nullcontext() if exchange is None else kill_at(exchange, after)
        with killed, suppress(StoreUnavailable):
            self.lab.call(rebuild_spec(self.lab.dsn, self.plan, drop_unsourced=True))
        if exchange is not None:  # the server lets go of the locks once it has noticed
            names = "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where"
            while self.lab.db.execute(f"{names} datname = current_database())").fetchall():
                time.sleep(0.01)

    def do_erase(self, org: int) -> None:
        """Erase a company from an organisation: at once nothing of the organisation has its domain any more."""
        company = read_company("a.example")
        self.lab.call(erase_subject(self.lab.dsn, [self.plan], self.orgs[org], company))
        kept = self.lab.db.execute("select id::text from step_results").fetchall()
        self.steps = [step for step in self.steps if step.id in {row["id"] for row in kept}]
        tables = self.lab.db.execute(
            "select attrelid::regclass::text as name from pg_attribute join pg_class as c on c.oid = attrelid"
            " where attname = 'org_id' and relkind = 'r' and relnamespace = 'public'::regnamespace"
        ).fetchall()
        for table in tables:
            query = f"select from {table['name']} as t where org_id = %s and t::text like '%%a.example%%'"
            assert not self.lab.db.execute(query, [self.orgs[org]]).fetchall(), table

    def do_person(self, number: int) -> None:
        """Write a row by hand, through the API, naming no step result: the key that a step result gives."""
        step = self.pick(number)
        if step is None:
            return
        row = self.lab.db.execute(
            "select org_id::text, output_payload #> '{operation_result,output}' as output"
            " from step_results where id = %s",
            [step.id],
        ).fetchone()
        assert row is not None
        output = row["output"]
        if self.plan.many:
            body = {"rows": [{"domain": output.get("domain"), "name": "x", "note": "by hand", "whole": {}}]}
        else:
            body = {"code": output.get("code"), "place": output.get("place"), "note": "by hand"}
        answer = self.lab.apis[self.version].upsert(self.plan.slug, body, row["org_id"])
        assert answer.status_code in (200, 422), answer.text

    # --- what a person may do to the table ---

    def edit_table(self, edits: Sequence[Edit]) -> set[Mistake]:
        """Change sourced rows behind the engine's back; return what a verification has to say of it."""
        rows = self.lab.db.execute(
            f'select * from "{self.plan.table}" where source_step_result_id is not null order by id'
        ).fetchall()
        mistakes: set[Mistake] = set()
        last = self.plan.key_fields[-1].name
        for number, (kind, place, choice) in enumerate(edits):
            if not rows:
                break
            row = rows.pop(place % len(rows))  # each row is edited once
            key, other = self.build_key(row), {**row, last: f"edited {number}"}
            if kind == "delete":
                self.lab.db.execute(f'delete from "{self.plan.table}" where id = %s', [row["id"]])
                mistakes.add(("missing", key, None, ()))
            elif kind == "rename":
                self.lab.db.execute(
                    f'update "{self.plan.table}" set "{last}" = %s where id = %s', [other[last], row["id"]]
                )
                mistakes |= {("missing", key, None, ()), ("orphaned", self.build_key(other), str(row["id"]), ())}
            elif kind == "copy":
                other["id"] = uuid.uuid4()
                names = [name for name in other if not isinstance(other[name], (dict, list)) or name == "tags"]
                columns, values = quote_names(names), ", ".join(["%s"] * len(names))
                self.lab.db.execute(
                    f'insert into "{self.plan.table}" ({columns}) values ({values})', [other[name] for name in names]
                )
                mistakes.add(("orphaned", self.build_key(other), str(other["id"]), ()))
            else:
                cells = [column.name for column in self.plan.fields if not column.key and column.name in EDITED_CELLS]
                name = cells[choice % len(cells)]
                self.lab.db.execute(
                    f'update "{self.plan.table}" set "{name}" = %s where id = %s', [EDITED_CELLS[name], row["id"]]
                )
                mistakes.add(("different", key, str(row["id"]), (name,)))
        return mistakes

    def build_key(self, row: dict[str, Any]) -> tuple[str, ...]:
        """Return the key of a row as text, a moment as JSON has it."""
        values = (row[name] for name in self.plan.conflict)
        return tuple(value.isoformat() if isinstance(value, datetime) else str(value) for value in values)

    def list_mistakes(self, found: Verification) -> set[Mistake]:
        """Return what a verification has found, but for what it does not call a mistake."""
        return {
            (sample.kind, self.build_key(dict(sample.key)), sample.id, sample.columns)
            for sample in found.samples
            if sample.kind not in ("unsourced", "pending")
        }

    # --- the end ---

    def settle(self) -> None:
        """Sweep until nothing is pending."""
        for _ in range(4):
            self.backfill(self.version)
            if not self.count_pending():
                return
        raise AssertionError(f"{self.count_pending()} stay pending")

    def count_pending(self) -> int:
        return sum(account["pending"] + account.get("stale_rows", 0) for account in self.read_coverage())

    def read_coverage(self) -> list[dict[str, Any]]:
        async def fetch() -> list[dict[str, Any]]:
            async with await connect(self.lab.dsn) as connection:
                return await coverage.fetch_coverage(connection, [self.plan])

        return list(self.lab.call(fetch()))

    def read_accounts(self) -> list[dict[str, Any]]:
        """Return the numbers that a fresh backfill has too: which result of a key won when is history."""
        accounts = []
        for account in self.read_coverage():
            stored = sum(account.pop(name) for name in ("written", "unchanged", "superseded"))
            accounts.append({**account, "stored": stored})
        return accounts

    def read_rows(self) -> list[dict[str, Any]]:
        """Return the rows that have a step result, in the order of their keys, every cell as text."""
        columns = ["org_id", *(column.name for column in self.plan.fields), *SOURCE_COLUMNS]
        cells = ", ".join(f'"{name}"::text' for name in columns)
        key = ", ".join(f'"{name}"' for name in self.plan.conflict)
        return self.lab.db.execute(
            f'select {cells} from "{self.plan.table}" where source_step_result_id is not null order by {key}'
        ).fetchall()

    def start_afresh(self) -> None:
        """Forget all that follows from the step results, and backfill."""
        self.lab.db.execute(f"truncate {self.plan.table}, step_persistence, row_lineage, stale_rows")
        self.settle()
