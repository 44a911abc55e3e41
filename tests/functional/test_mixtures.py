"""The lock names the rules that chose the types of tensors; they are no part of what is built."""

from __future__ import annotations

import pytest


@pytest.fixture
def project(quantized_project):
    quantized_project.run("build").assert_success()
    return quantized_project


def bundle_of(project) -> bytes:
    (path,) = (project.root / "dist").iterdir()
    return path.read_bytes()


def test_a_new_lock_names_the_rules(project):
    assert 'mixture = "ggml-mix/1"\nplan = ' in project.lock.read_text()


def test_a_lock_without_them_builds_the_same_and_stays_as_it_is(project):
    built, text = bundle_of(project), project.lock.read_text().replace('mixture = "ggml-mix/1"\n', "")
    project.lock.write_text(text)

    project.run("lock").assert_success()
    project.run("build", "--locked", "--rebuild").assert_success()

    assert (project.lock.read_text(), bundle_of(project)) == (text, built)


def test_an_upgrade_of_the_tool_adds_them_and_no_action_moves(project):
    whole = project.lock.read_text()
    project.lock.write_text(whole.replace('mixture = "ggml-mix/1"\n', ""))

    done = project.run("lock", "--upgrade", "tool:ggml-q/1").assert_success()

    assert project.lock.read_text() == whole
    assert "   target  q8: types by ggml-mix/1\n" in done.out


def test_rules_that_the_installed_quantizer_does_not_know_are_named(project):
    project.lock.write_text(project.lock.read_text().replace('"ggml-mix/1"', '"ggml-mix/9"'))

    done = project.run("build", "--rebuild")

    assert (done.status, done.err.splitlines()[-3:]) == (
        8,
        [
            "error: targets.q8: the lock's types were chosen by ggml-mix/9, which the installed quantizer 'strict' does not know",
            "  hint: install a newer 'strict'",
            "  hint: or accept the types that it chooses: lftool lock --upgrade tool:strict",
        ],
    )
