"""The how-to for checking a model: its commands run in order, and print what the page shows."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from attrs import frozen
from tests.prove.conftest import STORY, changed, make

from lftool.testing import ProjectFolder

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "check-a-model.md"
RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:story-f16.gguf"
[model]
weights = "base"
[targets.q4]
quantize = "Q4_K_M"
layout = "gguf"
[sign]
key = "file:release.key"
"""
# Commands whose verdict is not 0, by the page's own words.
STATUS = {"lftool prove bad.gguf --base story-f16.gguf": 7}


@frozen
class Step:
    """One block of commands, and the output that the page shows after it."""

    commands: tuple[str, ...]
    shown: str | None


def steps(page: Path = PAGE) -> list[Step]:
    blocks = re.findall(r"(?ms)^```(sh|text)\n(.*?)^```$", page.read_text())
    found = []
    for at, (kind, body) in enumerate(blocks):
        if kind == "sh":
            after = blocks[at + 1] if at + 1 < len(blocks) else ("", "")
            commands = tuple(line.partition("  #")[0].strip() for line in body.splitlines())
            found.append(Step(commands, after[1] if after[0] == "text" else None))
    return found


def flipped(part: bytearray) -> None:
    part[144 * 17 + 1] ^= 0x80


@pytest.fixture
def given(tmp_path: Path) -> ProjectFolder:
    """The folder of a reader: a base, two files made of it, one of them changed too, and a bundle with its key."""
    folder = ProjectFolder(root=tmp_path / "files", home=tmp_path / "home")
    folder.root.mkdir()
    folder.home.mkdir()
    (folder.root / "lftool.toml").write_text(RECIPE)
    shutil.copy(STORY, folder.root / "story-f16.gguf")
    for name, file_type in (("story-q4", "Q4_K_M"), ("bad", "Q4_K_M"), ("story-q8", "Q8_0")):
        make(STORY, folder.root / f"{name}.gguf", file_type)
    changed(folder.root / "bad.gguf", "blk.1.ffn_down.weight", flipped)
    for arguments in (("keygen", "-o", "release"), ("keygen", "-o", "me"), ("lock",), ("build",)):
        folder.run(*arguments).assert_success()
    (folder.root / "me.pub").rename(folder.root / "rebuilder.pub")
    shutil.copy(next((folder.root / "dist").iterdir()), folder.root / "story.gguf")
    return folder


def matches(line: str, shown: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.split("…"))
    return re.fullmatch(pattern, line) is not None


def test_its_commands_print_what_it_shows(given: ProjectFolder) -> None:
    for step in steps():
        out = ""
        for command in step.commands:
            done = given.run(*shlex.split(command)[1:])
            assert done.status == STATUS.get(command, 0), (command, done.out, done.err)
            out = done.out
        shown = (step.shown or "").splitlines()
        printed = out.splitlines()
        missing = [line for line in shown if not any(matches(one, line) for one in printed)]
        assert not missing, (step.commands, printed)


def test_it_uses_every_command_that_it_names() -> None:
    used = {command.split()[1] for step in steps() for command in step.commands}
    assert used == {"rebuild", "prove", "diff", "fingerprint", "verify"}
