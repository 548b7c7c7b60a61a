"""Diagnostics: the mistakes found in specs. `docs/errors.md` is generated from `CODES`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import EngineError
from engine.spec.research_codes import RESEARCH_CODES


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One mistake in a spec: its position (line and column from 1), its code, a message, and a hint how to fix it."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.code} {self.message}\n    hint: {self.hint}"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the diagnostic."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


class SpecErrors(EngineError):
    """The specs of a project do not pass the checks.

    `diagnostics` has every mistake, in the order of files and lines.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics))
        super().__init__("\n".join(map(str, self.diagnostics)), hint="run `dex check` after correcting them")


#: By code: the title, what it means, what to do.
CODES: Mapping[str, tuple[str, str, str]] = {
    # 1xx: the file as YAML
    "SPEC101": (
        "unreadable file",
        "The file cannot be read as UTF-8 text, or its name does not end in `.yaml`.",
        "Save it as UTF-8, under the name of its spec.",
    ),
    "SPEC102": ("YAML syntax", "The text is not YAML.", "Mend the syntax at the place named."),
    "SPEC103": ("duplicate key", "A mapping names the same key twice.", "Keep one of the two."),
    "SPEC104": (
        "YAML feature not used here",
        "Anchors, aliases, merge keys and tags are off: a spec says everything where it stands.",
        "Write the value out.",
    ),
    "SPEC105": ("not one mapping", "A spec file holds exactly one YAML mapping.", "Start the file with `spec: 1`."),
    "SPEC106": ("key is not a word", "A key of a mapping is not a plain string.", "Quote it, or write a name."),
    "SPEC107": (
        "character that is not seen",
        "A control character, or one that turns the direction of the text, makes a file read otherwise than it is.",
        "Take it out.",
    ),
    # 2xx: the shape of a spec
    "SPEC201": ("unknown key", "The format has no such key here.", "Take the name the hint proposes."),
    "SPEC202": ("missing key", "A key that every spec (or field) needs is absent.", "Add it."),
    "SPEC203": ("wrong type", "The value is of another type than the key takes.", "Write the type named."),
    "SPEC204": ("unknown format version", "`spec:` names a version this engine does not read.", "Write `spec: 1`."),
    "SPEC205": ("name is not the file's", "`name` differs from the file's stem.", "Rename one of the two."),
    "SPEC206": (
        "not an identifier",
        "Names of specs, tables, columns and rows are lower-case words with underscores, at most 63 characters; the id"
        " of an operation has no spaces, and 1 to 200 characters of ASCII.",
        "Rename it.",
    ),
    "SPEC207": (
        "reserved name",
        "The column is provided by the engine or by Postgres, the word is a parameter of the endpoints, or the table or"
        " the spec's name is one the engine uses itself.",
        "Leave a provided column out; rename anything else.",
    ),
    "SPEC208": ("given twice", "A list names the same thing twice.", "Keep one of the two."),
    "SPEC209": ("value out of range", "The value is none of those the key takes.", "Take one of those named."),
    # 3xx: contradictions in the meaning of a spec
    "SPEC301": ("unknown type", "There is no such column type.", "Take one of the types the hint names."),
    "SPEC302": ("conflict column is not a field", "A column under `conflict` is no field.", "Add it to `fields`."),
    "SPEC303": (
        "conflict without the organisation",
        "`conflict` must contain `org_id`: two organisations must never share a row.",
        "Add `org_id`.",
    ),
    "SPEC304": ("unknown normalizer", "There is no normalizer of that name.", "Take the name the hint proposes."),
    "SPEC305": (
        "normalizer does not fit",
        "The chain of normalizers cannot give what the column's type takes.",
        "Change the chain or the type.",
    ),
    "SPEC306": ("name taken", "Two specs claim the same table, slug or row name.", "Rename one of them."),
    "SPEC308": ("override of nothing", "An operation overrides a field that does not exist.", "Name a field."),
    "SPEC309": (
        "filter or search on this type",
        "A jsonb column cannot be a filter, and `search` takes columns of text.",
        "Give the part you ask for a column of its own.",
    ),
    "SPEC310": (
        "conflict on this type",
        "A jsonb or text[] column cannot be part of the key.",
        "Take a scalar column for the key.",
    ),
    "SPEC311": (
        "index or search on nothing",
        "`indexes` or `search` names a column that does not exist.",
        "Name a field.",
    ),
    "SPEC312": (
        "nothing to delete by",
        "`on_absent: delete` needs `rows`, and a conflict column that does not come from `item`:"
        " it says whose rows are compared.",
        "Use `keep`, or add such a column to the key.",
    ),
    "SPEC313": ("not a UUID", "Organisations and submissions are named by UUID.", "Write the UUID."),
    "SPEC314": (
        "clear on a key or required column",
        "A column that may never be empty cannot be cleared.",
        "Drop `on_missing: clear` or `required`.",
    ),
    "SPEC315": (
        "field without a path",
        "A field needs a `path`, its own or one from every operation.",
        "Add `path`.",
    ),
    "SPEC316": (
        "one key for all elements",
        "Under `rows`, no conflict column comes from `item` or `parent`, so all elements are one row.",
        "Add a column of the element to `conflict`; where nothing tells them apart, a `fingerprint` of `item`.",
    ),
    "SPEC317": (
        "coalesce of what it cannot take",
        "`coalesce` stands instead of `path`, in a text field, and names text fields that have a path.",
        "Name such fields.",
    ),
    "SPEC318": (
        "word for another kind of column",
        "`null_key` is for conflict columns, `on_invalid: missing` for all others.",
        "Drop it.",
    ),
    # 4xx: inside a JMESPath string
    "SPEC401": ("path does not parse", "The text is not JMESPath.", "Mend it at the character named."),
    "SPEC402": ("unknown function", "JMESPath has no such function.", "Take the name the hint proposes."),
    "SPEC403": ("wrong number of arguments", "The function takes another number of arguments.", "Mend the call."),
    "SPEC404": (
        "root does not exist",
        "A path starts at `output`, `context`, `step_input`, `run`, `operation`, or (under `rows`) `item` and `parent`;"
        " `run` holds `org_id`, `company_id`, `submission_id`, `pipeline_run_id` and `step_position`, `operation` holds"
        " `id` and `status`.",
        "Start it at one of those.",
    ),
    "SPEC405": (
        "function refused",
        "Python and TypeScript do not give the same answer for it, so the live row could differ from the backfilled.",
        "Use what the hint proposes.",
    ),
    "SPEC406": (
        "path cut by YAML",
        "An unquoted path is followed by ` #`, which YAML reads as a comment.",
        "Quote the path, or put the comment on a line of its own.",
    ),
    "SPEC407": (
        "`item` without `rows`",
        "`item` exists only in a spec that has `rows`, `parent` only where rows stand within rows.",
        "Add `rows`, or use `output`.",
    ),
    "SPEC408": (
        "literal is not JSON",
        "Between backticks stands JSON; a bare word there means something else in every library.",
        "Write a string as 'text' in single quotes.",
    ),
    "SPEC409": (
        "argument with or without `&`",
        "`sort_by`, `max_by` and `min_by` take an expression `&name` as their second argument, `map` as its first; no"
        " other argument of a function is one.",
        "Write the `&`, or drop it.",
    ),
    "SPEC410": (
        "comparison with a key",
        "In JMESPath double quotes hold a key: compared with one, a value is nearly never equal.",
        "Write the string in single quotes.",
    ),
    "SPEC411": ("path too long", "A path has at most 10,000 characters.", "Write a shorter one."),
    "SPEC412": (
        "path gives another kind",
        "The path can only give a kind of JSON that the column (or its first normalizer) never takes.",
        "Take one value of a list, or change the type.",
    ),
    "SPEC413": (
        "an earlier step's answer",
        "A provider's answer is kept once, in the step that has it; later contexts and inputs do not carry it.",
        "Read this step's own at `output`; give the earlier operation a spec of its own.",
    ),
    **RESEARCH_CODES,
    # 7xx: warnings from extracting the samples (mistakes with `dex check --strict`)
    "SPEC701": (
        "no value in the samples",
        "A column has a value in none of the samples kept for the spec, or the samples give no row at all: most often"
        " the path is wrong. A warning; `--strict` makes it a mistake.",
        "Mend the path; where it is right, add a sample that has the value.",
    ),
    "SPEC702": (
        "no sample",
        "A spec with `research` or `rows` has no sample in its case directory, or one that cannot be read, so a path"
        " that never finds anything is not seen. A warning; `--strict` makes it a mistake.",
        "Save a step output there; `dex accept` writes what comes of it.",
    ),
}

#: Retired codes and their former meanings. They are never used again.
RETIRED_CODES: Mapping[str, str] = {
    "SPEC307": "Two specs claim the same operation. Several may: each makes a table of its own of the same answers.",
}
