"""Finding and loading plugins: one failure is never another plugin's, and every failure names its plugin."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lftool.errors import UnavailableError
from lftool.host.discovery import Plugin, builtin_plugin
from lftool.host.origin import Origin
from lftool.host.registry import Registry
from lftool.testing import Outcome, tiny_gguf

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
@hookimpl
def lftool_sources():
    yield SourceType(name={name!r}, summary="a source", schemes=({scheme!r},), factory=print)
"""


def source(name: str, scheme: str = "") -> str:
    return SOURCE.format(name=name, scheme=scheme or name)


def provided(item: dict) -> list[str]:
    return [record["name"] for record in item["provides"]]


def test_plugin_is_active_and_lists_what_it_provides(site, lftool):
    site.install("demo-plugin", source("demo"), entry="demo", version="2.5")
    assert lftool.listed() == {
        "demo-plugin": {
            "plugin": "demo",
            "distribution": "demo-plugin",
            "version": "2.5",
            "module": "demo_plugin",
            "status": "active",
            "reason": "",
            "provides": [{"kind": "sources", "name": "demo", "summary": "a source"}],
        }
    }


def test_plain_list_shows_origin_status_and_records(site, lftool):
    site.install("good", source("demo"))
    site.install("bad", "import not_there")
    shown = lftool("plugins", "list").assert_success().out
    assert "good  good 1.0  active\n    source  demo  a source\n" in shown
    assert "bad  bad 1.0  failed: ModuleNotFoundError: No module named 'not_there'\n" in shown


def test_what_a_plugin_prints_when_it_is_loaded_is_no_part_of_a_report(site, lftool):
    site.install("loud", "print('hello')\n" + source("demo"))
    done = lftool("plugins", "list", "--json").assert_success()
    assert [item["distribution"] for item in done.json()["plugins"] if item["status"] == "active"][-1] == "loud"
    assert "hello" in done.err


WRAPPER = """
@hookimpl(wrapper=True)
def lftool_sources():
    return (yield)
"""
HOOKWRAPPER = """
@hookimpl(hookwrapper=True)
def lftool_sources():
    yield
"""
NOT_LIKE_ANY = """
@hookimpl
def xyzzy():
    yield 1
"""
HOOKS = (
    "lftool_backends, lftool_checks, lftool_commands, lftool_converters, lftool_destinations, lftool_examples, lftool_exporters, lftool_layouts, lftool_observers,"
    " lftool_quantizers, lftool_remote_stores, lftool_runtimes, lftool_signers, lftool_sources, lftool_verifiers"
)
FAILURES = {
    "import error": ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
    "syntax error": ("\ndef\n", "SyntaxError: invalid syntax (broken.py, line 5)"),
    "exception while importing": ("raise ValueError('not today')", "ValueError: not today"),
    "exit while importing": (
        "import sys; sys.exit('a script without a guard')",
        "SystemExit: a script without a guard",
    ),
    "misspelt hook": (
        source("demo").replace("lftool_sources", "lftool_source"),
        "TypeError: 'lftool_source' is not a hook; did you mean 'lftool_sources'?",
    ),
    "hook unlike any": (NOT_LIKE_ANY, f"TypeError: 'xyzzy' is not a hook; the hooks are {HOOKS}"),
    "wrapper": (WRAPPER, "TypeError: lftool_sources is a wrapper; registration hooks yield records and wrap nothing"),
    "old-style wrapper": (
        HOOKWRAPPER,
        "TypeError: lftool_sources is a wrapper; registration hooks yield records and wrap nothing",
    ),
    "error mid-iteration": (source("demo") + "    raise KeyError('halfway')\n", "KeyError: 'halfway'"),
    "exit mid-iteration": (source("demo") + "    raise SystemExit(3)\n", "SystemExit: 3"),
    "wrong type": (
        source("demo") + "    yield 'a string'\n",
        "TypeError: lftool_sources yielded str, not SourceType",
    ),
    "record of another hook": (
        source("demo").replace("lftool_sources", "lftool_backends"),
        "TypeError: lftool_backends yielded SourceType, not BackendType",
    ),
    "nothing yielded": (
        "@hookimpl\ndef lftool_sources():\n    return None\n",
        "TypeError: 'NoneType' object is not iterable",
    ),
    "name that is none": (
        source("Not A Name", "x"),
        "ValueError: 'Not A Name' is not a record name: lower-case letters, digits and . _ + -",
    ),
    "scheme instead of schemes": (
        source("demo").replace("('demo',)", "'demo'"),
        "ValueError: schemes must be a tuple with at least one entry",
    ),
}


@pytest.mark.parametrize(("code", "reason"), FAILURES.values(), ids=FAILURES.keys())
def test_broken_plugin_is_kept_with_its_reason_and_offers_nothing(site, lftool, code, reason):
    site.install("broken", code)
    found = lftool.listed()["broken"]
    assert (found["status"], found["reason"], found["provides"]) == ("failed", reason, [])


def test_broken_plugin_does_not_touch_the_others(site, lftool):
    site.install("a-broken", "import not_there")
    site.install("b-good", source("demo"))
    site.install("c-broken", source("other") + "    raise KeyError('halfway')\n")
    found = lftool.listed()
    assert {name: item["status"] for name, item in found.items()} == {
        "a-broken": "failed",
        "b-good": "active",
        "c-broken": "failed",
    }
    assert provided(found["b-good"]) == ["demo"]


MISSING = "it does not set LFTOOL_API = (2, 1)"
VERSIONS = {
    "missing": ("pass", MISSING),
    "a string": ("LFTOOL_API = '1.0'", MISSING),
    "a list": ("LFTOOL_API = [1, 0]", MISSING),
    "one number": ("LFTOOL_API = (1,)", MISSING),
    "three numbers": ("LFTOOL_API = (1, 0, 0)", MISSING),
    "booleans": ("LFTOOL_API = (True, False)", MISSING),
    "newer minor": ("LFTOOL_API = (2, 2)", "it is written for API 2.2, this lftool has 2.1"),
    "newer major": ("LFTOOL_API = (3, 0)", "it is written for API 3.0, this lftool has 2.1"),
    "older major": (
        "LFTOOL_API = (1, 0)",
        (
            "it is written for API 1.0, this lftool has 2.1; API 2.0 needs ToolArchive(sha256=...),"
            " CompiledRuntime.toolchain(), and sources that ask SourceContext.credentials for credentials"
            " (lftool help plugin-api)"
        ),
    ),
    "first major": ("LFTOOL_API = (0, 9)", "it is written for API 0.9, this lftool has 2.1"),
}


@pytest.mark.parametrize(("api", "reason"), VERSIONS.values(), ids=VERSIONS.keys())
def test_plugin_for_another_api_is_incompatible(site, lftool, api, reason):
    site.install("demo", source("demo"), api=api)
    found = lftool.listed()["demo"]
    assert (found["status"], found["reason"], found["provides"]) == ("incompatible", reason, [])


def test_two_distributions_with_one_entry_point_name_are_an_error_that_names_both(site, lftool):
    site.install("second-shop", source("two"), entry="demo", version="2.0")
    site.install("first-shop", source("one"), entry="demo", version="1.0")
    assert lftool("plugins", "list") == Outcome(
        status=8,
        out="",
        err=(
            "error: two plugins are called 'demo': first-shop 1.0 and second-shop 2.0\n"
            "  hint: uninstall one of them\n"
            "  hint: or name the ones to load in LFTOOL_PLUGINS\n"
        ),
    )


BACKEND = """
@hookimpl
def lftool_backends():
    yield BackendType(name="npu", summary="a backend", factory=print)
"""


def test_two_records_of_one_name_are_an_error_that_names_both_origins(site, lftool):
    site.install("second-shop", BACKEND, version="2.0")
    site.install("first-shop", BACKEND)
    lftool.project.write_recipe(RECIPE.format(uri="file:model.gguf", more=""))
    assert lftool("lock") == Outcome(
        status=8,
        out="",
        err=(
            "error: two plugins provide the backend 'npu': plugin 'first-shop' of first-shop 1.0"
            " and plugin 'second-shop' of second-shop 2.0\n"
            "  hint: uninstall one of them, or name the plugins to load in LFTOOL_PLUGINS\n"
        ),
    )


RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "{uri}"

[model]
weights = "base"

[targets.plain]
layout = "gguf"
{more}
"""


def test_two_sources_of_one_scheme_are_an_error_that_names_both_origins(site, lftool):
    site.install("first-shop", source("one", "demo"))
    site.install("second-shop", source("two", "demo"))
    lftool.project.write_recipe(RECIPE.format(uri="demo:x", more=""))
    done = lftool("lock")
    assert done.status == 8
    assert "plugin 'first-shop' of first-shop 1.0 and plugin 'second-shop' of second-shop 1.0" in done.err


def test_plugin_cannot_take_the_scheme_of_a_built_in_source(site, lftool):
    """`aaa` sorts before `file`: whoever comes first by name must not win either."""
    site.install("thief", source("aaa", "file"))
    lftool.project.write_recipe(RECIPE.format(uri="file:model.gguf", more=""))
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    done = lftool("lock")
    assert done.status == 8
    assert "plugin 'builtin' of lftool 0.1.0" in done.err
    assert "plugin 'thief' of thief 1.0" in done.err


def test_plugin_cannot_take_the_key_scheme_of_the_built_in_signer(site, lftool):
    signer = "@hookimpl\ndef lftool_signers():\n    yield SignerType(name='aaa', summary='', schemes=('env',), factory=print)"
    site.install("thief", signer)
    lftool.project.write_recipe(RECIPE.format(uri="file:model.gguf", more='[sign]\nkey = "env:KEY"'))
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    lftool("lock").assert_success()
    done = lftool("build", KEY="not asked for")
    assert done.status == 8
    assert "plugin 'builtin' of lftool 0.1.0" in done.err
    assert "plugin 'thief' of thief 1.0" in done.err


def _marking(path: Path, name: str) -> str:
    """Code that leaves a file behind when it is imported."""
    return f"import pathlib; pathlib.Path({str(path)!r}).touch()\n{source(name)}"


def test_allow_list_blocks_the_others_without_importing_them(site, lftool, tmp_path):
    site.install("wanted-dist", _marking(tmp_path / "wanted", "wanted"), entry="wanted")
    site.install("other-dist", _marking(tmp_path / "other", "other"), entry="other")
    found = lftool.listed(LFTOOL_PLUGINS=" wanted , ")
    assert {name: (item["status"], item["reason"]) for name, item in found.items()} == {
        "other-dist": ("blocked", "not in LFTOOL_PLUGINS"),
        "wanted-dist": ("active", ""),
    }
    assert (tmp_path / "wanted").exists()
    assert not (tmp_path / "other").exists()


def test_empty_allow_list_blocks_all(site, lftool, tmp_path):
    site.install("demo", _marking(tmp_path / "imported", "demo"))
    assert lftool.listed(LFTOOL_PLUGINS="")["demo"]["status"] == "blocked"
    assert not (tmp_path / "imported").exists()


def test_no_plugins_loads_built_in_plugins_only(site, lftool, tmp_path):
    site.install("demo", _marking(tmp_path / "imported", "demo"))
    shown = lftool("--no-plugins", "plugins", "list", "--json").assert_success().json()["plugins"]
    assert [item["distribution"] for item in shown if item["status"] == "active"] == ["lftool"]
    assert not (tmp_path / "imported").exists()


def test_allow_list_settles_a_duplicate_name(site, lftool):
    site.install("first-shop", source("one"), entry="demo")
    site.install("second-shop", source("two"), entry="demo")
    site.install("third-shop", source("three"), entry="other")
    assert lftool.listed(LFTOOL_PLUGINS="other")["third-shop"]["status"] == "active"


def test_blocked_plugin_that_the_recipe_needs_is_named(site, lftool):
    site.install("demo", source("demo"))
    lftool.project.write_recipe(RECIPE.format(uri="demo:x", more=""))
    done = lftool("lock", LFTOOL_PLUGINS="cuda,llamacpp,hf,metal,oci,rocm,s3,strict,xllamacpp")
    assert done == Outcome(
        status=2,
        out="",
        err=(
            "error: unknown source scheme 'demo'; installed: az, file, gs, hf, http, https, oci, pypi, s3\n"
            "  hint: plugin 'demo' of demo 1.0 could not be used: not in LFTOOL_PLUGINS\n"
        ),
    )


def test_order_does_not_depend_on_sys_path(site, lftool, tmp_path):
    other = type(site)(root=tmp_path / "other")
    for name in ("b", "d", "a"):
        site.install(f"{name}-dist", source(name))
    for name in ("e", "c"):
        other.install(f"{name}-dist", source(name))
    shown = [
        lftool("plugins", "list", PYTHONPATH=os.pathsep.join(map(str, order))).assert_success().out
        for order in ([site.root, other.root], [other.root, site.root])
    ]
    assert shown[0] == shown[1]
    origins = [line.split("  ")[0] for line in shown[0].splitlines() if not line.startswith(" ")]
    assert origins == [
        "builtin",
        "a-dist",
        "b-dist",
        "c-dist",
        "d-dist",
        "e-dist",
        "cuda",
        "hf",
        "llamacpp",
        "metal",
        "oci",
        "rocm",
        "s3",
        "strict",
        "xllamacpp",
    ]


def test_one_distribution_twice_on_sys_path_is_one_plugin(site, lftool, tmp_path):
    other = type(site)(root=tmp_path / "other")
    for place in (site, other):
        place.install("demo", source("demo"))
    both = os.pathsep.join([str(site.root), str(other.root)])
    shown = lftool("plugins", "list", "--json", PYTHONPATH=both).assert_success().json()["plugins"]
    assert [item["plugin"] for item in shown] == [
        "builtin",
        "demo",
        "cuda",
        "hf",
        "llamacpp",
        "metal",
        "oci",
        "rocm",
        "s3",
        "strict",
        "xllamacpp",
    ]


def test_unused_broken_plugin_does_not_hurt_a_build(site, lftool):
    site.install("broken", "import not_there")
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    lftool.project.write_recipe(RECIPE.format(uri="file:model.gguf", more=""))
    lftool("lock").assert_success()
    lftool("build").assert_success()
    assert lftool.listed()["broken"]["status"] == "failed"


def test_unused_broken_plugin_is_not_in_the_lock(site, lftool):
    site.install("broken", "import not_there")
    site.install("unused", source("unused"))
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    lftool.project.write_recipe(RECIPE.format(uri="file:model.gguf", more=""))
    lftool("lock").assert_success()
    assert "[plugins" not in lftool.project.lock.read_text()


NEEDED = {
    "source": (
        "demo:x",
        "",
        "error: unknown source scheme 'demo'; installed: az, file, gs, hf, http, https, oci, pypi, s3\n",
    ),
    "layout": ("file:model.gguf", "demo", "error: unknown layout 'demo'; installed: gguf, llamafile\n"),
}


@pytest.mark.parametrize(("uri", "layout", "error"), NEEDED.values(), ids=NEEDED.keys())
def test_broken_plugin_that_the_recipe_needs_is_named(site, lftool, uri, layout, error):
    site.install("demo", "import not_there")
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    recipe = RECIPE.format(uri=uri, more="")
    lftool.project.write_recipe(recipe.replace('layout = "gguf"', f'layout = "{layout or "gguf"}"'))
    hint = "  hint: plugin 'demo' of demo 1.0 could not be used: ModuleNotFoundError: No module named 'not_there'\n"
    assert lftool("lock") == Outcome(status=2, out="", err=error + hint)


def test_broken_quantizer_plugin_that_the_recipe_needs_is_named(site, lftool):
    site.install("demo", "import not_there")
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    lftool.project.write_recipe(RECIPE.format(uri="file:model.gguf", more='quantize = "SPARKLES"'))
    done = lftool("lock")
    assert done.status == 2
    assert done.err.startswith("error: unknown quantisation 'SPARKLES'")
    hint = "  hint: plugin 'demo' of demo 1.0 could not be used: ModuleNotFoundError: No module named 'not_there'\n"
    assert done.err.endswith(hint)


def test_broken_plugin_of_a_known_scheme_is_named_rather_than_recommended():
    origin = Origin(distribution="lftool-hf", version="1.0", entry_point="hf", module="lftool_hf")
    registry = Registry([builtin_plugin(), Plugin(origin=origin, status="failed", reason="ImportError: no")])

    with pytest.raises(UnavailableError) as caught:
        registry.source("hf")

    assert (caught.value.message, caught.value.hints) == (
        "no installed plugin opens hf: sources",
        ("plugin 'hf' of lftool-hf 1.0 could not be used: ImportError: no",),
    )


def test_plugin_that_is_no_installed_distribution_cannot_be_pinned(site, lftool):
    """A dist-info folder without RECORD says nothing about which files are the plugin's."""
    site.install("demo", SERVING)
    next(site.root.glob("*.dist-info/RECORD")).unlink()
    lftool.project.write_recipe(RECIPE.format(uri="demo:x", more=""))
    done = lftool("lock")
    said = "error: demo: no files of its own were found, so it cannot be pinned\n"
    assert (done.status, done.out, done.err.endswith(said)) == (8, "", True), done
    assert not lftool.project.lock.exists()


SERVING = """
import contextlib

class Source:
    def resolve(self, request):
        return Resolution(revision=None, files=(SourceFile(path="model.gguf", size=4),))

    @contextlib.contextmanager
    def open(self, request, revision, file, offset, size):
        yield iter([b"GGUF"])

@hookimpl
def lftool_sources():
    yield SourceType(name="demo", summary="", schemes=("demo",), factory=lambda context: Source())
"""
