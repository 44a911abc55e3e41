"""Sources that fail after they were loaded: the error names the plugin, and nothing is stored or locked."""

from __future__ import annotations

import re

import pytest

from lftool.testing import Outcome, tiny_gguf

PLUGIN = """
import contextlib

from lftool.errors import FetchError, RecipeError
from lftool.models.digest import Digest

DATA = b"some weights"

class Source:
    def __init__(self, context):
        {init}

    def resolve(self, request):
        {resolve}

    @contextlib.contextmanager
    def open(self, request, revision, file, offset, size):
        {open}

@hookimpl
def lftool_sources():
    yield SourceType(name="demo", summary="", schemes=("demo",), factory=Source)
"""
ONE_FILE = "return Resolution(revision='r1', files=(SourceFile(path='model.gguf', size=len(DATA)),))"
DELIVER = "yield iter([DATA])"

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "demo:x"

[model]
weights = "base"

[targets.plain]
layout = "gguf"
"""

ORIGIN = "error: plugin 'shop' of demo-shop 3.1"
WHERE = "  hint: where in the plugin: lftool --traceback …\n"
WHAT = "error: source 'base', file model.gguf"
ABSENT = "return Resolution(revision='r1', files=())"
PAIR = "return Resolution(revision='r1', files=(SourceFile(path='a.gguf', size=1),) * 2)"
FILE = "return Resolution(revision='r1', files=(SourceFile(path={path!r}, size=len(DATA)),))"
VOUCHED = (
    "return Resolution(revision='r1', files=(SourceFile(path='model.gguf', size=len(DATA), sha256=Digest.of(b'x')),))"
)

CASES = {
    "factory raises": ({"init": "raise ValueError('no')"}, 8, f"{ORIGIN} failed: ValueError: no\n{WHERE}"),
    "resolve panics": (
        {"resolve": "raise type('PanicException', (BaseException,), {})('at line 7')"},
        8,
        f"{ORIGIN} failed: RuntimeError: PanicException: at line 7\n{WHERE}",
    ),
    "resolve raises": ({"resolve": "raise KeyError('x')"}, 8, f"{ORIGIN} failed: KeyError: 'x'\n{WHERE}"),
    "resolve returns nothing": (
        {"resolve": "return None"},
        8,
        f"{ORIGIN}: resolve() returned NoneType, not Resolution\n",
    ),
    "resolve finds no file": (
        {"resolve": ABSENT},
        2,
        "error: source 'base': there is no file at demo:x\n",
    ),
    "resolve returns a negative size": (
        {"resolve": "return Resolution(revision='r1', files=(SourceFile(path='a', size=-1),))"},
        8,
        f"{ORIGIN} failed: ValueError: 'size' must be >= 0: -1\n{WHERE}",
    ),
    "resolve raises an error for people": (
        {"resolve": "raise RecipeError('there is no x', hints=('write y',))"},
        2,
        "error: there is no x\n  hint: write y\n",
    ),
    "open raises": ({"open": "raise OSError(5, 'broken cable'); yield"}, 8, f"{ORIGIN} failed: OSError: [Errno 5] broken cable\n{WHERE}"),
    "open fails mid-iteration": (
        {"open": "yield (piece if piece else 1 / 0 for piece in [DATA[:3], b''])"},
        8,
        f"{ORIGIN} failed: ZeroDivisionError: division by zero\n{WHERE}",
    ),
    "open fails with an error for people": (
        {"open": "raise FetchError('the remote hung up'); yield"},
        1,
        "error: the remote hung up\n",
    ),
    "open is no context manager": (
        {"open": "yield", "after": "Source.open = lambda *_: None"},
        8,
        f"{ORIGIN} failed: TypeError: 'NoneType' object does not support the context manager protocol\n{WHERE}",
    ),
    "less arrives than announced": (
        {"open": "yield iter([DATA[:5]])"},
        4,
        f"{WHAT}: 5 bytes arrived, the source announced 12\n",
    ),
    "more arrives than announced": (
        {"open": "yield iter([DATA, b'!'])"},
        4,
        f"{WHAT}: more than the expected 12 bytes\n",
    ),
}  # fmt: skip


def install(site, *, init="pass", resolve=ONE_FILE, open=DELIVER, after=""):  # noqa: A002 - as the method is called
    code = PLUGIN.format(init=init, resolve=resolve, open=open)
    site.install("demo-shop", f"{code}\n{after}\n", entry="shop", version="3.1")


def stored(project) -> list[str]:
    """Names of everything in the content-addressed store and of temporary files left."""
    places = [project.cache / "cas-v1", project.cache / "tmp"]
    return [path.name for place in places for path in place.rglob("*") if path.is_file()]


@pytest.fixture
def known_tools() -> None:
    """The store is empty before."""


@pytest.mark.parametrize(("parts", "status", "error"), CASES.values(), ids=CASES.keys())
def test_failing_source_is_named_and_nothing_is_kept(site, lftool, parts, status, error):
    install(site, **parts)
    lftool.project.write_recipe(RECIPE)
    assert lftool("lock") == Outcome(status=status, out="", err=error)
    assert stored(lftool.project) == []
    assert not lftool.project.lock.exists()


def test_source_that_yields_text_is_named(site, lftool):
    install(site, open="yield iter([DATA.decode()])")
    lftool.project.write_recipe(RECIPE)
    done = lftool("lock")
    assert (done.status, done.err.partition(" failed: TypeError: ")[0]) == (8, ORIGIN)
    assert stored(lftool.project) == []


def test_source_that_fails_in_a_locked_build_changes_nothing(site, lftool, tmp_path):
    """The lock has digests, the cache is gone, and now the remote is broken; the plugin is the pinned one."""
    path, cable = tiny_gguf(lftool.project.root / "sound.gguf", width=32), tmp_path / "cable"
    cable.touch()
    sound = f"import pathlib\nDATA = pathlib.Path({str(path)!r}).read_bytes()"
    deliver = f"yield (piece if pathlib.Path({str(cable)!r}).exists() else 1 / 0 for piece in [DATA[:3], DATA[3:]])"
    install(site, after=sound, open=deliver)
    lftool.project.write_recipe(RECIPE)
    lftool("lock").assert_success()
    lock = lftool.project.lock.read_bytes()
    cable.unlink()
    done = lftool("build", XDG_CACHE_HOME=str(lftool.project.home / "another-cache"))
    assert (done.status, done.out) == (8, "")
    assert done.err.endswith(f"{ORIGIN} failed: ZeroDivisionError: division by zero\n{WHERE}")
    assert lftool.project.lock.read_bytes() == lock
    assert list(lftool.project.root.glob("dist/*")) == []


def test_source_plugin_that_is_not_the_pinned_one_is_not_asked(site, lftool):
    path = tiny_gguf(lftool.project.root / "sound.gguf", width=32)
    sound = f"import pathlib\nDATA = pathlib.Path({str(path)!r}).read_bytes()"
    install(site, after=sound)
    lftool.project.write_recipe(RECIPE)
    lftool("lock").assert_success()
    install(site, after=f"{sound}\n# changed", open="raise AssertionError('asked'); yield")
    done = lftool("build", XDG_CACHE_HOME=str(lftool.project.home / "another-cache"))
    assert done.status == 8
    assert re.fullmatch(
        r"error: plugin demo-shop: the lock pins version 3\.1 \(sha256 \w{64}\), installed is 3\.1 \(sha256 \w{64}\)\n"
        r"  hint: while you write it: lftool lock --editable demo-shop, with pip install -e\n"
        r"  hint: or accept the installed one: lftool lock --upgrade plugin:demo-shop\n",
        done.err,
    )


def test_source_that_delivers_other_bytes_than_locked_stores_nothing(site, lftool):
    path = tiny_gguf(lftool.project.root / "sound.gguf", width=32)
    sound = f"import pathlib\nDATA = pathlib.Path({str(path)!r}).read_bytes()"
    install(site, after=sound)
    lftool.project.write_recipe(RECIPE)
    lftool("lock").assert_success()
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    home = lftool.project.home / "another-cache"
    done = lftool("build", XDG_CACHE_HOME=str(home))
    assert done.status == 4
    assert done.err.endswith(
        "; it has changed since it was locked\n  hint: to accept the change: lftool lock --upgrade base\n"
    )
    assert [found for found in (home / "lftool" / "cas-v1").rglob("*") if found.is_file()] == []


def test_source_with_a_digest_that_its_bytes_do_not_have_is_refused(site, lftool):
    install(site, resolve=VOUCHED)
    lftool.project.write_recipe(RECIPE)
    done = lftool("lock")
    assert done.status == 4
    assert stored(lftool.project) == []
    assert not lftool.project.lock.exists()


UNSAFE = {
    "a path that leaves": FILE.format(path="../escape.gguf"),
    "an absolute path": FILE.format(path="/escape.gguf"),
    "the same path twice": PAIR,
}


@pytest.mark.parametrize("resolve", UNSAFE.values(), ids=UNSAFE.keys())
def test_source_that_resolves_to_what_no_lock_can_hold_is_named(site, lftool, resolve):
    install(site, resolve=resolve, open="yield iter([DATA[:file.size]])")
    lftool.project.write_recipe(RECIPE)
    done = lftool("lock")
    assert (done.status, done.err[: len(ORIGIN)]) == (8, ORIGIN)
    assert not lftool.project.lock.exists()
