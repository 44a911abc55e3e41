"""What an author meets who has the docs and not the code: each was stumbled over once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lftool.testing import ProjectFolder

COMMAND = """
import click
from pathlib import Path

@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.pass_obj
def own(context, bundle):
    "Say what a bundle is."
    with context.open_bundle(bundle) as opened:
        click.echo(f"{opened.name} {opened.version} {opened.size} {len(opened.weights.tensors)} {opened.file.read(4)}")

@hookimpl
def lftool_commands():
    yield CommandType(name="own", summary="mine", factory=lazily("own:own"))
"""


@pytest.fixture
def built(lftool, plain_project) -> ProjectFolder:
    lftool("lock").assert_success()
    lftool("build").assert_success()
    return plain_project


def test_a_command_may_be_named_lazily_and_opens_bundles(site, lftool, built):
    site.install("own", COMMAND)
    bundle = built.root / "dist" / "tiny-1-plain.gguf"
    assert lftool("own", bundle).assert_success().out == f"tiny 1 {bundle.stat().st_size} 12 b'GGUF'\n"
    assert "Say what a bundle is." in lftool("own", "--help").assert_success().out
    assert lftool("plugins", "check", "own").assert_success().err == ""


def test_a_command_opens_no_bundle_that_was_changed(site, lftool, built):
    site.install("own", COMMAND)
    bundle = built.root / "dist" / "tiny-1-plain.gguf"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    (built.root / "changed.gguf").write_bytes(data)
    assert lftool("own", "changed.gguf").status == 4
    (built.root / "other.gguf").write_bytes(b"GGUF")
    assert lftool("own", "other.gguf").status == 4


@pytest.mark.parametrize("how", ["--no-plugins", "allow list"])
def test_a_command_of_a_plugin_that_is_left_out_does_not_run(site, lftool, built, how):
    site.install("own", COMMAND)
    bundle = built.root / "dist" / "tiny-1-plain.gguf"
    done = (
        lftool("--no-plugins", "own", bundle)
        if how == "--no-plugins"
        else lftool("own", bundle, LFTOOL_PLUGINS="strict")
    )
    assert (done.status, done.out) == (2, "")
    assert "there is no command 'own'" in done.err


def test_a_command_that_is_nobodys_names_the_nearest(plain_project):
    done = plain_project.run("verfy")
    assert (done.status, "there is no command 'verfy'; did you mean 'verify'?" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            '@hookimpl\ndef lftool_examples():\n    yield Example(name="x", summary="", of="check", make=print)\n',
            "Example.of must be a kind of record",
        ),
        ("def lftool_sources():\n    yield 1\n", "TypeError: lftool_sources is not marked with @hookimpl"),
    ],
)
def test_a_plugin_that_cannot_work_is_a_failed_one(site, lftool, code, said):
    site.install("own", code)
    assert said in lftool.listed()["own"]["reason"]
    assert lftool("plugins", "check", "own").status == 8


def test_an_object_that_cannot_do_what_its_record_promises_is_found(site, lftool):
    site.install(
        "own",
        """
        class Source:
            def __init__(self, context): pass
            def resolve(self, request): pass
        class Check:
            pass

        @hookimpl
        def lftool_sources():
            yield SourceType(name="own", summary="mine", schemes=("own",), factory=Source)

        @hookimpl
        def lftool_checks():
            yield CheckType(name="own", summary="mine", factory=Check)
        """,
    )
    done = lftool("plugins", "check", "own")
    assert done.status == 8
    assert "own: own: TypeError: Source has no open()" in done.err
    assert "own: own: TypeError: Check has no check()" in done.err


SOURCE = """
class Source:
    def __init__(self, context): pass
    def resolve(self, request):
        return {returned}

@hookimpl
def lftool_sources():
    yield SourceType(name="own", summary="mine", schemes=("own",), factory=Source)
"""


@pytest.mark.parametrize(
    ("returned", "more", "status", "said"),
    [
        (
            "Resolution(revision=None, files=())",
            'include = ["*.gguff"]\n',
            2,
            "source 'base': there is no file at own:x that its `include` and `exclude` match",
        ),
        ("Resolution(revision=None, files=())", "", 2, "source 'base': there is no file at own:x\n"),
        ("[]", "", 8, "plugin 'own' of own 1.0: resolve() returned list, not Resolution"),
    ],
)
def test_a_source_with_nothing_there(site, lftool, plain_project, returned, more, status, said):
    site.install("own", SOURCE.format(returned=returned))
    recipe = plain_project.recipe.read_text().replace('uri = "file:model.gguf"\n', f'uri = "own:x"\n{more}')
    plain_project.write_recipe(recipe)
    done = lftool("lock")
    assert (done.status, f"error: {said}" in done.err) == (status, True), done


def test_what_a_validator_of_attrs_says_is_a_sentence(site, lftool, plain_project):
    site.install(
        "own",
        """
        from attrs import field, frozen, validators

        @frozen(kw_only=True)
        class Options:
            word: str = field(validator=validators.matches_re("[a-z]+"))

        @hookimpl
        def lftool_checks():
            yield CheckType(name="own", summary="mine", options=Options, factory=print)
        """,
    )
    plain_project.write_recipe(plain_project.recipe.read_text() + '\n[[checks]]\nkind = "own"\nword = "A"\n')
    done = lftool("lock")
    assert done.err == "error: lftool.toml: $.checks[0].word: 'word' must match regex '[a-z]+' ('A' doesn't)\n"


def test_a_check_without_the_plugin_that_the_recipe_asks_for_says_what_to_install(site, lftool, built):
    built.write_recipe(built.recipe.read_text() + '\n[plugins]\nlftool-polite = ">=1"\n')
    done = lftool("check", "dist/tiny-1-plain.gguf")
    assert (done.status, "pip install 'lftool-polite>=1'" in done.err) == (8, True), done


def test_what_the_user_left_out_is_not_blamed_on_a_variable(site, lftool):
    site.install("own", COMMAND)
    listed = lftool("--no-plugins", "plugins", "list").assert_success().out
    assert "blocked: left out by --no-plugins, or an empty LFTOOL_PLUGINS" in listed


def test_an_edited_plugin_of_the_same_version_is_not_to_be_installed_again(site, lftool, plain_project):
    code = (
        SOURCE.format(returned='Resolution(revision=None, files=(SourceFile(path="model.gguf", size=None),))')
        + "\nimport contextlib\n\n@contextlib.contextmanager\ndef opened(self, *_):\n    from pathlib import Path\n    yield iter([(Path.cwd() / 'model.gguf').read_bytes()])\nSource.open = opened\n"
    )
    site.install("own", code)
    plain_project.write_recipe(plain_project.recipe.read_text().replace("file:model.gguf", "own:x"))
    lftool("lock").assert_success()
    site.install("own", code + "# edited\n")
    done = lftool("lock", "--upgrade", "base")
    assert done.status == 8
    assert "hint: while you write it: lftool lock --editable own, with pip install -e" in done.err
    assert "pip install own==1.0" not in done.err
