"""The pictures of README and docs/ show what the example does today: `make pictures`."""

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.pages import two_minutes

from lftool.codec.locks import parse_lock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import chart
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
    quoted = [" ".join(command) for command in demo.full_commands(tmp_path)]
    assert [line.removeprefix("$ ").replace("'", "") for line in shown if line.startswith("$ ")] == quoted


def test_the_demo_is_the_first_screen_of_the_readme(repository):
    written = [shlex.split(step.command) for step in two_minutes(repository, ("console",))]
    assert [command for command in written if command[0] == "lftool"] == demo.commands()


def test_the_bundle_in_the_picture_is_that_of_the_lock(shown, repository):
    lock = parse_lock((repository / "examples" / "tiny-story" / "lftool.lock").read_bytes(), "lftool.lock")
    manifest = lock.targets["q4"].pack.manifest
    assert f"M {manifest}" in " ".join(shown).replace(" ", "").replace("M", "M ")


def test_the_picture_shows_a_bar_on_its_way(shown):
    assert any("━" in line and " left" in line for line in shown)


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


def test_the_chart_is_that_of_the_tables(repository):
    report = (repository / "docs" / "performance.md").read_text()
    assert chart.chart(report) == (repository / "docs" / "performance.svg").read_text()


def test_a_chart_has_the_last_row_of_a_name_and_what_has_no_peer_is_left_out():
    head = "| what | ours | peer | ratio or value | budget | |\n|---|---|---|---|---|---|\n"
    rows = [
        "| pack (a note) | 1 s | cp: 2 s | 0.50x | ≤ 1.3x | met |",
        "| memory | 1 MiB |  | 1 MiB | ≤ 2 MiB | met |",
        "| quantise | 1 s | llama.cpp: 9 s | 9.0x faster | ≥ 10x faster | MISSED |",
        "| pack (a note) | 1 s | cp: 2 s | 0.60x | ≤ 1.3x | met |",
    ]
    faster, slower = chart.bars(head + "\n".join(rows))
    assert faster == [chart.Bar(name="quantise", peer="llama.cpp", value=9.0, budget=10.0, met=False)]
    assert slower == [chart.Bar(name="pack", peer="cp", value=0.6, budget=1.3, met=True)]
