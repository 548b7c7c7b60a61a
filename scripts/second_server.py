"""Which tests run on a second server, of another version of Postgres: those whose result can depend on it."""

import re
from pathlib import Path

#: The tests that can depend on the version of Postgres: those that send it the engine's SQL.
DATABASE_TESTS = ("tests/database", "tests/api")
#: Files among them about other things: the command line, the URL, credentials, limits of a process, protocols, clients,
#: programs around the engine. Their SQL is tested by the other files. A new file runs on both servers until it is named
#: here.
OTHER_FILES = (
    *(f"tests/database/test_{name}.py" for name in ("command_line", "database_url", "scripts")),
    *(f"tests/database/test_{name}.py" for name in ("poolers", "spread_the_work", "standby")),
    *(f"tests/api/test_{name}.py" for name in ("auth", "clients", "exchange", "large_pages", "limits", "mcp")),
    *(f"tests/api/test_{name}.py" for name in ("openapi", "outage", "samples", "settings", "telemetry")),
)
#: Tests of the other files that send no other SQL than their neighbours, only more of it: at random, killed anywhere,
#: for each spec, through a command, to another service, over much data. What begins like one of these is left out.
OTHER_TESTS = (
    *(f"tests/api/test_{name}.py::TestTrigger" for name in ("run_management", "starting_work", "submissions")),
    "tests/api/test_explain.py::test_the_command_line_says_the_same",
    "tests/api/test_explain.py::test_wrong_words_are_named",
    "tests/api/test_export.py::test_memory_is_bounded_whatever_the_rows_hold",
    *(f"tests/api/test_isolation.py::test_an_operator[{name}_" for name in ("company", "icp", "person")),
    "tests/api/test_questions.py::test_a_search_knows_capitals_beyond_ascii",  # an embedded server of version 18 does
    "tests/api/test_questions.py::test_every_order_meets_each_row_once",
    "tests/api/test_starting_work.py::test_the_start_says_who_may_spend_without_bound",
    "tests/database/test_concurrency.py::test_a_database_that_is_not_there",
    "tests/database/test_concurrency.py::test_a_stopped_database_is_said_so_and_the_backfill_resumed_once_it_is_back",
    "tests/database/test_concurrency.py::test_killed_at_fifty_points_and_resumed_it_ends_as_if_nothing_had_happened",
    "tests/database/test_concurrency.py::test_the_command_says_so_in_two_lines_and_exits_with_1",
    "tests/database/test_erase.py::test_the_command",
    *(f"tests/database/test_files.py::Test{name}" for name in ("Commands", "Extractor")),
    "tests/database/test_files.py::test_a_missing_library_is_named_with_the_part_to_install",
    "tests/database/test_files.py::test_files_and_database_give_the_same_rows[lists",
    "tests/database/test_filled_tables.py::test_migrations_that_are_killed_anywhere_are_gone_on_with",
    "tests/database/test_laws.py::test_any_order_of_arrival_ends_with_the_newest_source",
    *(
        f"tests/database/test_laws.py::test_live_rows_are_backfilled_rows[{name}_"
        for name in ("company", "icp", "person")
    ),
    "tests/database/test_rebuild.py::test_a_rebuild_that_is_killed_anywhere_is_done_again",
    "tests/database/test_rebuild.py::test_the_commands_of_the_page",
    *(f"tests/database/test_row_laws.py::test_known_histories[{name}]" for name in ("lists deleted", "readings")),
    "tests/database/test_row_laws.py::test_rows_are_what_a_fresh_backfill_makes",
)
#: Files of which only these tests do: the others there send the same statements about other rows. A test that sends a
#: statement of its own, or asks what the server refuses, is named here.
CHOSEN_TESTS: dict[str, tuple[str, ...]] = {
    "tests/api/test_adopted.py": (
        "test_a_run_goes_its_way",
        "test_a_submission_is_made",
    ),
    "tests/api/test_sweep.py": ("test_the_api_sweeps_what_is_pending",),
    "tests/database/test_backfill.py": (
        "test_a_check_constraint_refuses_one_row_of_its_batch",
        "test_a_column_that_wants_a_value_refuses_one_row_and_names_the_column",
        "test_a_deep_document",
        "test_a_key_too_long_for_the_index_refuses_one_row_of_its_batch",
        "test_a_number_too_large_for_a_narrower_column_refuses_one_row_of_its_batch",
        "test_a_run_deleted_while_its_steps_are_backfilled_takes_them_along",
        "test_a_scope_by_organisation_submission_time_and_limit",
        "test_a_step_that_changes_between_reading_and_recording_stays_pending",
        "test_a_table_that_does_not_fit_stops_the_backfill_and_leaves_everything_pending",
        "test_a_time_no_client_can_hold_stops_nothing",
        "test_a_trigger_refuses_one_row_of_its_batch",
        "test_a_trigger_refuses_one_row_with_a_code_of_its_choice",
        "test_documents_of_every_kind_are_stored_as_they_are",
        "test_keys_that_the_table_rounds_to_one_do_not_stop_their_batch",
        "test_numbers_arrive_as_they_were",
        "test_the_reader_goes_on_behind_what_it_read",
    ),
    "tests/database/test_evidence.py": (
        "test_a_row_per_citation_and_one_for_an_entry_without",
        "test_live_is_backfill",
    ),
    "tests/database/test_explain.py": (
        "test_a_row_whose_step_result_was_deleted_is_unsourced",
        "test_each_version_is_what_a_backfill_up_to_there_leaves",
        "test_every_cell_has_its_step_result_path_raw_value_and_normalizer_steps",
        "test_what_waits_for_a_backfill_is_pending",
    ),
    "tests/database/test_incidents.py": (
        "test_a_step_result_of_either_way_of_keeping_the_answer_gives_one_row",
        "test_null_in_the_key_doubled_rows",
        "test_the_guards_field_was_absent_from_the_context",
    ),
    "tests/database/test_lineage.py": (
        "test_a_correction_of_a_contribution_that_is_not_the_newest",
        "test_a_remapped_path_and_a_new_normalizer_leave_nothing_of_the_old_spec",
        "test_a_swallowed_row_is_one_clear_error",
        "test_an_edit_of_what_is_no_result_moves_nothing",
        "test_an_upsert_that_names_its_step_result_answers_what_is_stored",
        "test_how_far_ahead_a_source_lies_is_told_by_the_clock_of_the_database",
        "test_what_goes_while_a_version_is_registered_is_pending_no_more",
        "test_what_the_database_refused_comes_again_with_rejected",
    ),
    "tests/database/test_old_keys.py": (
        "test_a_constraint_is_dropped_as_one",
        "test_a_hint_that_would_fail_over_the_rows_is_a_rebuild",
        "test_an_index_whose_build_failed_is_named",
        "test_an_old_unique_index_is_named_and_its_hint_drops_it",
        "test_rows_of_an_old_key_are_named_until_they_are_gone",
    ),
    "tests/database/test_rows.py": (
        "test_a_live_upsert_replaces_rows_as_the_repair_at_the_runs_end_does",
        "test_a_parent_key_may_be_null",
        "test_an_element_the_database_refuses_is_rejected_with_its_index",
        "test_only_rows_of_the_same_organisation_and_parent_are_compared",
        "test_operations_of_two_shapes_in_one_batch",
        "test_rows_whose_element_is_gone_are_deleted",
    ),
    "tests/database/test_shards.py": (
        "test_an_index_serves_an_organisations_share",
        "test_stale_rows_are_folded_by_the_shard_of_their_organisation",
        "test_verify_counts_each_row_in_one_shard",
    ),
    "tests/database/test_verify.py": (
        "test_a_row_without_lineage_is_mended_too",
        "test_a_table_that_is_right",
        "test_an_edit_is_named_and_mended",
        "test_it_is_right_while_others_write",
        "test_more_than_ten_of_a_kind_are_counted_and_ten_are_shown",
    ),
}


def list_arguments(root: Path) -> tuple[str, ...]:
    """Return the arguments for pytest that choose these tests of the project in the folder `root`."""
    others = (
        f"{file}::{name}"
        for file, chosen in CHOSEN_TESTS.items()
        for name in re.findall(r"^(?:async )?(?:def|class) (test_\w+|Test\w+)", (root / file).read_text(), re.MULTILINE)
        if name not in chosen
    )
    return (
        *DATABASE_TESTS,
        *(f"--ignore={file}" for file in OTHER_FILES),
        *(f"--deselect={test}" for test in (*OTHER_TESTS, *others)),
    )
