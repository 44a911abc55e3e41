"""Graphs as pictures: Mermaid, which forges and editors draw, and SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool.pipeline.graph.steps import Graph, Step

_WIDTH, _HEIGHT, _ACROSS, _DOWN, _MARGIN = 260, 44, 60, 16, 16  # pixels
_LETTERS = 38  # that fit into a box
_STYLE = """\
<style>
  rect { fill: #f6f8fa; stroke: #57606a; }
  .cached rect { fill: #ffffff; stroke-dasharray: 4; }
  path { fill: none; stroke: #57606a; marker-end: url(#tip); }
  text { font: 12px sans-serif; fill: #1f2328; }
  .detail { font-size: 11px; fill: #57606a; }
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0,0 L8,4 L0,8 z" style="fill: #57606a; marker-end: none"/></marker></defs>
"""


def _plain(text: str) -> str:
    """Return text whose every character is harmless in markup: names of files are anybody's."""
    return escape("".join(letter if letter.isprintable() else "\ufffd" for letter in text), quote=False)


def _title(step: Step) -> str:
    return f"{step.stage} {', '.join(step.targets)}{' (cached)' if step.cached else ''}"


def _entities(text: str) -> str:
    """Return text as Mermaid wants it in quotes: `#` begins an entity, as `&` does in markup."""
    return _plain(text.replace("#", "#35;")).replace("&", "#").replace('"', "#quot;")


def mermaid(graph: Graph) -> str:
    """Return a graph as a Mermaid flow chart."""
    number = {step.name: f"s{place}" for place, step in enumerate(graph)}
    lines = ["flowchart LR"]
    for step in graph:
        label = f"{_entities(_title(step))}<br/>{_entities(step.detail)}"
        lines.append(f'  {number[step.name]}["{label}"]{":::cached" if step.cached else ""}')
    lines += [f"  {number[one.name]} --> {number[other.name]}" for one, other in graph.edges]
    lines.append("  classDef cached stroke-dasharray: 4")
    return "\n".join(lines) + "\n"


def _columns(graph: Graph) -> dict[str, int]:
    """Return name of a step to its column: one behind the last step that it waits for."""
    columns: dict[str, int] = {}
    for step in graph:
        before = [one for one, other in graph.edges if other is step]
        columns[step.name] = 1 + max((columns[one.name] for one in before), default=-1)
    return columns


def svg(graph: Graph) -> str:
    """Return a graph as an SVG image: one column for what can be done at the same time."""
    columns, rows = _columns(graph), dict[int, int]()
    places: dict[str, tuple[int, int]] = {}
    for step in graph:
        column = columns[step.name]
        row = rows.get(column, 0)
        rows[column] = row + 1
        places[step.name] = (_MARGIN + column * (_WIDTH + _ACROSS), _MARGIN + row * (_HEIGHT + _DOWN))
    width = 2 * _MARGIN + (_WIDTH + _ACROSS) * len(rows) - _ACROSS
    height = 2 * _MARGIN + (_HEIGHT + _DOWN) * max(rows.values(), default=0) - _DOWN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        _STYLE.rstrip(),
    ]
    for one, other in graph.edges:
        (x1, y1), (x2, y2) = places[one.name], places[other.name]
        start, end, middle = x1 + _WIDTH, x2, (x1 + _WIDTH + x2) // 2
        top, bottom = y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
        lines.append(f'<path d="M{start},{top} C{middle},{top} {middle},{bottom} {end},{bottom}"/>')
    for step in graph:
        x, y = places[step.name]
        lines.append(f'<g class="{"cached" if step.cached else "left"}"><title>{_plain(step.detail)}</title>')
        lines.append(f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="4"/>')
        lines.append(f'<text x="{x + 8}" y="{y + 18}">{_plain(_short(_title(step)))}</text>')
        lines.append(f'<text x="{x + 8}" y="{y + 34}" class="detail">{_plain(_short(step.detail))}</text></g>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
