"""The endpoint that normalizes the inputs of a step's research."""

from tests.api.loopback import Api, read_data, read_error

PATH = "step-results/normalize-inputs"


def test_it_answers_the_text_of_each_input(api: Api) -> None:
    inputs = {"company_name": [None, "  ", " Acme "], "domain": [{}], "company_description": [12345678901234567890123]}
    answer = read_data(api.call_runner(PATH, {"operation_id": "company.derive.icp_job_titles", "inputs": inputs}))
    assert answer == {
        "company_name": {"text": "Acme", "refused": None},
        "domain": {"text": None, "refused": None},
        "company_description": {"text": "12345678901234567890123", "refused": None},
    }


def test_an_operation_without_research_is_named(api: Api) -> None:
    error = read_error(
        api.call_runner(PATH, {"operation_id": "company.derive.nothing", "inputs": {}}), 404, "not_found"
    )
    assert error["error"] == "no spec says how `company.derive.nothing` is executed"
