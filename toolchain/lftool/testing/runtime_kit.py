"""Tests that every runtime must pass. Inherit the class, name your runtime, and run pytest.

    class TestMine(RuntimeConformance):
        @pytest.fixture
        def runtime(self):
            return RuntimeExample(name="mine")

In an example of `lftool_examples`, `make` gives the same value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from lftool.testing.bundle_recipes import built, write_small_recipe

if TYPE_CHECKING:
    from lftool.testing.project_folder import ProjectFolder


@frozen(kw_only=True)
class RuntimeExample:
    """A runtime under test.

    Attributes:
        name: Name of the record.
        layout: Layout of bundles that begin with it.
        backend: Backend of the target. A compiled runtime may support only one.
        compiled: Whether it is compiled here. If so, the tests take as long as the compilation.
    """

    name: str
    layout: str = "llamafile"
    backend: str = "cpu"
    compiled: bool = False


class RuntimeConformance:
    """Tests of a runtime through lftool itself."""

    @pytest.fixture
    def runtime(self) -> RuntimeExample:
        """Override: return the runtime to test."""
        raise NotImplementedError

    @pytest.fixture
    def runtime_project(self, project: ProjectFolder, runtime: RuntimeExample) -> ProjectFolder:
        """A project whose only target has the runtime."""
        target = {"layout": runtime.layout, "runtime": runtime.name, "backend": runtime.backend}
        write_small_recipe(project, target)
        return project

    def test_a_bundle_begins_with_it_and_is_sound(self, runtime_project: ProjectFolder) -> None:
        """The locked bytes are packed, and the bundle can be inspected without the plugin."""
        bundle = built(runtime_project)

        assert runtime_project.run("--no-plugins", "inspect", bundle).assert_success().status == 0
        runtime_project.run("--no-plugins", "extract", bundle, "out").assert_success()
        prefix = (runtime_project.root / "out" / "runtime").read_bytes()
        assert bundle.read_bytes().startswith(prefix)

    def test_its_bytes_are_the_same_every_time(self, runtime_project: ProjectFolder, runtime: RuntimeExample) -> None:
        """Locking again, from an empty cache if it is compiled, pins the same digest. A change needs a new number."""
        runtime_project.run("lock").assert_success()
        first = runtime_project.lock.read_bytes()

        another = {"XDG_CACHE_HOME": str(runtime_project.home / "another")} if runtime.compiled else {}
        runtime_project.run("lock", "--upgrade", env=another).assert_success()

        assert runtime_project.lock.read_bytes() == first
