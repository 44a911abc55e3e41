"""Which tests run in `make test-long` only, besides those marked where they stand: more of what a quicker one has shown.

Each pattern is searched for in the names of tests. What is left in `make test` has every behaviour at least once.
"""

from __future__ import annotations

import re

LONG = (
    # One variation of the surroundings stays; the committed lock is also compared with the one that locking gives.
    r"test_jitter\.py::test_the_surroundings_change_no_byte\[(?!far away)",
    r"test_jitter\.py::test_the_clock_changes_no_byte",
    r"test_jitter\.py::test_the_committed_example_builds_under_its_committed_lock",
    # The engine that waits is the same for all; nginx stays.
    r"(test_s3|test_hf|test_oci)\.py::.*_fault_ends_in_.*\[(a server that stays overloaded|a page of HTML for good|silence)\]",
    r"test_remote_store\.py::test_an_action_that_cannot_be_read_is_none\[(?!\{\}|said5)",
    r"test_remote_store\.py::test_a_wrong_object_is_a_warning.*\[(short|long|empty|cut, compressed|frames of nothing)\]",
    r"test_remote_store\.py::test_a_store_that_fails_is_a_warning\[(403|500)\]",
    r"test_remote_store\.py::test_a_place_that_cannot_be_is_a_usage_error\[(cache|https://\[|https://host:)",
    # One file type of each family stays: kernels are compared block by block in test_kernels.py.
    r"test_cpus\.py::test_code_for_an_older_processor_makes_the_same_blocks\[x86-64-(?!Q4_K|IQ4_NL|Q8_0)",
    r"strict/test_files\.py::test_file_with_an_imatrix_is_llama_cpps\[(?!Q4_K_M|Q2_K|IQ4_XS|Q8_0)",
    r"strict/test_files\.py::test_file_of_the_story_model_is_llama_cpps\[(?!Q4_K_M|Q5_1|IQ4_NL|Q8_0)",
    r"strict/test_files\.py::test_file_of_an_odd_model_is_llama_cpps\[.*-(IQ4_XS|F32|BF16)\]",
    r"cuda/test_kernels\.py::test_every_file_type_has_the_bytes_of_strict\[(?!Q4_K_M|IQ4_XS|Q6_K)",
    # Both go through the same script as the weights, which stay.
    r"test_transforms\.py::Test(Adapter|Projector)::test_(threads_and_repetition_change_no_byte|a_pipe_gives_the_same_bytes)",
    r"test_converter\.py::test_vendored_project_converts_without_a_network",
    r"test_companions\.py::test_a_projector_is_converted_and_llama_cpp_loads_it_beside_the_weights",
    r"test_companions\.py::test_converting_an_adapter_fetches_no_weights",
    r"test_quality\.py::test_the_unquantised_perplexity_is_what_transformers_computes",
    r"test_streaming\.py::test_(another_machine_builds_the_same_in_one_go|many_quantisations_are_not_made_in_one_pass)",
    r"test_cpus\.py::test_no_instruction_multiplies_and_adds_at_once\[aarch64",
    # A hundred connections at the same moment stay, and a minute of fifty clients is among the long ones.
    r"test_serving\.py::test_fifty_clients_at_once_get_answers_and_memory_stays_flat\[by itself-4\]",
    r"test_serving\.py::test_it_stops_gracefully_when_it_is_told_to\[lftool serve, native",
    r"test_serving\.py::test_a_server_that_may_start_no_more_threads",
    r"test_starting\.py::test_a_chat_template_that_cannot_be_read",
    r"test_starting\.py::test_an_answer_that_the_context_ends",
    r"test_over_4_gib\.py::test_started_by_itself_it_answers_as_the_small_one_does",
)


def is_long(name: str) -> bool:
    """Return whether a test is one of them."""
    return any(re.search(pattern, name) for pattern in LONG)


def unused(names: list[str]) -> list[str]:
    """Return patterns that are in no name of the whole suite."""
    return [pattern for pattern in LONG if not any(re.search(pattern, name) for name in names)]
