"""The demo, as whoever clones the repository meets it. It runs once: the console is tried on what it leaves."""

import socket
from contextlib import ExitStack

import pytest

from tests.conftest import make_template
from tests.runner.conftest import BIN, ICP, Services, create_world, start_process
from tests.runner.test_kill import CONTEXT

#: The template of databases in which the demo has run.
DEMO = "template_demo"


def run_demo(dsn: str) -> None:
    """Run the demo where somebody's run waits for real research, and somebody's Trigger.dev is in the environment.

    Nothing but the demo's own is left.
    """
    with socket.create_server(("127.0.0.1", 0)) as trigger, ExitStack() as stack:
        trigger.settimeout(0)
        url = f"http://127.0.0.1:{trigger.getsockname()[1]}"
        env = {"DATABASE_URL": dsn, "TRIGGER_SECRET_KEY": "tr_prod_of_somebody", "TRIGGER_API_URL": url}
        with (
            create_world(Services(dsn, 0, "", stack)) as somebody,
            start_process([BIN / "dex", "demo"], env) as demo,
        ):
            waiting = somebody.queue_run([ICP], CONTEXT)
            assert demo.wait_for_exit() == 0, demo.text
            assert somebody.select_run(waiting)["status"] == "queued"
            somebody.execute("delete from orgs where id = %s", (somebody.org_id,))
        assert "They close." in demo.text
        with pytest.raises(BlockingIOError):
            trigger.accept()


def test_it_ends_well_and_leaves_alone_what_is_not_its_own(server_dsn: str, template: str) -> None:
    make_template(server_dsn, DEMO, template, run_demo)
