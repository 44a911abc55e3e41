"""Plugins that are being written: pinned as editable, so that an edit does not make the lock unusable."""

from __future__ import annotations

import json
import textwrap
import tomllib

import pytest

from lftool.testing import tiny_gguf

LAYOUT = """
class Layout:
    def plan(self, inputs):
        return LayoutPlan(prefix=PlannedPrefix(role="gguf", artifact=inputs.weights))

@hookimpl
def lftool_layouts():
    yield LayoutType(name="demo", summary="", suffix=".demo", media_type="x/y", factory=Layout)
"""
RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.plain]
layout = "demo"
"""


@pytest.fixture
def shop(site, lftool):
    """Install a plugin as `pip install -e` does, or as a wheel."""
    tiny_gguf(lftool.project.root / "model.gguf", width=32)
    lftool.project.write_recipe(RECIPE)

    def install(more: str = "", *, editable: bool = True) -> None:
        site.install("demo-shop", textwrap.dedent(LAYOUT) + more, entry="shop", version="3.1")
        (info,) = site.root.glob("*.dist-info")
        (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": editable}}))

    return install


def pinned(lftool) -> dict:
    return tomllib.loads(lftool.project.lock.read_text())["plugins"]["demo-shop"]


def test_an_editable_plugin_may_be_edited_after_it_was_locked(shop, lftool):
    shop()
    lftool("lock", "--editable", "demo-shop").assert_success()
    assert pinned(lftool) == {"version": "3.1", "editable": True}
    lftool("build").assert_success()
    shop("# an edit\n")
    lftool("lock", "--check").assert_success()
    built = lftool("build").assert_success()
    assert "editable plugins: demo-shop; other machines may build other bytes" in built.err


def test_it_stays_editable_until_it_is_upgraded(shop, lftool):
    shop()
    lftool("lock", "--editable", "demo-shop").assert_success()
    shop("# an edit\n")
    lftool("lock").assert_success()
    assert pinned(lftool)["editable"]
    lftool("lock", "--upgrade", "plugin:demo-shop").assert_success()
    assert sorted(pinned(lftool)) == ["sha256", "version"]
    shop("# another\n")
    assert lftool("build").status == 8


def test_a_pinned_plugin_can_become_editable_after_an_edit(shop, lftool):
    shop()
    lftool("lock").assert_success()
    shop("# an edit\n")
    assert lftool("lock").status == 8
    lftool("lock", "--editable", "demo-shop").assert_success()
    lftool("build").assert_success()


def test_a_locked_build_refuses_what_is_editable(shop, lftool):
    shop()
    lftool("lock", "--editable", "demo-shop").assert_success()
    lftool("build").assert_success()
    refused = lftool("build", "--locked")
    assert refused.status == 3
    assert "pins demo-shop as editable; --locked needs plugins pinned by sha256" in refused.err
    assert "hint: pin what is installed: lftool lock --upgrade plugin:demo-shop" in refused.err


def test_what_is_no_editable_install_is_not_pinned_as_one(shop, lftool):
    shop(editable=False)
    outcome = lftool("lock", "--editable", "demo-shop")
    assert outcome.status == 2
    assert outcome.err.startswith("error: plugin demo-shop is not an editable install\n")
    assert not lftool.project.lock.exists()


def test_a_wheel_does_not_do_for_an_editable_pin(shop, lftool):
    shop()
    lftool("lock", "--editable", "demo-shop").assert_success()
    shop(editable=False)
    outcome = lftool("build")
    assert outcome.status == 8
    assert "the lock pins an editable install, the installed one is not editable" in outcome.err


def test_a_plugin_that_the_lock_does_not_need_is_named(shop, lftool):
    shop()
    outcome = lftool("lock", "--editable", "nobody")
    assert outcome.status == 2
    assert "the lock needs no plugin 'nobody'; it needs demo-shop" in outcome.err
