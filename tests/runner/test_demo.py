"""The demo, as whoever clones the repository meets it."""

import socket
from contextlib import ExitStack

import pytest

from tests.conftest import created
from tests.runner.conftest import BIN, ICP, House, moved_in, started
from tests.runner.test_kill import CONTEXT


def test_it_ends_well_and_leaves_alone_what_is_not_its_own(server_dsn: str, template: str) -> None:
    """Somebody's database holds runs that wait for real research, and somebody's Trigger.dev is in the environment."""
    with socket.create_server(("127.0.0.1", 0)) as trigger, created(server_dsn, template) as dsn:
        trigger.settimeout(0)
        url = f"http://127.0.0.1:{trigger.getsockname()[1]}"
        env = {"DATABASE_URL": dsn, "TRIGGER_SECRET_KEY": "tr_prod_of_somebody", "TRIGGER_API_URL": url}
        with moved_in(House(dsn, 0, "", ExitStack())) as somebody, started([BIN / "dex", "demo"], env) as demo:
            waiting = somebody.queue([ICP], CONTEXT)
            assert demo.finish() == 0, demo.text
            assert somebody.run_row(waiting)["status"] == "queued"
        assert "They close." in demo.text
        with pytest.raises(BlockingIOError):
            trigger.accept()
