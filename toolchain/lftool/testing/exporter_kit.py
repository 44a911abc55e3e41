"""Tests that every exporter must pass. Inherit the class, list the options, and run pytest.

    class TestMine(ExporterConformance):
        @pytest.fixture
        def export(self):
            return ExportExample(name="mine", options=("--image", "registry.example.com/story:1"))

As an example of `lftool_examples`, the same value is what `make` gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from lftool.api import ExitStatus, ExporterType
from lftool.testing.bundle_recipes import built, write_small_recipe

if TYPE_CHECKING:
    from lftool.testing.project_folder import Outcome, ProjectFolder


@frozen(kw_only=True)
class ExportExample:
    """An exporter under test.

    Attributes:
        name: Name of the record.
        options: Command-line arguments besides bundle and folder.
        bundle: A bundle to export; None for a small GGUF.
    """

    name: str
    options: tuple[str, ...] = ()
    bundle: Path | None = None


def _content(path: Path) -> dict[str, bytes]:
    return {str(item.relative_to(path)): item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file()}


class ExporterConformance:
    """Tests of an exporter through lftool itself."""

    @pytest.fixture
    def export(self) -> ExportExample:
        """Override: return the exporter to test."""
        raise NotImplementedError

    @pytest.fixture
    def bundle(self, project: ProjectFolder, export: ExportExample) -> Path:
        """The bundle to export."""
        if export.bundle is not None:
            return export.bundle
        write_small_recipe(project, {"layout": "gguf"})
        return built(project)

    def _fills_a_folder(self, project: ProjectFolder, export: ExportExample) -> bool:
        return project.registry().get(ExporterType, export.name).record.writes == "folder"

    def _export(self, project: ProjectFolder, export: ExportExample, bundle: Path, name: str) -> Outcome:
        where = (name,) if self._fills_a_folder(project, export) else ("-o", name)
        return project.run("export", export.name, bundle, *where, *export.options)

    def test_it_writes_something_and_twice_the_same(
        self, project: ProjectFolder, export: ExportExample, bundle: Path
    ) -> None:
        """A release compares the exports of two machines."""
        found = []
        for name in ("first", "second"):
            self._export(project, export, bundle, name).assert_success()
            path = project.root / name
            found.append(_content(path) if path.is_dir() else {"": path.read_bytes()})
        assert found[0] == found[1]
        assert any(found[0].values())

    def test_a_bundle_that_was_changed_is_not_exported(
        self, project: ProjectFolder, export: ExportExample, bundle: Path
    ) -> None:
        """Exit status 4, and nothing is written."""
        changed = project.root / f"changed{bundle.suffix}"
        data = bytearray(bundle.read_bytes())
        data[len(data) // 2] ^= 1
        changed.write_bytes(data)

        assert self._export(project, export, changed, "out").status == ExitStatus.INTEGRITY
        assert not (project.root / "out").exists()

    def test_a_folder_that_is_not_empty_stays_as_it_is(
        self, project: ProjectFolder, export: ExportExample, bundle: Path
    ) -> None:
        """Exit status 2."""
        if not self._fills_a_folder(project, export):
            pytest.skip("it writes a file")
        (project.root / "out").mkdir()
        (project.root / "out" / "mine.txt").write_text("mine")

        assert self._export(project, export, bundle, "out").status == ExitStatus.USAGE
        assert _content(project.root / "out") == {"mine.txt": b"mine"}
