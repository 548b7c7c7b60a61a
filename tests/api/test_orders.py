"""Orders: one per question, whoever asks; what became of them; within the budget."""

import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.api.loopback import (
    ADMIN_KEY,
    Api,
    bearer_headers,
    internal_headers,
    read_data,
    read_error,
    run_api,
    session_jwt,
)
from tests.api.test_trouble import WAITING, wait_until
from tests.forked_dex import run_dex_text

OPERATION = "company.derive.icp_job_titles"
QUESTION = "0" * 64


def insert_running_step(api: Api, org: str) -> str:
    _, run = api.insert_submission(org)
    return api.insert_step(run)


def place_order(api: Api, step: str, holder: str = "h", **changes: Any) -> Any:
    body = {
        "step_result_id": step,
        "operation": OPERATION,
        "provider": "parallel",
        "processor": "pro",
        "question": QUESTION,
        "holder": f"{step}/{holder}",
        "output": {"domain": "a.com"},
    }
    return read_data(api.call_runner("research-orders/place", body | changes))


def accept_order(api: Api, order_id: str, run_id: str = "trun_1") -> Any:
    body = {"order_id": order_id, "provider_run_id": run_id}
    return read_data(api.call_runner("research-orders/accepted", body))


def end_order(api: Api, order_id: str, answer: Any) -> Any:
    body = {"order_id": order_id, "status": "completed", "answer": answer}
    return read_data(api.call_runner("research-orders/ended", body))


def run_dex(api: Api, *words: str, status: int = 0) -> str:
    """Run a command on the database of the API; return what it printed, or its error where `status` is not 0."""
    done = run_dex_text(*words, environment={**os.environ, "DATABASE_URL": api.dsn})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if status else done.stdout


def fetch_orders(api: Api, org: str) -> Any:
    return read_data(api.client.get("/api/v1/orders", headers=internal_headers(org)))


def test_an_order_is_placed_whatever_style_of_dates_the_database_has(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"alter database \"{connection.info.dbname}\" set datestyle = 'German, DMY'")
    with run_api(database) as api:
        org = api.insert_organisation()
        assert place_order(api, insert_running_step(api, org))["action"] == "buy"
        assert len(fetch_orders(api, org)) == 1


class TestOneOrderPerQuestion:
    def test_the_way_of_an_order(self, api: Api, org: str) -> None:
        step = insert_running_step(api, org)
        placement = place_order(api, step)
        order = placement["order"]
        assert (placement["action"], order["status"], order["price"], order["cost"]) == (
            "buy",
            "requested",
            "0.10",
            None,
        )
        assert place_order(api, step)["action"] == "buy", "its answer may have been lost"
        for _ in range(2):
            assert accept_order(api, order["id"])["status"] == "open"
        assert place_order(api, step)["action"] == "poll"
        for answer in ({"output": {"content": {"a": 1}}}, {"other": 1}):
            ended = end_order(api, order["id"], answer)
            assert (ended["status"], ended["cost"]) == ("completed", "0.10")
        taken = place_order(api, step)
        assert (taken["action"], taken["answer"]) == ("take", {"output": {"content": {"a": 1}}}), "the first one counts"
        assert [order["status"] for order in fetch_orders(api, org)] == ["completed"]

    def test_equal_questions_wait_for_one_order_and_take_its_answer(self, api: Api, org: str) -> None:
        first, second, third = (insert_running_step(api, org) for _ in range(3))
        order = place_order(api, first)["order"]
        assert place_order(api, second)["action"] == "wait"
        accept_order(api, order["id"])
        assert place_order(api, first)["action"] == "poll"
        assert place_order(api, second)["action"] == "wait", "one of them asks"
        end_order(api, order["id"], {"a": 1})
        for step in (second, third):
            taken = place_order(api, step)
            assert (taken["action"], taken["order"]["id"], taken["answer"]) == ("take", order["id"], {"a": 1})
        steps = api.execute("select distinct order_id::text from step_results where org_id = %s", [org])
        assert steps == [(order["id"],)]

    def test_at_the_same_moment_one_is_made(self, api: Api, org: str) -> None:
        steps = [insert_running_step(api, org) for _ in range(12)]
        with ThreadPoolExecutor(12) as threads:
            actions = list(threads.map(lambda step: place_order(api, step)["action"], steps))
        assert sorted(actions) == ["buy"] + ["wait"] * 11
        assert len(fetch_orders(api, org)) == 1

    def test_another_organisation_or_question_has_its_own(self, api: Api, org: str) -> None:
        other = api.insert_organisation()
        assert place_order(api, insert_running_step(api, org))["action"] == "buy"
        assert place_order(api, insert_running_step(api, other))["action"] == "buy"
        assert place_order(api, insert_running_step(api, org), question="1" * 64)["action"] == "buy"

    def test_an_answer_is_not_fresh_for_ever_and_refresh_wants_a_newer_one(self, api: Api, org: str) -> None:
        order = place_order(api, first := insert_running_step(api, org))["order"]
        accept_order(api, order["id"])
        end_order(api, order["id"], {"a": 1})
        later = insert_running_step(api, org)
        api.execute("update submissions set created_at = now() + interval '1 second' where org_id = %s", [org])
        refreshed = place_order(api, later, refresh=True)
        assert (refreshed["action"], refreshed["order"]["id"] != order["id"]) == ("buy", True)
        accept_order(api, refreshed["order"]["id"], "trun_2")
        end_order(api, refreshed["order"]["id"], {"a": 2})
        again = place_order(api, later, refresh=True)
        assert (again["action"], again["answer"]) == ("take", {"a": 2}), "a retry does not buy again"
        assert place_order(api, first)["answer"] == {"a": 1}, "a step keeps its order"
        api.execute("update research_orders set ended_at = ended_at - interval '31 days' where org_id = %s", [org])
        assert place_order(api, insert_running_step(api, org))["action"] == "buy"

    def test_who_wants_a_newer_answer_does_not_get_one_that_arrives_meanwhile(self, api: Api, org: str) -> None:
        """The order of an earlier submission ends between the moment it is found and the moment it is locked."""
        order = place_order(api, insert_running_step(api, org))["order"]
        accept_order(api, order["id"], "trun_earlier")
        later = insert_running_step(api, org)
        api.execute("update submissions set created_at = now() + interval '1 second' where org_id = %s", [org])
        end = "update research_orders set status = 'completed', ended_at = now(), answer = '1' where id = %s"
        with psycopg.connect(api.dsn) as connection, ThreadPoolExecutor(1) as threads:
            connection.execute(end, [order["id"]])
            placing = threads.submit(place_order, api, later, refresh=True)
            wait_until(api, WAITING, 1)
            connection.commit()
            placed = placing.result()
        assert (placed["action"], placed["order"]["id"] != order["id"]) == ("buy", True)

    def test_an_order_that_is_refused_while_it_is_joined_is_made_anew(self, api: Api, org: str) -> None:
        """The provider refuses it between the moment it is found and the moment it is locked."""
        first, second = insert_running_step(api, org), insert_running_step(api, org)
        order = place_order(api, first)["order"]
        refusal = {"order_id": order["id"], "message": "429", "holder": f"{first}/h"}
        with psycopg.connect(api.dsn) as connection, ThreadPoolExecutor(2) as threads:
            connection.execute("select from research_orders where id = %s for update", [order["id"]])
            refusing = threads.submit(api.call_runner, "research-orders/not-accepted", refusal)
            wait_until(api, WAITING, 1)
            placing = threads.submit(place_order, api, second)
            wait_until(api, WAITING, 2)
            connection.commit()
            assert read_data(refusing.result())["status"] == "not_accepted"
            placed = placing.result()
        assert (placed["action"], placed["order"]["id"] != order["id"]) == ("buy", True)

    def test_a_run_that_moves_takes_the_answer_of_its_order_along(self, api: Api, org: str) -> None:
        order = place_order(api, step := insert_running_step(api, org))["order"]
        accept_order(api, order["id"], "trun_moved")
        end_order(api, order["id"], {"a": 1})
        move = (
            "update pipeline_runs set org_id = %s where id = (select pipeline_run_id from step_results where id = %s)"
        )
        api.execute(move, [api.insert_organisation(), step])
        taken = place_order(api, step)
        assert (taken["action"], taken["answer"]) == ("take", {"a": 1})
        result = {"operation_id": OPERATION, "status": "found", "output": {"parallel_raw_response": taken["answer"]}}
        body = {"step_result_id": step, "status": "succeeded", "output_payload": {"operation_result": result}}
        read_data(api.call_runner("step-results/update", body))
        left = "select answer is null and output is null from research_orders where id = %s"
        assert api.fetch_value(left, [order["id"]]), "the step result has it, in the other organisation"

    def test_without_a_living_answer_an_order_is_not_fresh(self, api: Api, org: str) -> None:
        order = place_order(api, step := insert_running_step(api, org))["order"]
        accept_order(api, order["id"])
        end_order(api, order["id"], {"a": 1})
        result = {"status": "found", "output": {"parallel_raw_response": {"a": 1}}}
        payload = {"operation_result": result, "cumulative_context": {}}
        body = {"step_result_id": step, "status": "succeeded", "output_payload": payload}
        read_data(api.call_runner("step-results/update", body))
        kept = "select answer is null from research_orders where id = %s"
        assert api.fetch_value(kept, [order["id"]]), "the step result holds it now"
        assert place_order(api, insert_running_step(api, org))["action"] == "take"
        api.execute("delete from step_results where org_id = %s", [org])
        assert place_order(api, insert_running_step(api, org))["action"] == "buy"

    def test_an_answer_that_is_stored_nowhere_is_asked_for_when_no_newer_order_is_unfinished(
        self, api: Api, org: str
    ) -> None:
        first, second = insert_running_step(api, org), insert_running_step(api, org)
        order = place_order(api, first)["order"]
        accept_order(api, order["id"], "trun_first")
        end_order(api, order["id"], {"a": 1})
        api.execute("update research_orders set answer = null where id = %s", [order["id"]])
        newer = place_order(api, second)["order"]
        assert place_order(api, first)["action"] == "wait", "one unfinished order per question"
        api.execute("update research_orders set held_until = now() where id = %s", [newer["id"]])
        assert place_order(api, first)["code"] == "order_unknown", "who bought it does not come back"
        accept_order(api, newer["id"], "trun_second")
        polled = place_order(api, first)
        assert (polled["action"], polled["order"]["id"]) == ("poll", newer["id"]), "nobody else asks for its answer"
        end_order(api, newer["id"], {"a": 2})
        polled = place_order(api, first)
        assert (polled["action"], polled["order"]["id"]) == ("poll", order["id"])
        doubt = {"order_id": order["id"], "holder": f"{first}/h", "message": "the provider does not know it any more"}
        read_data(api.call_runner("research-orders/unknown", doubt))
        read_data(api.call_runner("research-orders/release", {"order_id": order["id"], "holder": f"{first}/h"}))
        read_data(api.call_runner("research-orders/unknown", doubt))
        run_dex(api, "orders", "resolve", order["id"], "--accepted", "trun_wrong")
        read_data(api.call_runner("research-orders/unknown", doubt))
        given_up = json.loads(run_dex(api, "orders", "resolve", order["id"], "--not-accepted", "--json"))
        assert (given_up["status"], given_up["cost"]) == ("not_accepted", "0.10"), "it was paid for"
        (costs,) = read_data(api.client.get("/api/v1/costs", headers=internal_headers(org)))
        assert (costs["orders"], costs["cost"]) == (2, "0.20")


class TestTrouble:
    def test_refused_it_is_ordered_again_under_another_name(self, api: Api, org: str) -> None:
        step = insert_running_step(api, org)
        order = place_order(api, step, "1")["order"]
        refusal = {"order_id": order["id"], "message": "429", "holder": f"{step}/1"}
        path = "research-orders/not-accepted"
        read_error(api.call_runner(path, {**refusal, "holder": "other"}), 409, "order_conflict")
        for _ in range(2):
            refused = read_data(api.call_runner(path, refusal))
            assert (refused["status"], refused["cost"]) == ("not_accepted", "0")
        assert place_order(api, step, "1")["action"] == "stop", "a copy that arrives late orders nothing"
        assert place_order(api, step, "2")["action"] == "buy"

    def test_of_a_lost_answer_nobody_knows_until_it_is_resolved(self, api: Api, org: str) -> None:
        first, second = insert_running_step(api, org), insert_running_step(api, org)
        order = place_order(api, first, "1")["order"]
        assert place_order(api, first, "2")["action"] == "wait", "the request may be on its way"
        api.execute("update research_orders set held_until = now() where org_id = %s", [org])
        for step in (first, second):
            stopped = place_order(api, step, "3")
            assert (stopped["action"], stopped["code"]) == ("stop", "order_unknown")
            assert f"`order_id` `{order['id']}`" in stopped["message"]
            assert f"dex orders resolve {order['id']} --accepted RUN_ID" in stopped["message"]
        assert accept_order(api, order["id"])["status"] == "open", "its answer came late"
        assert place_order(api, second, "4")["action"] == "poll"

    def test_who_repeats_a_request_holds_the_order_anew(self, api: Api, org: str) -> None:
        """The answer to the first request was lost, and it took longer than the lease to repeat it."""
        first, second = insert_running_step(api, org), insert_running_step(api, org)
        place_order(api, first)
        api.execute("update research_orders set held_until = now() where org_id = %s", [org])
        assert place_order(api, first)["action"] == "buy"
        assert place_order(api, second)["action"] == "wait", "it is being ordered"

    def test_a_run_that_the_provider_does_not_know_is_asked_for_until_a_person_resolves_it(
        self, api: Api, org: str
    ) -> None:
        step, other = insert_running_step(api, org), insert_running_step(api, org)
        order = place_order(api, step)["order"]
        accept_order(api, order["id"])
        not_there = ("orders", "resolve", order["id"], "--not-accepted", "--json")
        doubt = {"order_id": order["id"], "holder": "collect", "message": "the provider does not know run `trun_1`"}
        noted = read_data(api.call_runner("research-orders/unknown", doubt))
        assert (noted["status"], noted["cost"], noted["error_code"]) == ("open", None, "provider_unknown")
        assert "at this moment" in run_dex(api, *not_there, status=1)
        released = {"order_id": order["id"], "holder": f"{step}/h"}
        read_data(api.call_runner("research-orders/release", released))
        assert place_order(api, other)["action"] == "poll", "equal questions wait for it, and buy nothing"
        assert fetch_orders(api, org)[0]["error_code"] is None, "the provider is asked again"
        read_data(api.call_runner("research-orders/unknown", doubt))
        read_data(api.call_runner("research-orders/release", {**released, "holder": f"{other}/h"}))
        corrected = json.loads(run_dex(api, "orders", "resolve", order["id"], "--accepted", "trun_2", "--json"))
        assert (corrected["status"], corrected["provider_run_id"]) == ("open", "trun_2")
        assert "nothing to resolve" in run_dex(api, *not_there, status=1)
        read_data(api.call_runner("research-orders/unknown", doubt))
        refused = json.loads(run_dex(api, *not_there))
        assert (refused["status"], refused["cost"], refused["provider_run_id"]) == ("not_accepted", "0", None)
        assert refused["error_message"].endswith("does not have it; the provider does not know run `trun_1`")
        assert place_order(api, other, "2")["action"] == "buy"

    def test_the_list_says_what_to_do_about_an_order_in_doubt_also_when_it_was_erased(self, api: Api, org: str) -> None:
        order = place_order(api, insert_running_step(api, org))["order"]
        accept_order(api, order["id"])
        doubt = {"order_id": order["id"], "holder": "collect", "message": "the provider does not know run `trun_1`"}
        read_data(api.call_runner("research-orders/unknown", doubt))

        def read_notes() -> str:
            listed = run_dex_text("orders", "--org", org, environment={**os.environ, "DATABASE_URL": api.dsn})
            return listed.stderr

        assert f"{order['id']}: {doubt['message']}\n    hint: dex orders collect with the key" in read_notes()
        erase = "update research_orders set error_message = null, erased_at = now() where id = %s"
        api.execute(erase, [order["id"]])
        assert f"{order['id']}: provider_unknown; its message was erased\n" in read_notes()
        kept = "update research_orders set status = 'unknown', error_code = null, erased_at = null where id = %s"
        api.execute(kept, [order["id"]])  # as migration 045 leaves orders of before
        assert f"{order['id']}: it was placed before orders were kept, and no run id" in read_notes()

    def test_one_order_has_one_research(self, api: Api, org: str) -> None:
        order = place_order(api, insert_running_step(api, org))["order"]
        accept_order(api, order["id"], "trun_1")
        body = {"order_id": order["id"], "provider_run_id": "trun_2"}
        read_error(api.call_runner("research-orders/accepted", body), 409, "provider_run_id_taken")
        other = place_order(api, insert_running_step(api, org), question="1" * 64)["order"]
        body = {"order_id": other["id"], "provider_run_id": "trun_1"}
        read_error(api.call_runner("research-orders/accepted", body), 409, "order_conflict")

    def test_a_canceled_run_orders_nothing(self, api: Api, org: str) -> None:
        step = insert_running_step(api, org)
        api.execute("update pipeline_runs set status = 'canceled' where org_id = %s", [org])
        body = {"operation": "a", "provider": "parallel", "processor": "pro", "question": QUESTION, "holder": "h"}
        answer = api.call_runner("research-orders/place", {"step_result_id": step, **body})
        read_error(answer, 409, "lost_lease")
        assert fetch_orders(api, org) == []

    def test_a_failed_order_costs_nothing_and_fails_who_waits(self, api: Api, org: str) -> None:
        step = insert_running_step(api, org)
        order = place_order(api, step)["order"]
        accept_order(api, order["id"])
        body = {"order_id": order["id"], "status": "failed", "code": "provider_failed", "message": "it broke"}
        assert read_data(api.call_runner("research-orders/ended", body))["cost"] == "0"
        stopped = place_order(api, step)
        assert (stopped["action"], stopped["code"], stopped["message"]) == ("stop", "provider_failed", "it broke")
        assert place_order(api, insert_running_step(api, org))["action"] == "buy", "a failure is not shared afterwards"

    def test_a_run_that_moved_is_retried_with_a_new_order(self, api: Api, org: str) -> None:
        step = insert_running_step(api, org)
        order = place_order(api, step)["order"]
        accept_order(api, order["id"], "trun_failed")
        body = {"order_id": order["id"], "status": "failed", "code": "provider_failed", "message": "it broke"}
        read_data(api.call_runner("research-orders/ended", body))
        (run_id,) = api.execute("select pipeline_run_id::text from step_results where id = %s", [step])[0]
        moved = "update pipeline_runs set org_id = %s, status = 'failed' where id = %s"
        api.execute(moved, [api.insert_organisation(), run_id])
        api.execute("update step_results set status = 'failed' where id = %s", [step])
        run_dex(api, "runs", "retry", run_id)
        assert place_order(api, step, "2")["action"] == "buy"

    @pytest.mark.parametrize("path", ["accepted", "not-accepted", "unknown", "ended", "release", "settle"])
    def test_of_another_organisation_is_403(self, api: Api, org: str, path: str) -> None:
        order = place_order(api, insert_running_step(api, org))["order"]
        known = {
            "accepted": {"provider_run_id": "t"},
            "not-accepted": {"holder": "h", "message": "m"},
            "unknown": {"holder": "h", "message": "m"},
            "ended": {"status": "completed", "answer": 1},
            "release": {"holder": "h"},
            "settle": {"status": "succeeded", "output_payload": {}},
        }
        body = {"order_id": order["id"], **known[path]}
        foreign = {"x-internal-org-id": api.insert_organisation()}
        read_error(api.call_runner(f"research-orders/{path}", body, **foreign), 403, "other_organisation")
        body["order_id"] = str(uuid.uuid4())
        read_error(api.call_runner(f"research-orders/{path}", body), 404, "not_found")


class TestLists:
    def test_a_tenant_sees_its_own(self, api: Api, org: str) -> None:
        order = place_order(api, insert_running_step(api, org))["order"]
        assert set(order) >= {
            *("id", "org_id", "operation", "provider", "processor", "price", "cost", "status"),
            *("provider_run_id", "requested_at", "ended_at"),
        }
        place_order(api, insert_running_step(api, api.insert_organisation()))
        token = bearer_headers(session_jwt(org))
        for path in ("/api/v1/orders", "/api/v1/orders?status=requested", f"/api/v1/orders?operation={OPERATION}"):
            assert [one["id"] for one in read_data(api.client.get(path, headers=token))] == [order["id"]]
        assert read_data(api.client.get("/api/v1/orders?status=open", headers=token)) == []
        assert read_data(api.client.get("/api/v1/orders?offset=1", headers=token)) == []
        for query in ("status=done", "limit=0", "limit=1001", "offset=x", "operation=a%00b", "colour=green"):
            assert api.client.get(f"/api/v1/orders?{query}", headers=token).status_code == 422
        assert api.client.get("/api/v1/orders").status_code == 401

    @pytest.mark.parametrize("path", ["/api/v1/orders", "/api/v1/costs"])
    def test_of_no_organisation_there_are_none_to_list(self, api: Api, org: str, path: str) -> None:
        admin = bearer_headers(ADMIN_KEY)
        error = read_error(api.client.get(path, headers=admin), 400, "org_id_required")
        assert "query string" in error["hint"]
        assert read_data(api.client.get(f"{path}?org_id={org}", headers=admin)) == []
        unknown = str(uuid.uuid4())
        read_error(api.client.get(f"{path}?org_id={unknown}", headers=admin), 404, "unknown_organisation")
        read_error(api.client.get(path, headers=internal_headers(unknown)), 404, "unknown_organisation")

    def test_costs_by_operation_and_month(self, api: Api, org: str) -> None:
        for number, processor in enumerate(("pro", "ultra", "core")):
            step = insert_running_step(api, org)
            order = place_order(api, step, question=str(number) * 64, processor=processor)["order"]
            accept_order(api, order["id"], f"trun_{number}")
            if processor != "core":
                end_order(api, order["id"], {})
        month = api.fetch_value("select to_char(now() at time zone 'UTC', 'YYYY-MM')")
        expected = [{"org_id": org, "operation": OPERATION, "month": month, "orders": 3, "cost": "0.40"}]
        assert read_data(api.client.get("/api/v1/costs", headers=internal_headers(org))) == expected
        answer = api.client.get("/api/v1/costs?month=2000-01", headers=internal_headers(org))
        assert read_data(answer) == []
        for query in ("month=2026-13", "month=2026", "month=", "year=2026"):
            assert api.client.get(f"/api/v1/costs?{query}", headers=internal_headers(org)).status_code == 422
