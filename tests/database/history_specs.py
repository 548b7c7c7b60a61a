"""What random histories are made of: specs in several versions, the outputs of their operations, and actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from engine.plan import Plan
from engine.values import exact_json
from tests.database.conftest import compile_text

ORGS = 2


@dataclass(frozen=True)
class Variant:
    """A spec in several versions, what its table refuses, and the outputs its operation may give."""

    name: str
    versions: tuple[str, ...]
    outputs: st.SearchStrategy[Any]
    constraint: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(compile_text(text) for text in self.versions)


def parse_numbers(*texts: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(texts).map(exact_json.parse_number)


def draw_lists(items: st.SearchStrategy[Any], most: int, other_domain: str | None) -> st.SearchStrategy[Any]:
    """Draw outputs with at most `most` of `items`, of one domain in half of them."""
    domains = ["a.example", "a.example", other_domain, ""]
    lists = st.one_of(st.lists(items, max_size=most), st.just([]), st.none())
    return st.fixed_dictionaries(
        {"domain": st.sampled_from(domains), "items": lists}, optional={"mood": st.sampled_from(["fine"])}
    )


READINGS = """spec: 1
name: readings
title: Readings
operations: [lab.fetch.readings]
table: readings
row_name: reading
conflict: [org_id, code, place]
when: "output.code != 'skip'"
fields:
  code: {type: text, path: "output.code", normalize: [text], required: true}
  place: {type: text, path: "output.place"}
  score: {type: numeric, path: "output.score"}
  note: {type: text, path: "output.note"}
  mood: {type: text, path: "output.mood", on_missing: clear}
  tags: {type: "text[]", path: "output.tags"}
  body: {type: jsonb, path: "output.body"}
  shape: {type: jsonb, path: "output.body", normalize: [json_or_text], on_missing: clear}
"""
READING = st.fixed_dictionaries(
    {"code": st.one_of(st.sampled_from(["a", "a", "A", "b", "skip", ""]), parse_numbers("10", "10.0"))},
    optional={
        "place": st.sampled_from([None, "x"]),
        "score": st.one_of(parse_numbers("1", "1.10", "1.1", "60", "-0.0"), st.just("many")),
        "note": st.sampled_from(["n1", "n2", " "]),
        "mood": st.sampled_from(["good", "bad"]),
        "remark": st.sampled_from(["r1", "r2"]),
        "tags": st.sampled_from([["t"], ["t", "u"], []]),
        "body": st.one_of(
            st.sampled_from([None, [], {"k": [None]}]), st.fixed_dictionaries({"k": parse_numbers("1.10", "1.1")})
        ),
    },
)
LISTS = """spec: 1
name: items
title: Items
operations: [shop.fetch.items]
table: items
row_name: item
conflict: [org_id, domain, name]
rows: "output.items"
fields:
  domain: {type: text, path: "output.domain", normalize: [domain], required: true}
  name: {type: text, path: "item.name", required: true}
  rank: {type: integer, path: "item.rank"}
  note: {type: text, path: "item.note"}
  mood: {type: text, path: "item.mood || output.mood", on_missing: clear}
  whole: {type: jsonb, path: "item"}
"""
ITEM = st.one_of(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["x", "x", "y", "X", "z", None])},
        optional={
            "rank": st.one_of(parse_numbers("1", "2", "100"), st.just("first")),
            "note": st.sampled_from(["n1", "n2"]),
            "mood": st.sampled_from(["good", "bad"]),
            "label": st.sampled_from(["l1", "l2"]),
        },
    ),
    st.fixed_dictionaries({"name": st.sampled_from(["x", "y"]), "note": st.sampled_from(["n1", "n2"])}),
)
LIST = draw_lists(ITEM, 4, "b.example")
READING_VERSIONS = (
    READINGS,
    READINGS.replace("output.note", "output.remark"),
    READINGS.replace("normalize: [text], required", "normalize: [text, lower], required"),
)
LIST_VERSIONS = (
    LISTS,
    LISTS.replace("item.note", "item.label"),
    LISTS.replace('"item.name", required', '"item.name", normalize: [lower], required'),
)
#: Refuses a high score without a note: which contributions count depends on their order.
NEEDS_A_NOTE = "check (score is null or score < 50 or note is not null)"
VARIANTS = {
    "readings": Variant("readings", READING_VERSIONS, READING),
    "readings refused": Variant("readings", READING_VERSIONS, READING, NEEDS_A_NOTE),
    "lists kept": Variant("items", LIST_VERSIONS, LIST),
    "lists deleted": Variant("items", tuple(f"{text}on_absent: delete\n" for text in LIST_VERSIONS), LIST),
    "lists refused": Variant(
        "items",
        tuple(f"{text}on_absent: delete\n" for text in LIST_VERSIONS),
        LIST,
        "check (rank is null or rank < 50 or note is not null)",
    ),
}
TYPED_KEYS = """spec: 1
name: readings
title: Readings
operations: [lab.fetch.readings]
table: readings
row_name: reading
conflict: [org_id, code, ratio, day, moment, flag, place]
fields:
  code: {type: numeric, path: "output.code"}
  ratio: {type: double precision, path: "output.ratio"}
  day: {type: date, path: "output.day"}
  moment: {type: timestamptz, path: "output.moment"}
  flag: {type: boolean, path: "output.flag"}
  place: {type: text, path: "output.place"}
  score: {type: numeric, path: "output.score"}
  note: {type: text, path: "output.note"}
  mood: {type: text, path: "output.mood", on_missing: clear}
  seen: {type: timestamptz, path: "output.moment", on_missing: clear}
"""
TYPED_READING = st.fixed_dictionaries(
    {"code": parse_numbers("1", "1.0", "1.10", "1.1", "0", "-0.0")},
    optional={
        "ratio": parse_numbers("0.1", "0.10", "2.5"),
        "day": st.sampled_from([None, "2026-01-02"]),
        "moment": st.sampled_from([None, "2026-01-02T03:04:05Z", "2026-01-02T05:04:05+02:00", "9999-12-31T23:59:59Z"]),
        "flag": st.sampled_from([None, True, False]),
        "place": st.sampled_from([None, "x"]),
        "score": parse_numbers("1", "1.10", "1.1"),
        "note": st.sampled_from(["n1", "n2"]),
        "mood": st.sampled_from(["good", "bad"]),
    },
)
NESTED = """spec: 1
name: items
title: Items
operations: [shop.fetch.items]
table: items
row_name: item
conflict: [org_id, domain, group, name]
rows: ["output.items", "item.parts"]
fields:
  domain: {type: text, path: "output.domain", normalize: [domain]}
  group: {type: text, path: "parent.name", null_key: match}
  label: {type: text, path: "item.label"}
  unit: {type: text, path: "item.code"}
  name: {type: text, coalesce: [label, unit], null_key: match}
  rank: {type: integer, path: "item.rank", on_invalid: missing}
  note: {type: text, path: "item.note"}
  mood: {type: text, path: "item.mood || output.mood", on_missing: clear}
  whole: {type: jsonb, path: "item"}
"""
PART = st.fixed_dictionaries(
    {},
    optional={
        "label": st.sampled_from([None, "l", "m", ""]),
        "code": st.sampled_from([None, "l", "c"]),
        "rank": st.one_of(parse_numbers("1", "100"), st.just("first")),
        "note": st.sampled_from(["n1", "n2"]),
        "mood": st.sampled_from(["good", "bad"]),
    },
)
GROUP = st.fixed_dictionaries(
    {"name": st.sampled_from(["g", None]), "parts": st.one_of(st.lists(PART, max_size=3), st.none())}
)
NESTED_LIST = draw_lists(GROUP, 3, None)
NESTED_VERSIONS = (
    NESTED,
    NESTED.replace("item.note", "item.label"),
    NESTED.replace("[label, unit]", "[unit, label]"),
)
#: Those for which only the long run has time: keys of every type, a null in each; rows within rows, a derived key.
LONG_VARIANTS = {
    "typed keys": Variant("readings", (TYPED_KEYS, TYPED_KEYS.replace("output.note", "output.mood")), TYPED_READING),
    "nested kept": Variant("items", NESTED_VERSIONS, NESTED_LIST),
    "nested deleted": Variant(
        "items",
        tuple(f"{text}on_absent: delete\n" for text in NESTED_VERSIONS),
        NESTED_LIST,
        "check (rank is null or rank < 50 or note is not null)",
    ),
}

#: What a person may write into a cell, which no output gives.
EDITED_CELLS = {
    "note": "edited",
    "mood": "edited",
    "tags": ["edited"],
    "body": '{"edited": 1.0}',
    "shape": '{"edited": 1.0}',
    "whole": '{"edited": 1.0}',
    "score": "10.000",
    "rank": 10,
}
#: kind, key, id of the row, columns.
Mistake = tuple[str, tuple[str, ...], str | None, tuple[str, ...]]
Edit = tuple[str, int, int]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["delete", "rename", "copy", "cell", "cell", "cell"]), st.integers(0, 9), st.integers(0, 9)
    ),
    min_size=1,
    max_size=3,
)

Action = tuple[Any, ...]
_numbers = st.integers(0, 7)
_times = st.one_of(st.integers(0, 4), st.none())


def draw_actions(variant: Variant) -> st.SearchStrategy[list[Action]]:
    """Draw a history: mostly arrivals, some of them followed at once by what the runner does."""
    outputs = variant.outputs
    versions = st.integers(0, len(variant.versions) - 1)
    arrivals = [st.tuples(st.just("record"), st.integers(0, ORGS - 1), outputs, _times, _numbers, st.booleans())] * 4
    others = [
        st.tuples(st.just("live"), _numbers, versions),
        st.tuples(st.just("live"), _numbers, st.none()),
        st.tuples(st.just("sweep"), versions, st.integers(1, 5), st.one_of(st.none(), st.integers(1, 3))),
        st.tuples(st.just("sweep"), st.none(), st.integers(1, 5), st.none()),
        st.tuples(st.just("repair"), _numbers),
        st.tuples(st.just("correct"), _numbers, outputs),
        st.tuples(st.just("correct"), _numbers, outputs),
        st.tuples(st.just("time"), _numbers, _times),
        st.tuples(st.just("status"), _numbers, st.sampled_from(["not_found", "found"])),
        st.tuples(st.just("delete"), _numbers),
        st.tuples(st.just("move"), _numbers, st.integers(0, ORGS - 1)),
        st.tuples(st.just("respec"), versions),
        st.tuples(st.just("kill"), st.integers(1, 60), st.booleans()),
        st.tuples(st.just("person"), _numbers),
        st.tuples(st.just("rebuild"), st.one_of(st.none(), st.integers(1, 300)), st.booleans()),
        st.tuples(st.just("erase"), st.integers(0, ORGS - 1)),
    ]
    return st.lists(st.one_of(*arrivals, *others), min_size=6, max_size=20)


def format_actions(actions: Sequence[Action]) -> str:
    """Write a history down, one action a line, as the minimal case of a failure."""
    return "\n".join(exact_json.dumps(list(action)).decode() for action in actions)
