"""The first example of README.md is a whole operation that passes the checks."""

from engine.spec import checks, yaml_source
from tests.conftest import ROOT


def test_the_first_example_is_a_whole_operation() -> None:
    page = (ROOT / "README.md").read_text()
    text = page.split("```yaml\n")[1].split("```")[0]
    source = yaml_source.parse_source(text, "specs/company_funding.yaml")
    checked = checks.check_sources([source])
    assert checked.diagnostics == ()
    ((_, spec),) = checked.specs
    assert spec.research is not None and spec.rows is not None
