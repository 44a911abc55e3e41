"""Two models compared, as data and as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lftool.cli.shared_options import counted, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.ops.diff.comparison import ModelDiff
    from lftool.ops.diff.keys import ListDiff
    from lftool.ops.diff.tensors import TensorChange

_SHOWN = 12
_WIDTH = 60


def diff_as_json(found: ModelDiff) -> dict[str, Any]:
    """Return a comparison as data."""
    return {"equal": not found.any, **attrs.asdict(found)}


def _change(item: TensorChange) -> str:
    one, other = item.types
    if item.change in {"added", "removed"}:
        kind, dimensions = (other, item.dimensions[1]) if item.change == "added" else (one, item.dimensions[0])
        return f"{kind} {'x'.join(map(str, dimensions or ()))}"
    if item.change == "reshaped":
        shapes = ["x".join(map(str, dimensions or ())) for dimensions in item.dimensions]
        return f"{shapes[0]} to {shapes[1]}"
    parts = [f"{one} to {other}"] if item.change == "retyped" else []
    if item.blocks:
        about = "about " if item.estimated else ""
        noun = "blocks" if item.change == "requantised" else "elements" if one in {"F32", "F16", "BF16"} else "blocks"
        parts.append(f"{about}{item.differing:,} of {item.blocks:,} {noun} {one}, the first is {item.first}")
    if item.error is not None:
        cosine = "" if item.error.cosine is None else f", cosine {item.error.cosine:.6f}"
        parts.append(f"relative error {item.error.relative:.3g}{cosine}, largest {item.error.largest:.3g}")
    return "; ".join(parts)


def _tensors(found: ModelDiff, *, whole: bool) -> Iterator[str]:
    changes = found.tensors.changes
    if not changes:
        yield f"tensors: all {found.tensors.equal} equal"
        return
    kinds: dict[str, int] = {}
    for item in changes:
        kinds[item.change] = kinds.get(item.change, 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    yield f"tensors: {found.tensors.equal} equal, {counts}"
    shown = changes if whole else changes[:_SHOWN]
    width = max(len(item.name) for item in shown)
    for item in shown:
        yield f"  {item.change:<12} {item.name:<{width}}  {_change(item)}"
    if len(shown) < len(changes):
        yield f"  and {len(changes) - len(shown)} more: --verbose"


def _value(value: Any) -> str:  # noqa: ANN401 - plain data
    return shortened(repr(value), _WIDTH)


def _keys(found: ModelDiff) -> Iterator[str]:
    keys = found.keys
    if not keys.any:
        return
    yield f"keys: {len(keys.changed)} changed, {len(keys.removed)} removed, {len(keys.added)} added"
    for key, (one, other) in keys.changed.items():
        yield f"  {key}: {_value(one)} → {_value(other)}"
    for key, value in keys.removed.items():
        yield f"  - {key}: {_value(value)}"
    for key, value in keys.added.items():
        yield f"  + {key}: {_value(value)}"


def _list(name: str, item: ListDiff | None, noun: str) -> Iterator[str]:
    if item is None:
        return
    one, other = item.sizes
    yield f"{name}: {counted(one, noun)} → {other}: {item.added} added, {item.removed} removed, {item.moved} moved"
    for example in item.examples:
        yield f"  {example}"


def _tokenizer(found: ModelDiff) -> Iterator[str]:
    tokenizer = found.tokenizer
    yield from _list("vocabulary", tokenizer.vocabulary, "token")
    yield from _list("merges", tokenizer.merges, "merge")
    if tokenizer.retyped:
        yield f"token types: {tokenizer.retyped} differ"
    for key, (one, other) in tokenizer.special.items():
        yield f"special token {key.removeprefix('tokenizer.ggml.')}: {one} → {other}"


def _template(found: ModelDiff) -> Iterator[str]:
    template = found.template
    if template is None:
        return
    yield "chat template:"
    for line in template.lines:
        yield f"  {line}"
    for name, prompt, failure in zip(found.names, template.prompts, template.failures, strict=True):
        if failure:
            yield f"  {name} does not render a conversation: {failure}"
        elif prompt is None:
            yield f"  {name} has none"
        else:
            yield f"  the same conversation, as {name} renders it:"
            for line in prompt.splitlines():
                yield f"    {line}"


def diff_lines(found: ModelDiff, *, whole: bool) -> Iterator[str]:
    """Yield a comparison for people.

    Args:
        found: The comparison.
        whole: Whether to list every tensor.
    """
    one, other = (f"{name} ({kind})" for name, kind in zip(found.names, found.kinds, strict=True))
    yield f"{one} against {other}"
    yield from _tensors(found, whole=whole)
    yield from _keys(found)
    yield from _tokenizer(found)
    yield from _template(found)
    for item in found.fields:
        yield f"{item.field}: {_value(item.values[0])} → {_value(item.values[1])}"
    if not found.any:
        yield "no difference"
