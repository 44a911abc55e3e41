"""Tests that every layout must pass. Inherit the class, name your layout, and run pytest.

    class TestMine(LayoutConformance):
        @pytest.fixture
        def layout(self):
            return LayoutExample(name="mine")

In an example of `lftool_examples`, `make` gives the same value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from attrs import Factory, frozen

from lftool.api import ExitStatus
from lftool.testing.bundle_recipes import built, write_small_recipe

if TYPE_CHECKING:
    from lftool.testing.project_folder import ProjectFolder


@frozen(kw_only=True)
class LayoutExample:
    """A layout under test.

    Attributes:
        name: Name of the record.
        options: Its options in the recipe.
        runtime: Runtime that the target names; None for the layout's own.
    """

    name: str
    options: Mapping[str, Any] = Factory(dict)
    runtime: str | None = None

    def target(self) -> dict[str, Any]:
        """Return the keys of a target with this layout."""
        options = {"layout_options": dict(self.options)} if self.options else {}
        return {"layout": self.name, **options, **({} if self.runtime is None else {"runtime": self.runtime})}


class LayoutConformance:
    """Tests of a layout through lftool itself."""

    @pytest.fixture
    def layout(self) -> LayoutExample:
        """Override: return the layout to test."""
        raise NotImplementedError

    @pytest.fixture
    def layout_project(self, project: ProjectFolder, layout: LayoutExample) -> ProjectFolder:
        """A project whose only target has the layout."""
        write_small_recipe(project, layout.target())
        return project

    def test_a_bundle_is_sound_and_holds_the_weights(self, layout_project: ProjectFolder) -> None:
        """Other tools rely on it: `inspect` and `extract` need no plugin."""
        bundle = built(layout_project)

        assert layout_project.run("--no-plugins", "inspect", bundle).assert_success().status == 0
        layout_project.run("--no-plugins", "extract", bundle, "out").assert_success()

        weights = (layout_project.root / "model.gguf").read_bytes()
        assert weights in [path.read_bytes() for path in (layout_project.root / "out").rglob("*") if path.is_file()]

    def test_two_machines_lay_out_the_same(self, layout_project: ProjectFolder) -> None:
        """A build from an empty cache, with a finished lock, makes the U that the lock names."""
        first = built(layout_project).read_bytes()
        (bundle,) = (layout_project.root / "dist").iterdir()
        bundle.unlink()

        another = {"XDG_CACHE_HOME": str(layout_project.home / "another")}
        layout_project.run("build", "--locked", env=another).assert_success()

        assert bundle.read_bytes() == first

    def test_options_that_it_does_not_have_are_refused_when_locking(
        self, project: ProjectFolder, layout: LayoutExample
    ) -> None:
        """Exit status 2, before anything is made."""
        target = {**layout.target(), "layout_options": {**layout.options, "no-option-has-this-name": 1}}
        write_small_recipe(project, target)

        assert project.run("lock").status == ExitStatus.USAGE
