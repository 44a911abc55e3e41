"""Tests that every destination must pass: `class TestMine(DestinationConformance)` with a `publishing` fixture.

The fixture describes an empty place. The tests run lftool itself: they push small bundles, and look at what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
from attrs import Factory, frozen

from lftool.api import DestinationType, ExitStatus
from lftool.testing.bundle_recipes import built, write_small_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.testing.project_folder import Outcome, ProjectFolder


@frozen(kw_only=True)
class PublishingPlace:
    """An empty place during a test.

    Attributes:
        uri: What `lftool push` is given.
        digests: Returns the digest of everything that is there, as `sha256:` and 64 hex digits.
        options: Additional arguments.
        environment: Additional environment variables for lftool.
    """

    uri: str
    digests: Callable[[], set[str]]
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = Factory(dict)


class DestinationConformance:
    """Tests of a destination through lftool itself; see the module's docstring."""

    @pytest.fixture
    def publishing(self) -> PublishingPlace:
        """Override: return where to publish."""
        raise NotImplementedError

    @pytest.fixture
    def bundle(self, project: ProjectFolder) -> Path:
        """The bundle to publish."""
        write_small_recipe(project, {"layout": "gguf"})
        return built(project)

    def _push(self, project: ProjectFolder, place: PublishingPlace, bundle: Path, *more: str) -> Outcome:
        arguments: tuple[str | Path, ...] = ("push", place.uri, bundle, *place.options, *more)
        return project.spawn(*arguments, env={"LFTOOL_FETCH_ATTEMPTS": "1", **place.environment})

    def test_the_record_opens_its_scheme(self, project: ProjectFolder, publishing: PublishingPlace) -> None:
        """The URI's scheme is one of the record's."""
        scheme = publishing.uri.partition(":")[0]
        assert any(scheme in item.record.schemes for item in project.registry().all(DestinationType))

    def test_a_plan_is_the_same_twice_and_changes_nothing(
        self, project: ProjectFolder, publishing: PublishingPlace, bundle: Path
    ) -> None:
        """Whoever reviews a release compares what two machines would push."""
        before = publishing.digests()
        plans = [self._push(project, publishing, bundle, "--dry-run", "--json").assert_success().out for _ in range(2)]
        assert plans[0] == plans[1]
        assert publishing.digests() == before

    def test_what_was_planned_is_there(self, project: ProjectFolder, publishing: PublishingPlace, bundle: Path) -> None:
        """Everything that the plan names, with its digest."""
        plan = self._push(project, publishing, bundle, "--dry-run", "--json").assert_success().json()
        self._push(project, publishing, bundle).assert_success()
        assert {item["digest"] for item in plan["items"]} <= publishing.digests()

    def test_what_is_there_is_not_sent_again(
        self, project: ProjectFolder, publishing: PublishingPlace, bundle: Path
    ) -> None:
        """A second push sends no content."""
        first = self._push(project, publishing, bundle, "--json").assert_success().json()
        again = self._push(project, publishing, bundle, "--json").assert_success().json()
        assert first["sent"] > 0
        assert again["sent"] == 0

    def test_a_bundle_that_was_changed_is_not_published(
        self, project: ProjectFolder, publishing: PublishingPlace, bundle: Path
    ) -> None:
        """Exit status 4, and nothing is there."""
        before = publishing.digests()
        data = bytearray(bundle.read_bytes())
        data[len(data) // 2] ^= 1
        bundle.write_bytes(data)

        assert self._push(project, publishing, bundle).status == ExitStatus.INTEGRITY
        assert publishing.digests() == before
