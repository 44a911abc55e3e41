"""Commands that plugins add: `lftool NAME`."""

from __future__ import annotations

import textwrap

import pytest

COMMAND = """
import click

@click.command()
@click.argument("what")
@click.option("--loud", is_flag=True)
def publish(what, loud):
    {act}

@hookimpl
def lftool_commands():
    yield CommandType(name={name!r}, summary="put bundles on a shelf", factory={factory})
"""
SAY = "click.echo(what.upper() if loud else what)"


@pytest.fixture
def shop(site):
    def install(*, act: str = SAY, name: str = "publish", factory: str = "lambda: publish") -> None:
        code = COMMAND.format(act=act, name=name, factory=factory)
        site.install("demo-shop", textwrap.dedent(code), entry="shop", version="3.1")

    return install


def test_a_command_of_a_plugin_takes_its_own_arguments(shop, lftool):
    shop()
    assert lftool("publish", "a bundle", "--loud").assert_success().out == "A BUNDLE\n"
    assert lftool("publish", "--help").assert_success().out.startswith("Usage: lftool publish [OPTIONS] WHAT")


@pytest.mark.parametrize(
    ("act", "status", "said"),
    [
        ("return 3", 3, ""),
        ("raise UnavailableError('no shelf', hints=('build one',))", 8, "error: no shelf\n  hint: build one\n"),
        ("raise click.UsageError('two of them')", 2, "error: two of them\n  hint: lftool publish --help\n"),
        (
            "raise KeyError('x')",
            8,
            "error: plugin 'shop' of demo-shop 3.1 failed: KeyError: 'x'\n  hint: where in the plugin: lftool --traceback …\n",
        ),
    ],
)
def test_what_it_returns_or_raises_is_as_of_any_command(shop, lftool, act, status, said):
    shop(act=act)
    outcome = lftool("publish", "x")
    assert outcome.status == status
    assert outcome.err.endswith(said)


def test_what_is_no_command_names_the_plugin(shop, lftool):
    shop(factory="lambda: 5")
    outcome = lftool("publish", "x")
    assert outcome.status == 8
    assert outcome.err == "error: plugin 'shop' of demo-shop 3.1: the factory of a command returned int, not Command\n"


def test_lftools_own_commands_stay_its_own(shop, lftool):
    shop(name="lock")
    assert lftool("lock", "--help").assert_success().out.startswith("Usage: lftool lock [OPTIONS]\n")
    assert "the command 'lock' is built in and cannot be replaced" in lftool("plugins", "check").err


@pytest.mark.parametrize("variables", [{}, {"LFTOOL_PLUGINS": ""}], ids=["without it", "where plugins are blocked"])
def test_a_name_that_nobody_has_is_no_command(shop, lftool, variables):
    if variables:
        shop()
    outcome = lftool("publish", "x", **variables)
    assert outcome.status == 2
    assert "there is no command 'publish'" in outcome.err
