"""A proof, as data and as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lftool.cli.shared_options import counted, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lftool.ops.prove.proof import Proof, Subject, TensorProof

_SHOWN = 8
_WIDTH = 60
_INFINITE = 1e299


def _subject(item: Subject | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {
        "name": item.name,
        "sha256": None if item.sha256 is None else item.sha256.hex,
        "size": item.size,
        "stated": item.stated,
    }


def proof_as_json(found: Proof) -> dict[str, Any]:
    """Return a proof as data."""
    tensors = []
    for item in found.tensors:
        plain = attrs.asdict(item)
        plain["equal"], plain["rounding"] = item.equal, item.rounding
        tensors.append(plain)
    return {
        "verdict": found.verdict,
        "arithmetics": list(found.arithmetics),
        "by_arithmetic": found.by_arithmetic,
        "file": _subject(found.file),
        "base": _subject(found.base),
        "imatrix": _subject(found.imatrix),
        "kernels": dict(found.kernels),
        "guess": attrs.asdict(found.guess),
        "hypotheses": [attrs.asdict(item) for item in found.hypotheses],
        "header": attrs.asdict(found.header),
        "tensors": tensors,
        "extra": list(found.extra),
        "missing": list(found.missing),
        "reshaped": list(found.reshaped),
        "mismatch": found.mismatch,
        "fetched": found.fetched,
    }


def _named(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _verdict(found: Proof) -> str:
    if found.verdict == "identical file":
        return f"identical file under {_named(found.arithmetics)}"
    if found.verdict == "identical tensors":
        return f"identical tensors under {_named(found.arithmetics)}"
    if found.verdict == "consistent with rounding":
        return "differs, by no more than rounding does, as far as it was looked at"
    if found.verdict == "not consistent with rounding" and not found.differing:
        return "not the tensors of this base"
    if found.verdict == "not consistent with rounding":
        return "differs by more than rounding"
    return found.verdict


def _tensor(item: TensorProof) -> str:
    best, distance = item.best, item.distance
    if item.reason or best is None:
        return item.reason
    of = "" if best.compared == item.blocks else " compared"
    text = f"{best.differing:,} of {best.compared:,} blocks{of} differ, the first is {best.first}; nearest: {best.arithmetic}"
    if distance is None:
        return text
    looked = "" if distance.blocks >= best.differing else f", in {distance.blocks:,} of them looked at"
    off = f"up to {distance.levels:.3g} levels off" if distance.levels < _INFINITE else "infinitely many levels off"
    worst = (
        ""
        if item.rounding
        else f", {distance.worse:.3g} times as far from the base as it should be in block {distance.worst}"
    )
    return f"{text}; {off}{worst}, relative error {distance.relative:.2g}{looked}"


def _made_how(found: Proof) -> Iterator[str]:
    guess = found.guess
    if not found.tensors:
        return
    kind = guess.file_type or "a file type that is not known"
    changed = f", {counted(len(guess.overrides), 'tensor')} of other types" if guess.overrides else ""
    rounded = f", the base rounded to {guess.through} first" if guess.through else ""
    matrix = ""
    if found.imatrix is not None:
        matrix = (
            ", with the importance matrix" if guess.matrix_used else ", without the importance matrix that was given"
        )
    yield f"made as {kind}{changed}{rounded}{matrix}"
    if guess.overrides:
        yield f"  of other types: {_named([f'{name} {kind}' for name, kind in guess.overrides.items()])}"


def _header(found: Proof) -> Iterator[str]:
    header = found.header
    if header.identical:
        yield "header: identical"
        return
    lines = [
        f"  {key}: {shortened(repr(one), _WIDTH)} → {shortened(repr(other), _WIDTH)}"
        for key, (one, other) in header.changed.items()
    ]
    lines += [f"  - {key}: {shortened(repr(value), _WIDTH)}" for key, value in header.removed.items()]
    lines += [f"  + {key}: {shortened(repr(value), _WIDTH)}" for key, value in header.added.items()]
    if lines:
        yield "header: differs from the base's in"
        yield from lines
    elif header.identical is not None:
        yield "header: the same keys, written otherwise"
    if any(key.startswith("quantize.imatrix.") for key in header.added):
        yield "  llama-quantize adds quantize.imatrix.*; `file` is the path as its user typed it"


def _unknown(found: Proof) -> Iterator[str]:
    if not found.unknown_importance:
        return
    named = f" ({found.guess.imatrix_file})" if found.guess.imatrix_file else ""
    free = [item for item in found.tensors if not item.importance]
    equal = sum(1 for item in free if item.equal)
    yield f"an importance matrix was used{named}, and none was given: --imatrix FILE"
    yield f"  {equal} of {counted(len(free), 'tensor')} that do not depend on it are as the base makes them"
    worst = max((item.distance.from_base for item in found.differing if item.distance is not None), default=None)
    if worst is not None:
        yield f"  of the others, the norm of the difference from the base is at most {worst:.2g} of the base's, in sampled blocks"


_MEANING = {
    "consistent with rounding": "Another compiler, or another version of the quantiser, could have made it; so could a careful hand.",
    "not consistent with rounding": "It was made with other weights, by another quantiser, with an importance matrix that was not given, or it"
    " was changed afterwards. That it does not reproduce does not mean that somebody tampered with it.",
    "mixed arithmetics": "Every tensor is what the base becomes, but not all under one arithmetic.",
}


def _sets(found: Proof) -> Iterator[str]:
    """Yield why tensors do not correspond."""
    if found.mismatch:
        yield found.mismatch
    if found.reshaped:
        yield f"tensors of other shapes: {_named(found.reshaped)}"
    if found.extra:
        yield f"the base lacks {counted(len(found.extra), 'tensor')}: {_named(found.extra)}"
    if found.missing:
        yield f"the file lacks {counted(len(found.missing), 'tensor')}: {_named(found.missing)}"


def proof_lines(found: Proof, *, whole: bool) -> Iterator[str]:
    """Yield a proof for people, without the verdict's line.

    Args:
        found: The proof.
        whole: Whether to list every tensor.
    """
    yield from _sets(found)
    yield from _made_how(found)
    if found.tensors:
        equal = len(found.tensors) - len(found.differing)
        yield f"tensors: {equal} of {len(found.tensors)} are what the base becomes"
        if equal and not found.arithmetics:
            for name, count in found.by_arithmetic.items():
                if count:
                    yield f"  {count} under {name}"
        yield from _differing(found, whole=whole)
        if whole:
            yield from (f"  {item.name} ({item.type}): equal" for item in found.tensors if item.equal)
        if found.differing and found.alone:
            yield f"every other tensor is exactly what {found.alone} makes, so it is unlikely that the rounding is another one"
        yield from _unknown(found)
        yield from _header(found)
    if found.verdict in _MEANING and not (found.verdict == "not consistent with rounding" and found.alone):
        yield _MEANING[found.verdict]
    elif found.verdict in _MEANING:
        yield "That it does not reproduce does not mean that somebody tampered with it: a tensor may have been replaced on purpose."
    if found.fetched:
        yield f"fetched {found.fetched:,} bytes"


def _differing(found: Proof, *, whole: bool) -> Iterator[str]:
    # What is furthest off comes first: a changed tensor is not to hide behind many that were rounded otherwise.
    order = sorted(found.differing, key=lambda item: -(item.distance.levels if item.distance else 0.0))
    shown = order if whole else order[:_SHOWN]
    for item in shown:
        yield f"  {item.name} ({item.type}): {_tensor(item)}"
    if len(shown) < len(order):
        yield f"  and {len(order) - len(shown)} more: --verbose"


def verdict_line(found: Proof) -> str:
    """Return the verdict in words."""
    return _verdict(found)
