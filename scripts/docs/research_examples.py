"""Examples for `docs/errors.md`: a wrong `research` block per code of `dex check` about `research`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.spec.referenced_files import ReferencedFile

RESEARCH_SPEC: Final = """\
spec: 1
name: funding
title: Funding
operations: [company.derive.funding]
research:
  provider: parallel
  processor: pro
  prompt: |
    List the funding rounds of {{company_name}}.
  inputs:
    company_name: {path: "context.company_name", required: true}
  output_schema: from_fields
table: funding
row_name: round
conflict: [org_id, company_name, round_name]
rows: "output.parallel_raw_response.output.content.rounds"
fields:
  company_name: {type: text, path: "output.company_name", required: true}
  round_name: {type: text, path: "item.name", required: true}
  amount_usd: {type: numeric, path: "item.amount_usd"}
"""
_ROUNDS: Final = 'rows: "output.parallel_raw_response.output.content.rounds"\n'

#: By code: a text of the correct spec, and the text that replaces it to cause the error.
RESEARCH_REPLACEMENTS: Final[Mapping[str, tuple[str, str]]] = {
    "SPEC601": ("provider: parallel", "provider: paralel"),
    "SPEC602": ("[company.derive.funding]", "[company.derive.funding, company.derive.rounds]"),
    "SPEC603": ("name: funding", "name: grants"),
    "SPEC604": ("|\n    List the funding rounds of {{company_name}}.\n", "prompts/funding.md\n"),
    "SPEC605": ("of {{company_name}}.", "of {{company_name}} ({{domain}})."),
    "SPEC606": ("of {{company_name}}.", "of this company."),
    "SPEC607": ("of {{company_name}}.", "of {{ company_name }}."),
    "SPEC608": ("output_schema: from_fields", 'output: {company_name: "inputs.company_name"}'),
    "SPEC609": ("output_schema: from_fields", "output_schema: schemas/broken.json"),
    "SPEC610": ("output_schema: from_fields", "output_schema: schemas/list.json"),
    "SPEC611": ('"item.amount_usd"', '"item.confidence"'),
    "SPEC612": ("output_schema: from_fields", "output_schema: schemas/funding.json"),
    "SPEC613": (_ROUNDS, 'rows: "output.rounds"\n'),
    "SPEC614": ('"item.amount_usd"', '"item.name"'),
    "SPEC615": ("output_schema: from_fields", "output_schema: schemas/texts.json"),
}

#: The texts of the files that these specs refer to.
RESEARCH_FILES: Final[Mapping[str, ReferencedFile]] = {
    name: ReferencedFile(f"specs/{name}", text, problem)
    for name, text, problem in (
        ("prompts/funding.md", None, "no such file or directory"),
        ("schemas/broken.json", '{"type": "object",}\n', ""),
        ("schemas/list.json", '{"type": "array", "items": {"type": "string"}}\n', ""),
        (
            "schemas/texts.json",
            '{"type": "object", "properties": {"rounds": {"type": "array", "items": {"type": "object",'
            ' "properties": {"name": {"type": "string"}, "amount_usd": {"type": "string"}}}}}}\n',
            "",
        ),
        (
            "schemas/funding.json",
            '{"type": "object", "properties": {"rounds": {"type": "array", "items": {"type": "object",'
            ' "properties": {"name": {"type": "string"}, "amount": {"type": "number"}}}}}}\n',
            "",
        ),
    )
}
