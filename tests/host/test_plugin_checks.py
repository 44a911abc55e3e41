"""Kinds of checks and exporters that plugins bring, through the commands that people type."""

from __future__ import annotations

import json
import re
import threading

import pytest

from lftool.ops.checks.turns import Turn, Want

CHECK = """
from attrs import frozen

@frozen(kw_only=True)
class Options:
    most: int

class Own:
    def __init__(self, options):
        self.most = options.most
    def check(self, context):
        {body}

@hookimpl
def lftool_checks():
    yield CheckType(name="own", summary="mine", options=Options, of=("generates", "embeds", "ranks"), factory=Own)
"""
COMPARE = (
    "return Finding(failure=None if context.bundle.size <= self.most else 'too large', detail=f'{context.bundle.size}')"
)


def recipe_with(project, *checks: str) -> None:
    tables = "".join(f'\n[[checks]]\nkind = "own"\n{keys}\n' for keys in checks)
    project.write_recipe(project.recipe.read_text() + tables)


def bundle_of(lftool, project):
    lftool("lock").assert_success()
    lftool("build").assert_success()
    return project.root / "dist" / "tiny-1-plain.gguf"


def test_a_check_of_a_plugin_starts_no_server_unless_it_asks(site, lftool, plain_project):
    """This model has no tokenizer: it could not be served."""
    site.install("own", CHECK.format(body=COMPARE))
    recipe_with(plain_project, "most = 10", 'name = "fits"\nmost = 10_000_000')
    bundle = bundle_of(lftool, plain_project)

    done = lftool("check", bundle, "--json")

    assert done.status == 6
    found = done.json()["bundles"][0]
    assert found["asked"] is None
    assert [(item["name"], item["holds"], item["failure"], item["detail"]) for item in found["checks"]] == [
        ("own-1", False, "too large", str(bundle.stat().st_size)),
        ("fits", True, None, str(bundle.stat().st_size)),
    ]


def test_a_check_changes_no_byte_of_a_bundle(site, lftool, plain_project):
    site.install("own", CHECK.format(body=COMPARE))
    before = bundle_of(lftool, plain_project).read_bytes()
    recipe_with(plain_project, "most = 1")
    assert lftool("lock", "--check").status == 0
    assert bundle_of(lftool, plain_project).read_bytes() == before


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "lftool.toml: $.checks[0].most: missing"),
        ("most = 'x'", "lftool.toml: $.checks[0].most: expected an integer, got a string"),
        ("most = 1\nmots = 2", "lftool.toml: $.checks[0].mots: unknown key; did you mean 'most'?"),
    ],
)
@pytest.mark.parametrize("command", ["lock", "build"])
def test_its_keys_are_checked_before_anything_is_made(site, lftool, plain_project, keys, said, command):
    site.install("own", CHECK.format(body=COMPARE))
    lftool("lock").assert_success()
    recipe_with(plain_project, keys)
    done = lftool(command)
    assert (done.status, f"error: {said}" in done.err) == (2, True), done
    assert not (plain_project.root / "dist").exists()


def test_a_kind_that_no_plugin_has_names_the_nearest(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text() + '\n[[checks]]\nkind = "promt"\n')
    done = plain_project.run("lock")
    assert done.status == 2
    assert "unknown kind of check 'promt'; did you mean 'prompt'?" in done.err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('boom')", "plugin 'own' of own 1.0, check 'own', failed: ValueError: boom"),
        ("return True", "plugin 'own' of own 1.0: check() returned bool, not Finding"),
        ("return Finding(failure=3)", "plugin 'own' of own 1.0, check 'own', failed: TypeError"),
        ("import os; os._exit(0)", "plugin 'own' of own 1.0, check 'own', failed: SystemExit"),
    ],
)
def test_what_a_check_does_wrong_names_the_plugin(site, lftool, plain_project, body, said):
    site.install("own", CHECK.format(body=body))
    recipe_with(plain_project, "most = 1")
    done = lftool("check", bundle_of(lftool, plain_project))
    assert (done.status, said in done.err) == (8, True), done


def test_a_check_that_cannot_be_made_does_not_hide_the_others(site, lftool, plain_project):
    body = f"if self.most == 1: raise UnavailableError('no oracle here')\n        {COMPARE}"
    site.install("own", CHECK.format(body=body))
    recipe_with(plain_project, "most = 1", "most = 10_000_000")
    done = lftool("check", bundle_of(lftool, plain_project), "--json")
    assert done.status == 8
    assert [(item["holds"], item["made"]) for item in done.json()["bundles"][0]["checks"]] == [
        (False, False),
        (True, True),
    ]


def test_a_kind_that_is_not_for_such_models_is_refused(site, lftool, plain_project):
    site.install("own", CHECK.format(body=COMPARE).replace('of=("generates", "embeds", "ranks")', 'of=("ranks",)'))
    recipe_with(plain_project, "most = 1")
    done = lftool("check", bundle_of(lftool, plain_project))
    assert (
        done.status,
        "a check of kind 'own' needs a model that ranks documents, but this one generates text" in done.out,
    ) == (
        8,
        True,
    )


EXPORTER = """
from typing import Literal
from attrs import field, frozen

@frozen(kw_only=True)
class Options:
    title: str = field(metadata={{"doc": "What it is called.", "metavar": "TEXT"}})
    copies: int = 1
    tag: tuple[str, ...] = ()
    loud: bool = False
    style: Literal["long", "short"] = "long"
    dry_run: float | None = None

class Own:
    def __init__(self, options):
        self.options = options
    def export(self, request):
        {body}

@hookimpl
def lftool_exporters():
    yield ExporterType(name="own", summary="a listing of mine", options=Options, {writes}factory=Own)
"""
SHOWN = "import json, attrs; return Export(text=json.dumps(attrs.asdict(self.options)), notes=('now read it',))"
FILL = "(request.folder / 'a').mkdir(); (request.folder / 'a' / 'b').write_text(request.bundle.name); return Export(text='done', data={'n': 1})"


def test_fields_of_the_options_class_are_options_of_the_command(site, lftool, plain_project):
    site.install("own", EXPORTER.format(body=SHOWN, writes=""))
    bundle = bundle_of(lftool, plain_project)

    typed = (
        "--title",
        "T",
        "--copies",
        "2",
        "--tag",
        "a",
        "--tag",
        "b",
        "--loud",
        "--style",
        "short",
        "--dry-run",
        "0.5",
    )
    done = lftool("export", "own", bundle, *typed).assert_success()

    assert json.loads(done.out) == {
        "title": "T",
        "copies": 2,
        "tag": ["a", "b"],
        "loud": True,
        "style": "short",
        "dry_run": 0.5,
    }
    assert done.err.endswith("now read it\n")
    shown = lftool("export", "own", "--help").assert_success().out
    assert "A listing of mine." in shown
    assert "--title TEXT" in shown
    assert "What it is called.  [required]" in shown
    assert "--loud / --no-loud" in shown
    assert "own" in lftool("export", "--help").out


def test_a_switch_that_is_on_can_be_turned_off(site, lftool, plain_project):
    code = EXPORTER.replace("loud: bool = False", "loud: bool = True").format(body=SHOWN, writes="")
    site.install("own", code)
    bundle = bundle_of(lftool, plain_project)
    shown = [
        json.loads(lftool("export", "own", bundle, "--title", "T", *typed).assert_success().out)["loud"]
        for typed in ((), ("--loud",), ("--no-loud",))
    ]
    assert shown == [True, True, False]


@pytest.mark.parametrize("options", ["Options", "lazily(f'{__name__}:Options')"])
@pytest.mark.parametrize(
    "kind", ["Mapping[str, int]", "dt.date", "tuple[dt.date, ...]", "tuple[tuple[str, ...], ...]", "Inner"]
)
def test_an_option_that_cannot_be_typed_is_the_plugins_mistake(site, lftool, kind, options):
    code = EXPORTER.format(body=SHOWN, writes="").replace("copies: int = 1", f"copies: {kind} | None = None")
    code = code.replace("options=Options", f"options={options}")
    inner = "@frozen\nclass Inner:\n    x: int\n\n@frozen(kw_only=True)\nclass Options:"
    code = code.replace("@frozen(kw_only=True)\nclass Options:", inner)
    site.install("own", f"import datetime as dt\nfrom collections.abc import Mapping\n{code}")
    done = lftool("plugins", "check", "own")
    assert done.status == 8
    assert re.search(r"TypeError: Options\.copies: .* \| None cannot be typed on a command line; use str, ", done.err)


@pytest.mark.parametrize("typed", [(), ("--title", "T", "--copies", "x"), ("--title", "T", "--style", "odd")])
def test_options_that_are_wrong_are_exit_status_2(site, lftool, plain_project, typed):
    site.install("own", EXPORTER.format(body=SHOWN, writes=""))
    assert lftool("export", "own", bundle_of(lftool, plain_project), *typed).status == 2


def test_a_folder_gets_its_name_once_it_is_whole(site, lftool, plain_project):
    site.install("own", EXPORTER.format(body=FILL, writes='writes="folder", '))
    bundle = bundle_of(lftool, plain_project)
    done = lftool("export", "own", bundle, "out", "--title", "T", "--json").assert_success()
    assert done.json() == {"n": 1, "path": str(plain_project.root / "out")}
    assert (plain_project.root / "out" / "a" / "b").read_text() == "tiny"


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("raise ValueError('boom')", 8, "plugin 'own' of own 1.0, exporter 'own', failed: ValueError: boom"),
        ("return 'x'", 8, "export() returned str, not Export"),
        ("raise UsageError('not such a bundle')", 2, "not such a bundle"),
    ],
)
def test_half_a_folder_is_not_left_behind(site, lftool, plain_project, end, status, said):
    body = f"(request.folder / 'half').write_text('x'); {end}"
    site.install("own", EXPORTER.format(body=body, writes='writes="folder", '))
    bundle = bundle_of(lftool, plain_project)
    before = sorted(path.name for path in plain_project.root.iterdir())
    done = lftool("export", "own", bundle, "out", "--title", "T")
    assert (done.status, said in done.err) == (status, True), done
    assert sorted(path.name for path in plain_project.root.iterdir()) == before


def test_an_exporter_that_is_not_there_names_the_nearest(plain_project):
    done = plain_project.run("export", "compos", "x", "--image", "i")
    assert done.status == 2
    assert "unknown exporter 'compos'; did you mean 'compose'?" in done.err


def test_without_plugins_only_our_own_exporters_are_there(site, lftool, plain_project):
    site.install("own", EXPORTER.format(body=SHOWN, writes=""))
    shown = lftool("--no-plugins", "export", "--help").assert_success().out
    assert "own" not in [line.split()[0] for line in shown.splitlines() if line.strip()]


def test_what_a_turn_wants_is_done_in_the_thread_of_whoever_asks():
    seen = []

    def work(turn: Turn) -> None:
        seen.append(turn.have(Want("answers", threading.current_thread)))
        seen.append(turn.have(Want("vectors", lambda: 2)))

    turn = Turn(work)
    turn.begin()
    wanted = []
    while turn.want is not None:
        wanted.append(turn.want.served)
        turn.go_on()
    assert (wanted, seen) == (["answers", "vectors"], [threading.main_thread(), 2])


def test_what_goes_wrong_with_a_want_is_for_the_check_to_know():
    caught = []

    def fail() -> None:
        raise KeyError("no server")

    def work(turn: Turn) -> None:
        try:
            turn.have(Want("answers", fail))
        except KeyError as error:
            caught.append(error.args)

    turn = Turn(work)
    turn.begin()
    turn.go_on()
    assert (turn.want, caught) == (None, [("no server",)])


def test_a_turn_that_is_given_up_ends():
    ended = threading.Event()

    def work(turn: Turn) -> None:
        try:
            turn.have(Want("vectors", lambda: None))
        finally:
            ended.set()

    turn = Turn(work)
    turn.begin()
    turn.give_up()
    assert ended.wait(10)


def test_what_a_turn_raises_is_raised_where_it_was_begun():
    def work(_turn: Turn) -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        Turn(work).begin()
