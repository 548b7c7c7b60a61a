"""Inputs are texts: the first value that the normalizers make one of."""

from collections.abc import Callable

from engine.plan import Plan
from engine.research_inputs import NormalizedInput, normalize_inputs

SPEC = """
spec: 1
name: made
title: Made
operations: [test.made]
research:
  provider: parallel
  processor: pro
  prompt: "{{domain}} {{size}} {{note}}"
  inputs:
    domain: {path: [context.a, context.b], normalize: [domain]}
    size: {path: context.size, normalize: [text, trim]}
    note: {path: context.note}
table: made
row_name: made_row
conflict: [org_id, domain]
fields:
  domain: {type: text, path: output.domain, required: true}
"""


def test_the_first_value_that_gives_a_text_counts(compiled: Callable[[str], Plan]) -> None:
    research = compiled(SPEC).research
    assert research is not None
    texts = normalize_inputs(
        research, {"domain": [None, " ", "not a domain", "https://www.Acme.com/x"], "size": [True]}
    )
    assert texts == {"domain": NormalizedInput("acme.com"), "size": NormalizedInput("true")}


def test_without_a_text_it_says_which_normalizer_refused_which_value(compiled: Callable[[str], Plan]) -> None:
    research = compiled(SPEC).research
    assert research is not None
    texts = normalize_inputs(research, {"domain": [["x"], None], "size": [{"a": 1}], "note": [7, "x"], "other": ["x"]})
    assert texts["domain"].text is None
    assert texts["domain"].refused == '`domain` refuses ["x"]: expected a string, found an array'
    assert (texts["size"].refused or "").startswith('`text` refuses {"a":1}')
    assert texts["note"] == NormalizedInput("7")
    assert "other" not in texts
