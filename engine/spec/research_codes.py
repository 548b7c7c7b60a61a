"""The codes of mistakes in `research`; `engine/spec/diagnostics.py` includes them in all codes."""

from __future__ import annotations

from collections.abc import Mapping

#: By code: the title, what it means, what to do.
RESEARCH_CODES: Mapping[str, tuple[str, str, str]] = {
    # 6xx: how research is asked for
    "SPEC601": ("unknown provider", "There is no such provider of research.", "Take one of those the hint names."),
    "SPEC602": (
        "research of several operations",
        "A spec with `research` says how one operation is executed, so it names exactly one.",
        "Leave one operation, or give each a spec of its own.",
    ),
    "SPEC603": (
        "operation researched twice",
        "Two specs say how the same operation is executed.",
        "Keep `research` in one of them; the other one still gets its rows.",
    ),
    "SPEC604": (
        "file cannot be read",
        "The prompt or the schema is a file below `specs/` that is not there or cannot be read.",
        "Mend the path, which starts at the folder of the specs.",
    ),
    "SPEC605": ("place without an input", "The prompt has a place that no input fills.", "Add the input or rename it."),
    "SPEC606": (
        "input the prompt does not use",
        "An input stands nowhere in the prompt, so the answer cannot depend on it.",
        "Use it as `{{input}}`, or take it out.",
    ),
    "SPEC607": (
        "not a place",
        "What stands between the double braces is no name.",
        "Write `{{input}}` without blanks.",
    ),
    "SPEC608": (
        "key of the output taken",
        "An input, or a key of `output`, has the name of a key that the output has already.",
        "Give it another name.",
    ),
    "SPEC609": ("not a JSON file", "The file of the schema is not JSON.", "Mend it at the place named."),
    "SPEC610": (
        "schema beyond the provider's limits",
        "The provider would refuse an order with this schema.",
        "Change the schema as the hint says.",
    ),
    "SPEC611": (
        "property the provider answers itself",
        "The provider gives reasoning, citations and confidence for every property, in `basis`.",
        "Rename the property, or read the basis.",
    ),
    "SPEC612": (
        "value that no answer has",
        "No answer of this schema, and no key of the output, has a value at the path that the column takes.",
        "Mend the path, or the schema.",
    ),
    "SPEC613": (
        "nothing to ask for",
        "`output_schema: from_fields` finds no field whose dotted path reads the answer's content.",
        "Start paths at the answer's content, as the hint shows.",
    ),
    "SPEC614": (
        "property of two shapes",
        "`output_schema: from_fields` finds two fields that read one property as two things.",
        "Give both the same type, or one of them another path.",
    ),
    "SPEC615": (
        "type the answer never has",
        "The answer's schema has another kind of value at the path than the column, or its first normalizer, takes.",
        "Give the column the type of the schema, or change the schema.",
    ),
}
