"""`lftool plugins show` and `check`: what a plugin offers, and what is wrong with it before a recipe finds out."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import pytest

from lftool.host.option_types import check_options

SHOP = """
from attrs import field, frozen

@frozen(kw_only=True)
class Options:
    region: str | None = field(default=None, metadata={"doc": "Where."})
    parts: tuple[int, ...] = ()
    need: bool

@hookimpl
def lftool_sources():
    yield SourceType(
        name="shop", summary="things in a shop", schemes=("shop", "shops"), ranges=True, options=Options,
        factory=lazily("lftool.builtin.file_source:FileSource"),
    )
"""


def install(site, code: str, name: str = "demo-shop", **more: str) -> None:
    site.install(name, textwrap.dedent(code), version="3.1", **{"entry": "shop", **more})


def test_show_tells_everything_that_a_plugin_offers(site, lftool):
    install(site, SHOP)
    shown = lftool("plugins", "show", "shop").assert_success()
    lines = shown.out.splitlines()
    assert lines[0] == "shop  demo-shop 3.1  active"
    assert lines[1] == "  module  demo_shop"
    assert lines[2].startswith("  sha256  ")
    assert lines[3:] == [
        "  source shop: things in a shop",
        "    schemes  shop, shops",
        "    ranges  True",
        "    option region  str | None, default None  Where.",
        "    option parts  tuple[int, ...], default ()",
        "    option need  bool, required",
    ]


def test_show_in_json_has_the_digest_that_a_lock_pins(site, lftool):
    install(site, SHOP)
    shown = lftool("plugins", "show", "demo-shop", "--json").assert_success().json()
    assert len(shown["sha256"]) == 64
    (offer,) = shown["provides"]
    assert (offer["kind"], offer["fields"]) == ("source", {"schemes": ["shop", "shops"], "ranges": True})
    assert [option["name"] for option in offer["options"]] == ["region", "parts", "need"]


def test_a_name_that_no_plugin_has_lists_those_that_there_are(lftool):
    outcome = lftool("plugins", "show", "nobody")
    assert outcome.status == 2
    assert outcome.err.startswith("error: no installed plugin is called 'nobody'; there are builtin, ")


def test_check_finds_nothing_wrong_with_what_is_installed(lftool):
    assert lftool("plugins", "check").assert_success().out.endswith(" plugins checked, 0 problems\n")


@pytest.mark.parametrize(
    ("code", "more", "said"),
    [
        ("import nothing_like_it\n", {}, "shop: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("", {"api": "LFTOOL_API = (1, 0)"}, "shop: it is written for API 1.0, this lftool has 2.1"),
        ("", {"api": "pass"}, "shop: it does not set LFTOOL_API = (2, 1)"),
        ("", {"api": "LFTOOL_API = (2, 99)"}, "shop: it is written for API 2.99, this lftool has 2.1"),
        ("@hookimpl\ndef lftool_source(): pass\n", {}, "'lftool_source' is not a hook; did you mean 'lftool_sources'?"),
        (SHOP.replace("bool\n", "str | int\n"), {}, "TypeError: Options.need: str | int is not a type for options"),
        (SHOP.replace("bool\n", "object\n"), {}, "TypeError: Options.need: object is not a type for options"),
        (SHOP.replace("bool\n", "'Nowhere'\n"), {}, "Options: name 'Nowhere' is not defined"),
        (SHOP.replace("options=Options", "options=dict"), {}, "options must be an attrs class, not <class 'dict'>"),
        (
            SHOP.replace('"shop", "shops"', '"file",'),
            {},
            "shop: the scheme of a source 'file' is also claimed by plugin 'builtin' of lftool",
        ),
    ],
)
def test_check_says_what_is_wrong_and_ends_with_8(site, lftool, code, more, said):
    install(site, code, **more)
    outcome = lftool("plugins", "check", "shop")
    assert outcome.status == 8
    assert said in outcome.err
    assert outcome.out == "1 plugin checked, 1 problem\n"


def test_check_keeps_the_traceback_of_a_plugin_that_failed(site, lftool):
    install(site, "def deep():\n    return 1 / 0\ndeep()\n")
    outcome = lftool("plugins", "check", "shop")
    assert "demo_shop.py" in outcome.err
    assert "    return 1 / 0" in outcome.err


def test_two_records_of_a_name_show_in_list_and_check(site, lftool):
    install(site, SHOP)
    install(site, SHOP, name="other-shop", entry="other")
    said = "the source 'shop' is also claimed by plugin 'shop' of demo-shop 3.1; neither can be used"
    assert said in lftool("plugins", "check").err
    listed = lftool.listed()
    assert [item["reason"] for item in listed.values()] == ["", said]


@attrs.frozen
class Inner:
    key: str


@pytest.mark.parametrize(
    "kind",
    [
        str,
        int,
        bool,
        float,
        dt.date,
        str | None,
        Literal["a", "b"],
        tuple[str, ...],
        Mapping[str, int],
        Inner,
        Inner | None,
    ],
    ids=str,
)
def test_what_a_table_can_hold_is_a_type_of_options(kind):
    check_options(attrs.make_class("Options", {"field": attrs.field(type=kind)}))


@pytest.mark.parametrize(
    "kind",
    [object, Any, bytes, str | int, list[str], tuple[str, int], Mapping[int, str], dict[str, str], Literal[1], None],
    ids=str,
)
def test_what_no_table_holds_is_refused(kind):
    with pytest.raises(TypeError, match=r"Options\.field: .* is not a type for options"):
        check_options(attrs.make_class("Options", {"field": attrs.field(type=kind)}))
