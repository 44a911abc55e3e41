"""A chat, or an answer, at a terminal: `python -I -m lftool_xllamacpp.talking RUNNER BUNDLE [OPTIONS]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define

from lftool_llamacpp.server import load_script
from lftool_xllamacpp.engine import BATCH
from lftool_xllamacpp.starting import load

if TYPE_CHECKING:
    import argparse

    from lftool_xllamacpp.model import Model


@define
class Reading:
    """Shows how far a long prompt is read, and looks whether to stop; the runner has the same for llama-cpp-python.

    Attributes:
        look: Called at each step; may raise.
        shown: What stands on the terminal.
    """

    look: Callable[[], None] = lambda: None
    shown: str = ""

    def step(self, done: int, whole: int) -> None:
        """Show how many tokens of a prompt have been read."""
        self.look()
        if done < whole and whole > BATCH and sys.stderr.isatty():
            self.shown = f"reading the prompt: {100 * done // whole} %"
            sys.stderr.write(f"\r{self.shown}")
            sys.stderr.flush()

    def erase(self) -> None:
        """Remove the progress from the terminal."""
        if self.shown:
            sys.stderr.write(f"\r{' ' * len(self.shown)}\r")
            sys.stderr.flush()
            self.shown = ""


def main() -> None:
    """Load, and talk."""
    runner = load_script(sys.argv[1])
    sys.argv = sys.argv[1:]

    def loaded(bundle: Any, options: argparse.Namespace) -> tuple[Model, str, Reading]:  # noqa: ANN401 - the runner's Bundle
        model, kind = load(runner, bundle, options)
        reading = Reading()
        model.progress = reading.step
        return model, kind, reading

    runner.run(loaded)


if __name__ == "__main__":
    main()
