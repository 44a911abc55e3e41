"""What every runtime must do: inherit the class, name yours, and let pytest run it.

    class TestMine(RuntimeConformance):
        @pytest.fixture
        def runtime(self):
            return RuntimeExample(name="mine")

As an example of `lftool_examples`, the same value is what `make` gives.
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
        name: Of the record.
        layout: Of bundles that begin with it.
        backend: Of the target: a compiled runtime may be for one only.
        compiled: Whether it is compiled here; then the tests take as long as that does.
    """

    name: str
    layout: str = "llamafile"
    backend: str = "cpu"
    compiled: bool = False


class RuntimeConformance:
    """Tests of a runtime through lftool itself."""

    @pytest.fixture
    def runtime(self) -> RuntimeExample:
        """Override: say which runtime."""
        raise NotImplementedError

    @pytest.fixture
    def runtime_project(self, project: ProjectFolder, runtime: RuntimeExample) -> ProjectFolder:
        """A project whose one target has the runtime."""
        target = {"layout": runtime.layout, "runtime": runtime.name, "backend": runtime.backend}
        write_small_recipe(project, target)
        return project

    def test_a_bundle_begins_with_it_and_is_sound(self, runtime_project: ProjectFolder) -> None:
        """What is locked is what is packed, and whoever has no plugin can still look."""
        bundle = built(runtime_project)

        assert runtime_project.spawn("--no-plugins", "inspect", bundle).assert_success().status == 0
        runtime_project.spawn("--no-plugins", "extract", bundle, "out").assert_success()
        prefix = (runtime_project.root / "out" / "runtime").read_bytes()
        assert bundle.read_bytes().startswith(prefix)

    def test_its_bytes_are_the_same_every_time(self, runtime_project: ProjectFolder, runtime: RuntimeExample) -> None:
        """Locking anew, from an empty cache, pins the same digest. A change is a new number."""
        runtime_project.spawn("lock").assert_success()
        first = runtime_project.lock.read_bytes()

        another = {"XDG_CACHE_HOME": str(runtime_project.home / "another")} if runtime.compiled else {}
        runtime_project.spawn("lock", "--upgrade", env=another).assert_success()

        assert runtime_project.lock.read_bytes() == first
