"""Charts of what `make bench` prints: `chart.py REPORT SVG`, where a report has the tables of docs/performance.md.

Each row with a peer is a bar: how many times faster than the peer, or how long compared with it, and where the budget is.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

from attrs import frozen

_FASTER = re.compile(r"([\d.]+)x faster")
_RATIO = re.compile(r"([\d.]+)x")
_WIDTH, _ROW, _LABEL, _TOP = 900, 26, 430, 46
_STYLE = """\
<style>
  svg { color-scheme: light dark; background: light-dark(#ffffff, #14171a); }
  text { font: 13px system-ui, sans-serif; fill: light-dark(#1b2127, #e6eaee); }
  .title { font-weight: 600; font-size: 15px; }
  .dim { fill: light-dark(#58646f, #9aa6b2); }
  .met { fill: light-dark(#2f7d4f, #5cc08a); }
  .missed { fill: light-dark(#b5762a, #e0a95c); }
  path { stroke: light-dark(#58646f, #9aa6b2); stroke-dasharray: 3; }
</style>
"""


@frozen(kw_only=True)
class Bar:
    """One row of the table.

    Attributes:
        name: What was measured.
        peer: What it was compared with.
        value: Times faster, or the ratio of times.
        budget: What it should be.
        met: Whether it is.
    """

    name: str
    peer: str
    value: float
    budget: float
    met: bool


def bars(report: str) -> tuple[list[Bar], list[Bar]]:
    """Return the rows that say how many times faster, and those that say how long; of rows of one name, the last."""
    faster: dict[str, Bar] = {}
    slower: dict[str, Bar] = {}
    for line in report.splitlines():
        cells = [cell.strip() for cell in line.strip("| \n").split("|")]
        if not line.startswith("| ") or len(cells) != 6 or not _RATIO.match(cells[3]):
            continue
        name = re.sub(r" \(.*\)$", "", cells[0]).replace("`", "")
        found, into = _FASTER.match(cells[3]), faster
        if found is None:
            found, into = _RATIO.match(cells[3]), slower
        budget = _RATIO.search(cells[4])
        if found is None or budget is None:
            continue
        into.pop(name, None)
        into[name] = Bar(
            name=name,
            peer=cells[2].partition(":")[0],
            value=float(found[1]),
            budget=float(budget[1]),
            met=cells[5] == "met",
        )
    return list(faster.values()), list(slower.values())


def _panel(title: str, note: str, shown: list[Bar], top: int) -> tuple[list[str], int]:
    """Return the elements of a panel, and where it ends."""
    widest = max(max(bar.value, bar.budget) for bar in shown) * 1.12
    scale = (_WIDTH - _LABEL - 70) / widest
    marks = [
        f'<text class="title" x="16" y="{top + 20}">{escape(title)}</text>',
        f'<text class="dim" x="16" y="{top + 38}">{escape(note)}</text>',
    ]
    at = top + _TOP
    for bar in shown:
        kind = "met" if bar.met else "missed"
        end = _LABEL + bar.value * scale
        limit = _LABEL + bar.budget * scale
        name = bar.name if len(bar.name) <= 60 else f"{bar.name[:59]}…"
        marks += [
            f'<text x="{_LABEL - 10}" y="{at + 16}" text-anchor="end"><title>against {escape(bar.peer)}</title>{escape(name)}</text>',
            f'<rect class="{kind}" x="{_LABEL}" y="{at + 4}" width="{bar.value * scale:.1f}" height="{_ROW - 9}" rx="2"/>',
            f'<path d="M{limit:.1f},{at + 1} v{_ROW - 3}"/>',
            f'<text x="{max(end, limit) + 6:.1f}" y="{at + 16}">{bar.value:g}x</text>',
        ]
        at += _ROW
    return marks, at + 14


def chart(report: str) -> str:
    """Return an SVG of a report."""
    faster, slower = bars(report)
    marks: list[str] = []
    top = 6
    for title, note, shown in (
        ("Times faster than the peer", "longer is better; the dashed line is the budget", faster),
        ("Time compared with the peer's", "shorter is better, the peer is 1x; the dashed line is the budget", slower),
    ):
        if shown:
            more, top = _panel(title, note, shown, top)
            marks += more
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img" aria-label="Budgets and what was measured">\n'
        f"{_STYLE}" + "\n".join(marks) + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(chart(Path(sys.argv[1]).read_text()))
