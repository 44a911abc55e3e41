"""The front matter of a model card, looked at within budgets before the conversion scripts load it.

YAML lets a node stand in many places by one name. A few hundred bytes can so mean billions of nodes, and whoever walks
through them, or merges them, does not come back. The rule does not depend on the machine: what is left out here is left out
everywhere, and the converted bytes are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool.api import FormatError, decode_utf8

if TYPE_CHECKING:
    from pathlib import Path

MOST_CARD_BYTES = 1024 * 1024
MOST_BYTES = 64 * 1024
MOST_NODES = 10_000
_FENCE = "---"


def _children(node: Any) -> list[Any]:  # noqa: ANN401 - PyYAML's nodes
    if isinstance(node.value, str):
        return []
    return [child for item in node.value for child in (item if isinstance(item, tuple) else (item,))]


def expanded_nodes(root: Any, most: int = MOST_NODES) -> int | None:  # noqa: ANN401 - PyYAML's nodes
    """Return how many nodes a document has once every alias is written out; None for more than `most`, or without end.

    Args:
        root: The document's node, as `yaml.compose` returns it.
        most: Where counting may stop.
    """
    counted: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        name = id(node)
        if leaving:
            open_nodes.discard(name)
            counted[name] = 1 + sum(counted[id(child)] for child in _children(node))
            if counted[name] > most:
                return None
        elif name in open_nodes:
            return None  # it holds itself
        elif name not in counted:
            open_nodes.add(name)
            stack.append((node, True))
            stack += [(child, False) for child in _children(node) if id(child) not in counted]
    return counted[id(root)]


def problem_of(card: Path) -> str | None:
    """Return why a model card is left out; None for one that may be read."""
    import yaml  # noqa: PLC0415 - child processes only

    if card.stat().st_size > MOST_CARD_BYTES:
        return f"it has more than {MOST_CARD_BYTES} bytes"
    try:
        text = decode_utf8(card.read_bytes(), card.name)
    except FormatError as error:
        return error.message.partition(": ")[2]
    lines = text.splitlines()
    if not lines or lines[0] != _FENCE:
        return None
    end = next((number for number, line in enumerate(lines[1:], 1) if line == _FENCE), len(lines))
    # As gguf-py treats it before it parses (gguf/metadata.py, load_model_card).
    block = ("\n".join(lines[1:end]) + "\n").replace("- no\n", '- "no"\n').replace("\t", "  ")
    if len(block) > MOST_BYTES:
        return f"its front matter has more than {MOST_BYTES} characters"
    try:
        root = yaml.compose(block, Loader=yaml.SafeLoader)
        if root is not None and expanded_nodes(root) is None:
            return f"its front matter expands to more than {MOST_NODES} values"
        yaml.safe_load(block)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 2}" if error.problem_mark else ""
        return f"its front matter cannot be read as YAML: {error.problem or 'it is malformed'}{where}"
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, OverflowError, AttributeError):
        return "its front matter cannot be read as YAML"
    return None
