"""The pictures of README and docs/ show what the example does today: `make pictures`."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lftool.codec.locks import parse_lock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import demo

_LINE = re.compile(r'<text class="demo-r\d+"[^>]* y="([\d.]+)"[^>]*>(.*?)</text>')


@pytest.fixture(scope="module")
def shown(repository) -> list[str]:
    """Lines of the terminal, without runs of spaces."""
    rows: dict[str, str] = {}
    for row, text in _LINE.findall((repository / "docs" / "demo.svg").read_text()):
        rows[row] = rows.get(row, "") + html.unescape(text).replace("\xa0", " ")
    return [" ".join(line.split()) for line in rows.values()]


def test_the_demo_in_the_picture_is_the_demo(shown, tmp_path):
    quoted = [" ".join(command) for command in demo.commands(tmp_path)]
    assert [line.removeprefix("$ ").replace("'", "") for line in shown if line.startswith("$ ")] == quoted


def test_sources_and_runtime_in_the_picture_are_those_of_the_lock(shown, repository):
    lock = parse_lock((repository / "examples" / "tiny-story" / "lftool.lock").read_bytes(), "lftool.lock")
    wanted = {f"source:base/{file.path}": file.artifact.sha256.hex[:16] for file in lock.sources["base"].files}
    wanted["runtime:python/1"] = lock.runtimes["python/1"].sha256.hex[:16]
    made_from = [line.split() for line in shown if line.startswith("made from ")]
    found = {words[2]: words[4].rstrip("…") for words in made_from if words[2] in wanted}
    assert found == wanted


def test_the_graph_is_that_of_the_example(repository, tmp_path):
    command = [Path(sys.executable).with_name("lftool"), "build", "--project", "examples/tiny-story", "--dry-run"]
    done = subprocess.run(
        [*command, "--graph", "svg"],
        cwd=repository,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (repository / "docs" / "build-graph.svg").read_text()
