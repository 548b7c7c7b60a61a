"""Every character of a string is found where it stands in the file, however YAML lets it be written."""

from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from engine.spec import yaml_source
from tests.conftest import count_examples

STYLES = {"plain": None, "single": "'", "double": '"', "literal": "|", "folded": ">"}
texts = st.text(alphabet="ab|&.'\"\\ \n\té🚀\x07", min_size=1, max_size=60)


@pytest.mark.law
@pytest.mark.parametrize("style", STYLES)
@settings(deadline=None, max_examples=count_examples(150, 3000))
@given(value=texts, width=st.integers(5, 40), indent=st.sampled_from([0, 2]))
@example(value="output.a || 'x' || lenght(b)", width=8, indent=2)
@example(value="a\n\nb\n c\n\nd", width=80, indent=0)
@example(value="\n\n  a\nb", width=80, indent=0)
def test_every_character_is_found(style: str, value: Any, width: int, indent: int | None) -> None:
    text = yaml.dump({"spec": {"path": value, "next": 1}}, default_style=STYLES[style], allow_unicode=True, width=width)
    text = "\n".join(" " * indent + line for line in text.split("\n")) if indent else text
    read = yaml_source.parse_source(text, "specs/any.yaml")
    assume(read.data is not None and read.data["spec"]["path"] == value)
    lines = text.split("\n")
    for offset, wanted in enumerate(value):
        position = read.find_character_position(("spec", "path"), offset)
        found = lines[position.line - 1][position.column - 1 : position.column]
        folded = wanted in " \n" and found in ("", " ", "\t")  # a break of the file stands for it
        # so does an escape, or the indentation of the line that a folded break ends at
        assert found == wanted or found == "\\" or folded, (text, offset, wanted, position)


def test_beyond_the_end_is_the_end() -> None:
    read = yaml_source.parse_source('a: "bc"  # d\n', "specs/any.yaml")
    assert (
        read.find_character_position(("a",), 2)
        == read.find_character_position(("a",), 99)
        == yaml_source.Position(1, 7)
    )


def test_a_place_without_a_scalar_is_where_it_stands() -> None:
    read = yaml_source.parse_source("a: [b]\n", "specs/any.yaml")
    assert read.find_character_position(("a",), 5) == yaml_source.Position(1, 4)
    assert read.find_value_position(("a", 7, "c")) == yaml_source.Position(1, 4)
