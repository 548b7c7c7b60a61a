"""Histories that were found to go wrong once, or that a random one may miss: (variant, actions) by name."""

from typing import Any

from engine.values import exact_json
from tests.database.history_specs import Action


def record(output: Any, at: int | None = 0, *, order: int = 0, org: int = 0, live: bool = False) -> Action:
    """Record a step result; its rows are written live at once, or not."""
    return ("record", org, exact_json.loads(output) if isinstance(output, str) else output, at, order, live)


def record_list(*items: dict[str, Any], at: int = 0, live: bool = False) -> Action:
    return record({"domain": "a.example", "items": list(items)}, at, live=live)


def correct_list(number: int, *items: Any) -> Action:
    return ("correct", number, {"domain": "a.example", "items": list(items)})


A, A_NOTE, A_SCORE = {"code": "a"}, {"code": "a", "note": "n1"}, {"code": "a", "score": 60}
SWEEP: Action = ("sweep", None, 2, None)
X, Y, HIGH = {"name": "x"}, {"name": "y", "note": "n1"}, {"name": "x", "rank": 100}

KNOWN: dict[str, tuple[str, list[Action]]] = {
    "a kept value arrives last and is the oldest": (
        "readings",
        [record(A, 4, live=True), record(A_NOTE, 1, live=True)],
    ),
    "a kept value arrives in the middle": (
        "readings",
        [
            record({"code": "a", "note": "n2"}, 0, live=True),
            record(A, 4, live=True),
            record(A_NOTE, 2, live=True),
        ],
    ),
    "of equal times the higher id counts": (
        "readings",
        [
            record(A_NOTE, order=5, live=True),
            record({"code": "a", "note": "n2"}, order=2, live=True),
            ("live", 1, None),
        ],
    ),
    "a result without an end is edited": (
        "readings",
        [record(A_NOTE, None), record({"code": "a", "note": "n2"}, None), SWEEP, ("time", 0, None), SWEEP],
    ),
    "a value is removed from the newest contribution": (
        "readings",
        [record(A_NOTE, live=True), ("correct", 0, A)],
    ),
    "a contribution that is not the newest is corrected": (
        "readings",
        [record(A_NOTE, 0), record(A, 1), SWEEP, ("correct", 0, {"code": "a", "note": "n2"})],
    ),
    "a contribution that is not the newest goes to another key": (
        "readings",
        [record(A_NOTE, 0), record(A, 1), SWEEP, ("correct", 0, {"code": "b", "note": "n1"}), ("repair", 1)],
    ),
    "a key is corrected": ("readings", [record(A, live=True), ("correct", 0, {"code": "b"}), SWEEP]),
    "a key is mapped otherwise": (
        "readings",
        [record({"code": "A"}, live=True), record(A, 1, live=True), ("respec", 2), ("live", 0, None)],
    ),
    "a path gives nothing any more": ("readings", [record(A_NOTE, live=True), ("respec", 1), SWEEP]),
    "an older version goes on writing": (
        "readings",
        [
            record({"code": "a", "note": "n1", "remark": "r1"}, live=True),
            ("respec", 1),
            SWEEP,
            ("live", 0, 0),
            ("sweep", 0, 2, None),
            record({"code": "a", "note": "n2"}, 1),
            ("live", 1, 0),
        ],
    ),
    "a version is taken back": (
        "readings",
        [record(A_NOTE, live=True), ("respec", 1), SWEEP, ("respec", 0), ("live", 0, None)],
    ),
    "the newest is deleted": ("readings", [record(A_NOTE, 0), record(A, 1), SWEEP, ("delete", 1)]),
    "the only one is deleted, and the key comes again": (
        "readings",
        [record(A_NOTE, 0), SWEEP, ("delete", 0), SWEEP, record(A, 1, live=True)],
    ),
    "the only one is deleted, and the table rebuilt": (
        "readings",
        [record(A_NOTE, live=True), ("delete", 0), ("rebuild", None, False)],
    ),
    "a run moves to another organisation": (
        "readings",
        [record(A_NOTE, 0), record(A, 1), record(A, 0, org=1), SWEEP, ("move", 1, 1), ("live", 1, None)],
    ),
    "a result says that it found nothing": ("readings", [record(A, live=True), ("status", 0, "not_found"), SWEEP]),
    "a person writes over a row": ("readings", [record(A_NOTE, live=True), ("person", 0), SWEEP]),
    "numbers in two spellings": (
        "readings",
        [record('{"code": 10.0, "score": 1.10, "body": {"k": 1.1}, "other": [10, 1.1, 1.10]}', live=True)],
    ),
    "a refused row is admitted once an older one comes": (
        "readings refused",
        [record(A_SCORE, 1, live=True), record(A_NOTE, 0, live=True)],
    ),
    "an admitted row is refused once an older one goes": (
        "readings refused",
        [record(A_NOTE, 0), record(A_SCORE, 1), record(A, 2), SWEEP, ("delete", 0), SWEEP],
    ),
    "an admitted row is refused once an older one is corrected": (
        "readings refused",
        [record(A_NOTE, 0), record(A_SCORE, 1), SWEEP, ("correct", 0, A)],
    ),
    "an older list arrives after an empty one": (
        "lists deleted",
        [record_list(at=2, live=True), record_list(X, Y, at=1, live=True)],
    ),
    "a list is deleted, and a newer one is first read by a rebuild": (
        "lists deleted",
        [record_list(X, Y, live=True), ("delete", 0), record_list(Y, at=1), ("rebuild", None, False)],
    ),
    "a list is deleted, and the table rebuilt": (
        "lists deleted",
        [record_list(X, Y, live=True), ("delete", 0), ("rebuild", None, False)],
    ),
    "an element is renamed": (
        "lists deleted",
        [record_list(X, Y, live=True), correct_list(0, Y, {"name": "z"}), SWEEP],
    ),
    "an empty list is filled by a correction": (
        "lists deleted",
        [record_list(X, Y), record_list(at=1), SWEEP, correct_list(1, "no object", X), SWEEP],
    ),
    "a list keeps a value of an older one": (
        "lists kept",
        [record_list(Y, X, at=0), record_list({"name": "y"}, at=1, live=True), correct_list(0, X)],
    ),
    "of elements with one key the last counts whole": (
        "lists kept",
        [record_list({"name": "x", "note": "n1"}, {"name": "x", "rank": 1}, live=True)],
    ),
    "a refused element keeps a list from speaking for all": (
        "lists refused",
        [record_list(X, Y), record_list(HIGH, at=1), SWEEP, correct_list(1, X), ("live", 1, None)],
    ),
    "killed at every turn": (
        "lists deleted",
        [
            record_list(X, Y),
            record_list(Y, at=1),
            *(("kill", exchange, after) for exchange in range(1, 40, 4) for after in (False, True)),
            correct_list(0, X),
            *(("kill", exchange, False) for exchange in range(1, 40, 4)),
        ],
    ),
}
