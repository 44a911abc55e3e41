"""Tests beside those that `lftool plugins test sampler` makes of the examples."""

from __future__ import annotations

from lftool_sampler.budget import Budget, Options

from lftool.testing import FakeCheckContext, fake_bundle

pytest_plugins = ["lftool.testing.plugin"]


def test_a_bundle_that_is_too_large_is_told_by_how_much() -> None:
    finding = Budget(Options(most_bytes=1000)).check(FakeCheckContext(bundle=fake_bundle(size=2500)))
    assert finding.failure == "the bundle has 2,500 bytes, but the check allows 1,000"


def test_the_package_works_without_being_installed(project) -> None:
    shown = project.with_plugins("lftool_sampler").run("plugins", "list").assert_success().out
    assert "a bundle is no larger than that" in shown
