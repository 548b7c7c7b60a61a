"""Names of generated types and functions, the same in Python and TypeScript."""

from __future__ import annotations

import re

from engine.plan import Plan


def build_type_name(plan: Plan, kind: str) -> str:
    """Return the name of one of a plan's types: `company_intel_briefing` and `Row` give `CompanyIntelBriefingRow`."""
    return f"{to_pascal_case(plan.row_name)}{kind}"


def to_pascal_case(name: str) -> str:
    """Return `CompanyIntelBriefings` for `company_intel_briefings`.

    Only a `_` before a letter is removed, so that different names stay different: `a1` and `a_1`, `a_b` and `a__b`.
    """
    name = re.sub(r"(?<=.)_([a-z])", lambda match: match[1].upper(), name)
    return f"{name[:1].upper()}{name[1:]}"
