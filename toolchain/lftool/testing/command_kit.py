"""What every command must do: inherit the class, name yours, and let pytest run it.

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
        """Lftool's own commands go before those of plugins."""
        assert self.name not in COMMANDS

    def test_it_says_what_it_does(self, project: ProjectFolder) -> None:
        """`lftool NAME --help` ends well, and its first line is no empty one."""
        done = project.spawn(self.name, "--help").assert_success()
        assert f"lftool {self.name}" in done.out
        assert len(done.out.split("\n\n")) > 1

    def test_an_option_that_it_does_not_have_is_exit_status_2(self, project: ProjectFolder) -> None:
        """As of every command."""
        assert project.spawn(self.name, "--no-option-has-this-name").status == ExitStatus.USAGE
