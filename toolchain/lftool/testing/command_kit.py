"""Tests that every command must pass. Inherit the class, name your command, and run pytest.

    class TestMine(CommandConformance):
        name = "mine"

A command needs no example in `lftool_examples`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lftool.api import ExitStatus
from lftool.cli.main import COMMANDS

if TYPE_CHECKING:
    from lftool.testing.project_folder import ProjectFolder


class CommandConformance:
    """Tests of a command through lftool itself."""

    name: ClassVar[str]

    def test_its_name_is_its_own(self) -> None:
        """Lftool's own commands take precedence over those of plugins."""
        assert self.name not in COMMANDS

    def test_it_says_what_it_does(self, project: ProjectFolder) -> None:
        """`lftool NAME --help` succeeds and prints a description."""
        done = project.run(self.name, "--help").assert_success()
        assert f"lftool {self.name}" in done.out
        assert len(done.out.split("\n\n")) > 1

    def test_an_option_that_it_does_not_have_is_exit_status_2(self, project: ProjectFolder) -> None:
        """As for every command."""
        assert project.run(self.name, "--no-option-has-this-name").status == ExitStatus.USAGE
