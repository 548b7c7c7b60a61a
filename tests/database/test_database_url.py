"""The URL of the database: what it may hold, and that nothing of a password in it is ever printed."""

import os

import pytest

from engine.store.database_url import InvalidDatabaseUrl, read_database_url
from tests.forked_dex import run_dex_text

SECRET = "hunter2secret"
WRONG = [
    f"postgres//u:{SECRET}@h/x",
    f"postgresql+psycopg://bob:{SECRET}@127.0.0.1:5432/prod",
    f"mysql://bob:{SECRET}@h/x",
    f"://bob:{SECRET}@h/x",
    f"postgresql://u:a@{SECRET}@127.0.0.1/x",
    f"postgresql://u:{SECRET}/x@127.0.0.1/x",
    f"postgresql://u:{SECRET}%zz@127.0.0.1/x",
    f"postgresql://u:12/{SECRET}@127.0.0.1/x",
    f"postgresql://u:{SECRET}@[::1/x",
    f"postgresql://u:{SECRET}@h/x?colour=red",
    f"host=h password='{SECRET}",
    f"postgresql://u:{SECRET}@h/x?prepare_threshold=abc",
    f"postgresql://u:{SECRET}@h/x?prepare_threshold=-1",
    f"host=h password={SECRET} prepare_threshold=abc",
]


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_one_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl) as caught:
        read_database_url(url)
    assert SECRET not in f"{caught.value.message} {caught.value.hint} {caught.value.__cause__}"
    assert "`DATABASE_URL`" in caught.value.message and caught.value.hint


def test_a_parameter_of_another_driver_leads_to_those_there_are() -> None:
    """It is not named: what follows a `?` that is not escaped may be part of a password."""
    with pytest.raises(InvalidDatabaseUrl) as caught:
        read_database_url("postgresql://u:p@h/x?pgbouncer=true")
    assert "behind `?` only what libpq knows" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:5432/x", {}),
        ("postgres://u:p%40q@h/x?sslmode=require", {}),
        ("postgresql:///x?host=/tmp", {}),
        ("postgresql://a:1,b:2/x?target_session_attrs=any", {}),
        ("host=h dbname=x", {}),
        ("postgresql://h/x?prepare_threshold=0", {"prepare_threshold": None}),
        ("postgresql://h/x?prepare_threshold=3", {"prepare_threshold": 3}),
        ("host=h prepare_threshold=0", {"prepare_threshold": None}),
    ],
)
def test_a_good_one_is_taken(url: str, expected: dict[str, int | None]) -> None:
    text, arguments = read_database_url(url)
    assert arguments == expected
    assert "prepare_threshold" not in text


@pytest.mark.parametrize("command", [["coverage"], ["serve", "--port", "0"]])
def test_a_command_ends_with_2_and_prints_no_part_of_it(command: list[str]) -> None:
    secrets = dict.fromkeys(("INTERNAL_API_KEY", "JWT_SECRET"), "a secret of the tests, long enough to start")
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": WRONG[0], **secrets}
    ended = run_dex_text(*command, environment=environment)
    assert ended.returncode == 2
    assert "`DATABASE_URL`" in ended.stderr and "hint:" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"DATABASE_URL": ""}, "`DATABASE_URL` is empty"),
        ({"DEX_ENV_FILE": "no/such.env"}, "`DEX_ENV_FILE` names `no/such.env`, which is no file"),
    ],
)
def test_a_mistake_in_the_environment_does_not_lead_to_the_embedded_database(
    variables: dict[str, str], told: str
) -> None:
    done = run_dex_text("migrate", "--status", environment={**os.environ, "COLUMNS": "200", **variables})
    assert done.returncode == 2 and told in done.stderr, done.stderr
