"""The tutorial prints what it says, with the lftool of this environment."""

import sys
from pathlib import Path

from tests.pages import run_tutorial


def test_tutorial_prints_what_it_says(repository: Path, tmp_path: Path) -> None:
    run_tutorial(repository, tmp_path, Path(sys.executable).parent)
