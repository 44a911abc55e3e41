"""The command line itself: version, help, completion, projects, unexpected errors, `init`."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from attrs import evolve

from lftool import __version__
from lftool.cli.main import COMMANDS, cli
from lftool.cli.shared_options import wrapped
from lftool.ops import project as project_module
from lftool.testing import tiny_gguf

SCRIPT = Path(sys.executable).parent / "lftool"


def test_version_is_one_line():
    done = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"lftool {__version__}\n", "")


def test_version_is_the_same_through_the_argument_parser(project):
    outcome = project.run("--version")

    assert (outcome.status, outcome.out) == (0, f"lftool {__version__}\n")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(project, option):
    outcome = project.run(option).assert_success()

    shown = outcome.out.partition("\n\nRun models:\n")[2].splitlines()
    assert [line.split()[0] for line in shown if line.startswith("  ") and line.split()[0] in COMMANDS] == list(
        COMMANDS
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(project, name):
    outcome = project.run(name, "--help").assert_success()

    assert outcome.out.startswith(f"Usage: lftool {name} ")


def test_without_a_command_the_help_is_shown_and_it_is_a_usage_error(project):
    outcome = project.run()

    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: lftool [OPTIONS] COMMAND [ARGS]...\n")


def test_an_unknown_command_is_a_usage_error(project):
    outcome = project.run("biuld")

    assert outcome.status == 2
    assert outcome.err == (
        "Usage: lftool [OPTIONS] COMMAND [ARGS]...\n"
        "error: there is no command 'biuld'; did you mean 'build'?\n"
        "  hint: lftool --help\n"
    )


def test_an_unknown_option_is_a_usage_error(project):
    outcome = project.run("build", "--lokced")

    assert outcome.status == 2
    lines = outcome.err.splitlines()
    assert lines[-2].startswith("error: no such option")
    assert "--lokced" in lines[-2]
    assert lines[-1] == "  hint: lftool build --help"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(shell):
    done = subprocess.run(
        [SCRIPT],
        env={**os.environ, "_LFTOOL_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "_LFTOOL_COMPLETE" in done.stdout


def test_completion_completes_commands():
    done = subprocess.run(
        [SCRIPT],
        env={**os.environ, "_LFTOOL_COMPLETE": "bash_complete", "COMP_WORDS": "lftool ver", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,verify\n", "")


def test_an_unexpected_error_is_one_line_and_a_hint(locked_project, monkeypatch):
    def fail(_given):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(project_module, "find_project", fail)

    outcome = locked_project.run("build")

    assert (outcome.status, outcome.out, outcome.err) == (
        1,
        "",
        (
            "error: internal: ZeroDivisionError: boom\n"
            "  hint: this is a bug; run again with `lftool --traceback …` and report it\n"
        ),
    )


CRASH = """\
import sys
from lftool.ops import project
def fail(given):
    raise ZeroDivisionError("boom")
project.find_project = fail
from lftool.cli.entry import main
sys.argv = ["lftool", "--traceback", "build"]
main()
"""


def test_traceback_shows_where_an_unexpected_error_came_from(project):
    done = subprocess.run(
        [sys.executable, "-c", CRASH], env=project.environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("\nZeroDivisionError: boom\n")


def test_traceback_keeps_the_exit_status_of_an_expected_error(plain_project):
    outcome = plain_project.spawn("--traceback", "build")

    assert "Traceback (most recent call last):\n" in outcome.err
    assert f"there is no lftool.lock in {plain_project.root}" in outcome.err
    assert outcome.status == 3


def test_a_reader_that_goes_away_is_no_error(locked_project):
    process = locked_project.start("schema", "recipe")
    process.stdout.close()
    process.stdin.close()
    errors = process.stderr.read()
    process.stderr.close()

    assert (process.wait(), errors) == (0, "")


def test_the_project_is_searched_upwards(locked_project):
    deep = locked_project.root / "a" / "b"
    deep.mkdir(parents=True)

    done = subprocess.run(
        [SCRIPT, "lock", "--check"],
        cwd=deep,
        env=locked_project.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "lftool.lock is fresh\n")


def test_bundles_of_a_project_found_upwards_lie_beside_its_recipe(locked_project):
    deep = locked_project.root / "a" / "b"
    deep.mkdir(parents=True)

    subprocess.run([SCRIPT, "build"], cwd=deep, env=locked_project.environment, capture_output=True, check=True)

    assert (locked_project.root / "dist" / "tiny-1-plain.gguf").is_file()
    assert not list(deep.iterdir())


def test_a_project_can_be_named(locked_project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    evolve(locked_project, root=elsewhere).run("build", "--project", locked_project.root).assert_success()

    assert (locked_project.root / "dist" / "tiny-1-plain.gguf").is_file()
    assert not list(elsewhere.iterdir())


def test_a_named_project_is_not_searched_upwards(locked_project):
    inside = locked_project.root / "inside"
    inside.mkdir()

    outcome = locked_project.run("build", "--project", inside)

    assert (outcome.status, outcome.err) == (
        2,
        f"error: there is no lftool.toml in {inside}\n  hint: write one: lftool init\n",
    )


def test_no_project_at_all_says_how_to_start_one(project):
    outcome = project.run("lock")

    assert (outcome.status, outcome.err) == (
        2,
        f"error: there is no lftool.toml in {project.root} or any folder above it\n  hint: write one: lftool init\n",
    )


def test_init_writes_a_recipe_that_names_the_only_gguf(project):
    (project.root / "story.gguf").write_bytes(b"GGUF")

    outcome = project.run("init", "--name", "story").assert_success()

    assert outcome.err == "wrote lftool.toml; next: lftool lock\n"
    table = tomllib.loads(project.recipe.read_text())
    assert (table["bundle"]["name"], table["sources"]) == ("story", {"base": {"uri": "file:story.gguf"}})


def test_what_init_writes_can_be_locked_and_built(project):
    tiny_gguf(project.root / "story.gguf")
    project.run("init").assert_success()
    project.run("lock").assert_success()

    project.run("build").assert_success()

    assert [path.name for path in (project.root / "dist").iterdir()] == ["story-0.1.0-q4.llamafile"]


def test_init_without_a_quantizer_takes_the_weights_as_they_are(project):
    tiny_gguf(project.root / "story.gguf")
    project.run("--no-plugins", "init").assert_success()
    project.run("--no-plugins", "lock").assert_success()

    project.run("--no-plugins", "build").assert_success()

    assert [path.name for path in (project.root / "dist").iterdir()] == ["story-0.1.0-whole.gguf"]


def test_init_signs_with_the_only_key(project):
    project.run("keygen", "-o", "release").assert_success()

    project.run("init").assert_success()

    assert tomllib.loads(project.recipe.read_text())["sign"] == {"key": "file:release.key"}


def test_init_does_not_guess_between_two_keys(project):
    for name in ("one", "two"):
        project.run("keygen", "-o", name).assert_success()

    project.run("init").assert_success()

    assert "sign" not in tomllib.loads(project.recipe.read_text())


def test_init_does_not_guess_between_two_ggufs(project):
    for name in ("one.gguf", "two.gguf"):
        (project.root / name).write_bytes(b"GGUF")

    project.run("init").assert_success()

    assert tomllib.loads(project.recipe.read_text())["sources"] == {"base": {"uri": "file:model.gguf"}}


def test_init_makes_the_folder_it_is_told(project):
    project.run("init", "new/folder").assert_success()

    assert 'name = "folder"' in (project.root / "new" / "folder" / "lftool.toml").read_text()


def test_init_overwrites_nothing(project):
    project.write_recipe("precious")

    outcome = project.run("init")

    assert (outcome.status, outcome.err) == (2, "error: lftool.toml already exists\n")
    assert project.recipe.read_text() == "precious"


def test_init_refuses_a_name_that_cannot_name_a_bundle(project):
    outcome = project.run("init", "--name", "a b")

    assert (outcome.status, outcome.err) == (
        2,
        (
            "error: 'a b' is not a name: letters, digits and . _ + -, at most 64, starting with a letter or digit\n"
            "  hint: give a name: lftool init --name NAME\n"
        ),
    )
    assert not project.recipe.exists()


@pytest.mark.parametrize("name", ['we"ird.gguf', "glob[1].gguf"])
def test_init_names_a_gguf_of_any_name_so_that_the_recipe_finds_it(project, name):
    tiny_gguf(project.root / name, width=32)

    project.run("init", "--name", "story").assert_success()

    recipe = project.recipe.read_text().replace('quantize = "Q4_K_M"\n', "")
    project.write_recipe(recipe)
    project.run("lock").assert_success()


def test_it_starts_as_a_module_too():
    done = subprocess.run([sys.executable, "-m", "lftool", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("lftool ")


@pytest.mark.parametrize("name", ["cache", "export", "gguf", "plugins", "runtime"])
def test_the_help_of_a_group_cuts_no_sentence(project, name):
    out = project.run(name, "--help").assert_success().out.partition("Commands:")[2]
    assert "..." not in out.replace("[ARGS]...", "")


def test_lists_of_plugins_are_aligned(project):
    _, *lines = project.run("plugins", "list").assert_success().out.splitlines()
    records = itertools.takewhile(lambda line: line.startswith(" "), lines)  # of the built-in plugin
    begins = {re.match(r"    \S+ +\S+ +", line).end() for line in records}
    assert len(begins) == 1


def test_a_wide_table_keeps_its_last_column_on_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setenv("COLUMNS", "40")
    rows = [("a", "name", "one two three four five six seven"), ("bb", "n", "short")]
    assert wrapped(rows, "  ") == [
        "  a   name  one two three four five six",
        "            seven",
        "  bb  n     short",
    ]


def test_options_of_another_program_stay_its_own():
    """`plugins test NAME -q -v` hands them to pytest."""
    plugins = cli.get_command(click.Context(cli), "plugins")
    names = {name for item in plugins.commands["test"].params for name in item.opts}
    assert names.isdisjoint({"-q", "-v", "--color"})
    assert {"-q", "-v", "--color"} <= {name for item in plugins.commands["list"].params for name in item.opts}


@pytest.mark.parametrize("option", ["-q", "-v"])
def test_how_much_is_said_holds_for_one_command(project, option):
    before = os.environ.get("LFTOOL_VERBOSITY")
    project.run("backends", option)
    assert os.environ.get("LFTOOL_VERBOSITY") == before


def test_errors_have_colours_where_they_are_wanted(project):
    told = project.run("--color", "always", "lock").err
    assert told.startswith("\x1b[1;31merror:\x1b[0m there is no lftool.toml")
    assert "\x1b[36m  hint:\x1b[0m" in told
    assert "\x1b" not in project.run("lock").err
