"""The first promise: when nothing is pending, rows are what a fresh backfill makes of the present step results.

Held by random histories (`histories.py`): arrivals in any order and at equal times, through generated blocks and the
real API, by backfill and by repair, corrections, deletions, moves, changed specs, two versions at once, kills, a table
that refuses rows, rebuilds, erasures. 20 in every run, other ones in the next (`take_share`), 1,000 with
`make test-long`.
"""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, currently_in_test_context, given, note, seed, settings

from tests.conftest import create_database, take_share
from tests.database.histories import History
from tests.database.history_specs import (
    EDITS,
    LONG_VARIANTS,
    VARIANTS,
    Action,
    Edit,
    draw_actions,
    format_actions,
)
from tests.database.known_histories import KNOWN
from tests.database.laboratory import Blocks, Laboratory

LAW = settings(
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
#: Of which a run takes one: the examples that follow from one seed.
SHARES = 5


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blocks]:
    running = Blocks(tmp_path_factory.mktemp("blocks"))
    yield running
    running.close()


@pytest.fixture
def open_laboratory(server_dsn: str, template: str, blocks: Blocks) -> Iterator[Callable[[str], Laboratory]]:
    with create_database(server_dsn, template) as dsn:
        opened: list[Laboratory] = []

        def open_variant(name: str) -> Laboratory:
            opened.append(Laboratory(dsn, {**VARIANTS, **LONG_VARIANTS}[name], blocks))
            return opened[-1]

        yield open_variant
        for laboratory in opened:
            laboratory.close()


def check_history(laboratory: Laboratory, actions: list[Action], edits: list[Edit]) -> None:
    """Play a history; hold what is left against a fresh backfill, and what verify says against what is so."""
    if currently_in_test_context():
        note(format_actions(actions))
    history = History.start(laboratory)
    history.play(actions)
    if currently_in_test_context():
        note("\n".join(history.lines))
    assert history.list_mistakes(history.verify()) == set(), "what is pending is no mistake"
    history.settle()
    rows, accounts, verified = history.read_rows(), history.read_accounts(), history.verify()
    assert history.list_mistakes(verified) == set()
    assert (verified.counts["pending"], verified.matching) == (0, len(rows))

    mistakes = history.edit_table(edits)
    assert history.list_mistakes(history.verify()) == mistakes
    assert history.list_mistakes(history.repair_table()) == set()
    assert history.read_rows() == rows
    assert history.read_accounts() == accounts

    history.start_afresh()
    assert rows == history.read_rows()
    assert accounts == history.read_accounts()


@pytest.mark.parametrize("name", VARIANTS)
def test_known_histories(open_laboratory: Callable[[str], Laboratory], name: str) -> None:
    laboratory, failed = open_laboratory(name), {}
    for title, (variant, actions) in KNOWN.items():
        if variant == name:
            try:
                check_history(laboratory, actions, [("cell", 0, 0)])
            except AssertionError as error:
                failed[title] = str(error)
    assert not failed


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_are_what_a_fresh_backfill_makes(open_laboratory: Callable[[str], Laboratory], name: str) -> None:
    laboratory = open_laboratory(name)
    (share,) = take_share(range(SHARES), SHARES)

    @seed(share)
    @settings(LAW, max_examples=4)
    @given(draw_actions(laboratory.variant), EDITS)
    def check_law(actions: list[Action], edits: list[Edit]) -> None:
        check_history(laboratory, actions, edits)

    check_law()


@pytest.mark.long
@pytest.mark.parametrize("name", [*VARIANTS, *LONG_VARIANTS])
def test_rows_are_what_a_fresh_backfill_makes_at_length(
    open_laboratory: Callable[[str], Laboratory], name: str
) -> None:
    laboratory = open_laboratory(name)

    @settings(LAW, max_examples=200)
    @given(draw_actions(laboratory.variant), EDITS)
    def check_law(actions: list[Action], edits: list[Edit]) -> None:
        check_history(laboratory, actions, edits)

    check_law()
