"""What `lftool quality` shows of several targets: a table, a chart of lines, and a page with charts that loads nothing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.cli.shared_options import size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_BAR = 30  # characters of the longest bar
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _MARGIN = 460, 300, 70, 46, 18  # pixels of a chart
_STYLE = """\
:root { color-scheme: light dark; --line: light-dark(#d5dbe1, #343c44); --dim: light-dark(#58646f, #9aa6b2); --dot: light-dark(#0b5cad, #6cb2f7); }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; background: light-dark(#fff, #14171a); color: light-dark(#1b2127, #e6eaee); }
table { border-collapse: collapse; } th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } .charts { display: flex; flex-wrap: wrap; gap: 1rem; }
svg { max-width: 100%; height: auto; } path { stroke: var(--line); fill: none; } circle { fill: var(--dot); }
text { font: 12px system-ui, sans-serif; fill: currentColor; } .dim { fill: var(--dim); } p { color: var(--dim); }
"""


@frozen(kw_only=True)
class Row:
    """One target.

    Attributes:
        target: Its name.
        size: Bytes of its weights.
        bits: Bits per weight.
        cells: What was measured, in the order of the report's columns, as it is shown.
        costs: The measures that charts show, larger for worse; by their names in `Report.charts`.
    """

    target: str
    size: int
    bits: float
    cells: tuple[str, ...]
    costs: tuple[float, ...]


@frozen(kw_only=True)
class Report:
    """Several targets, measured on the same text.

    Attributes:
        title: What was measured, and on what.
        columns: Names of what was measured.
        charts: Names of the measures that charts show.
        rows: The targets.
        notes: How it was measured.
    """

    title: str
    columns: tuple[str, ...]
    charts: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def by_size(self) -> list[Row]:
        """Return the rows, the smallest first."""
        return sorted(self.rows, key=lambda row: row.size)

    def table(self) -> list[str]:
        """Return the lines of a table with aligned columns."""
        head = ("target", "size", "bits/weight", *self.columns)
        body = [(row.target, size_text(row.size), f"{row.bits:.2f}", *row.cells) for row in self.by_size()]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        return ["  ".join(_cell(text, widths[at], at) for at, text in enumerate(line)) for line in (head, *body)]

    def bars(self) -> list[str]:
        """Return the lines of a chart: for each measure and target a bar, from nothing to the worst."""
        lines = []
        width = max(len(row.target) for row in self.rows)
        for number, name in enumerate(self.charts):
            worst = max((row.costs[number] for row in self.rows), default=0.0)
            lines.append(name)
            for row in self.by_size():
                share = max(row.costs[number], 0.0) / worst if worst > 0 else 0.0
                bar = "█" * round(share * _BAR)
                lines.append(f"  {row.target:<{width}}  {size_text(row.size):>9}  {bar or '▏'}")
        return lines

    def page(self) -> str:
        """Return an HTML page with the table and a chart of size against each measure."""
        head = "".join(f"<th>{escape(name)}</th>" for name in ("target", "size", "bits per weight", *self.columns))
        body = "".join(
            "<tr>"
            + "".join(
                f"<td>{escape(text)}</td>" for text in (row.target, size_text(row.size), f"{row.bits:.2f}", *row.cells)
            )
            + "</tr>\n"
            for row in self.by_size()
        )
        charts = "".join(
            _chart(name, [(row, row.costs[at]) for row in self.by_size()]) for at, name in enumerate(self.charts)
        )
        notes = "".join(f"<p>{escape(note)}</p>\n" for note in self.notes)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(self.title)}</h1>\n"
            f'<div class="charts">\n{charts}</div>\n<table>\n<tr>{head}</tr>\n{body}</table>\n{notes}</body>\n</html>\n'
        )


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _chart(name: str, points: Sequence[tuple[Row, float]]) -> str:
    """Return a scatter plot: size to the right, the measure up, from zero on."""
    widest = max(row.size for row, _ in points) * 1.15
    highest = max(max(cost for _, cost in points) * 1.15, 1e-9)
    right, top = _WIDTH - 2 * _MARGIN, _MARGIN

    def place(size: float, cost: float) -> tuple[float, float]:
        across = _LEFT + (right - _LEFT) * size / widest
        return across, _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - top) * max(cost, 0.0) / highest

    marks = []
    for share in (0.25, 0.5, 0.75, 1.0):
        across, _ = place(widest * share, 0)
        _, up = place(0, highest * share)
        marks.append(
            f'<path d="M{_LEFT},{up:.1f} H{right}"/><text class="dim" x="{_LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{highest * share:.3g}</text>'
        )
        marks.append(
            f'<text class="dim" x="{across:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{size_text(round(widest * share))}</text>'
        )
    for row, cost in points:
        across, up = place(row.size, cost)
        marks.append(
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="5"/><text x="{across:.1f}" y="{up - 9:.1f}" text-anchor="middle">{escape(row.target)}</text>'
        )
    base = _HEIGHT - _BOTTOM
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(name)} by size">'
        f'<path d="M{_LEFT},{top} V{base} H{right}"/>{"".join(marks)}'
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">size of the weights</text><text x="{_LEFT}" y="12">{escape(name)}</text></svg>\n'
    )
