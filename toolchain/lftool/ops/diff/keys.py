"""Compare the metadata of two GGUF files: keys, the tokenizer, the chat template."""

from __future__ import annotations

import difflib
import hashlib
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from lftool.formats.gguf_arrays import text_array
from lftool.formats.gguf_read import GGUFArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.ops.models.opened_model import OpenedModel

TEMPLATE = "tokenizer.chat_template"
_TOKENS, _MERGES, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type"
_STRING = 8
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TYPE_NAMES = {
    0: "UINT8", 1: "INT8", 2: "UINT16", 3: "INT16", 4: "UINT32", 5: "INT32", 6: "FLOAT32",
    7: "BOOL", 8: "STRING", 9: "ARRAY", 10: "UINT64", 11: "INT64", 12: "FLOAT64",
}  # fmt: skip
_SHOWN_NUMBERS = 16
_EXAMPLES = 10


@frozen(kw_only=True)
class KeyDiff:
    """Keys, without those of the vocabulary and the chat template.

    Attributes:
        added: In the second model only.
        removed: In the first model only.
        changed: Key to both values.
    """

    added: Mapping[str, Any] = field(factory=dict)
    removed: Mapping[str, Any] = field(factory=dict)
    changed: Mapping[str, tuple[Any, Any]] = field(factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        return bool(self.added or self.removed or self.changed)


@frozen(kw_only=True)
class ListDiff:
    """Two lists of texts.

    Attributes:
        sizes: How many each has.
        added: How many are in the second one only.
        removed: How many are in the first one only.
        moved: How many are in both, elsewhere.
        examples: The first few that were added (`+`), removed (`-`) or moved (`~`), each with its place.
    """

    sizes: tuple[int, int]
    added: int
    removed: int
    moved: int
    examples: tuple[str, ...] = ()


@frozen(kw_only=True)
class TokenizerDiff:
    """The tokenizer; None for what is equal.

    Attributes:
        special: Key of a special token to both ids.
        retyped: How many tokens have another type.
    """

    vocabulary: ListDiff | None = None
    merges: ListDiff | None = None
    special: Mapping[str, tuple[Any, Any]] = field(factory=dict)
    retyped: int = 0

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        return bool(self.vocabulary or self.merges or self.special or self.retyped)


def _bytes(model: OpenedModel, value: GGUFArray) -> bytes:
    file = model.file()
    file.seek(model.start + value.start)
    return file.read(value.end - value.start)


def texts_of(model: OpenedModel, key: str, errors: str = "replace") -> list[str]:
    """Return an array of texts; empty if there is none. `errors` says what becomes of bytes that are not UTF-8."""
    value = None if model.header is None else model.header.metadata.get(key)
    if not isinstance(value, GGUFArray):
        return []
    return [text.decode(errors=errors) for text in text_array(model.file(), value, model.start) or ()]


def shown(model: OpenedModel, key: str) -> Any:  # noqa: ANN401 - plain data
    """Return a value as data: a scalar, a short list, or the kind, length and digest of a long array."""
    assert model.header is not None  # noqa: S101 - the caller has checked it
    value = model.header.metadata[key]
    if not isinstance(value, GGUFArray):
        return value
    data = _bytes(model, value)
    if value.element_type in _NUMBERS and value.count <= _SHOWN_NUMBERS:
        return list(struct.unpack(f"<{value.count}{_NUMBERS[value.element_type]}", data))
    if value.element_type == _STRING and value.count <= _SHOWN_NUMBERS:
        return texts_of(model, key)
    return {"count": value.count, "sha256": hashlib.sha256(data).hexdigest()}


def _same(one: OpenedModel, other: OpenedModel, key: str) -> bool:
    """Whether two entries have the same type and value, to the last bit."""
    return _entry(one, key) == _entry(other, key)


def _entry(model: OpenedModel, key: str) -> bytes:
    """Return the bytes of a key, its type and its value; empty if there is none."""
    if model.header is None or key not in model.header.extents:
        return b""
    start, end = model.header.extents[key]
    file = model.file()
    file.seek(model.start + start)
    return file.read(end - start)


def _typed(model: OpenedModel, key: str) -> Any:  # noqa: ANN401 - plain data
    """Return a value that looks like another one, with its type."""
    kind = struct.unpack_from("<I", _entry(model, key), 8 + len(key.encode()))[0]
    return {"type": _TYPE_NAMES.get(kind, str(kind)), "value": shown(model, key)}


def _pair(one: OpenedModel, other: OpenedModel, key: str) -> tuple[Any, Any]:
    ours, theirs = shown(one, key), shown(other, key)
    alike = repr(ours) == repr(theirs)
    return (_typed(one, key), _typed(other, key)) if alike else (ours, theirs)


def _is_special(key: str) -> bool:
    return key.startswith("tokenizer.ggml.") and key.endswith("_token_id")


def _apart(one: OpenedModel, other: OpenedModel, tokenizer: TokenizerDiff) -> set[str]:
    """Return keys of the tokenizer and the template whose differences the comparison of those shows."""
    found = set()
    if template_of(one) != template_of(other):
        found.add(TEMPLATE)
    if tokenizer.vocabulary:
        found.add(_TOKENS)
    if tokenizer.merges:
        found.add(_MERGES)
    if tokenizer.retyped:
        found.add(_TYPES)
    return found


def diff_keys(one: OpenedModel, other: OpenedModel, tokenizer: TokenizerDiff) -> KeyDiff:
    """Compare keys, without those whose difference `tokenizer` or the chat template shows. May raise as reading does."""
    if one.header is None or other.header is None:
        return KeyDiff()
    apart = _apart(one, other, tokenizer)
    ours, theirs = (
        {key for key in header.metadata if key not in apart and not _is_special(key)}
        for header in (one.header, other.header)
    )
    return KeyDiff(
        added={key: shown(other, key) for key in sorted(theirs - ours)},
        removed={key: shown(one, key) for key in sorted(ours - theirs)},
        changed={key: _pair(one, other, key) for key in sorted(ours & theirs) if not _same(one, other, key)},
    )


def diff_lists(one: Sequence[str], other: Sequence[str]) -> ListDiff | None:
    """Compare two lists of texts; None if they are equal."""
    if one == other:
        return None
    ours = {text: at for at, text in reversed(list(enumerate(one)))}
    theirs = {text: at for at, text in reversed(list(enumerate(other)))}
    added = [text for text in theirs if text not in ours]
    removed = [text for text in ours if text not in theirs]
    moved = [text for text, at in ours.items() if text in theirs and theirs[text] != at]
    examples = [f"+ {theirs[text]} {text!r}" for text in sorted(added, key=lambda text: theirs[text])[:_EXAMPLES]]
    examples += [f"- {ours[text]} {text!r}" for text in sorted(removed, key=lambda text: ours[text])[:_EXAMPLES]]
    examples += [
        f"~ {ours[text]} to {theirs[text]} {text!r}" for text in sorted(moved, key=lambda text: ours[text])[:_EXAMPLES]
    ]
    return ListDiff(
        sizes=(len(one), len(other)),
        added=len(added),
        removed=len(removed),
        moved=len(moved),
        examples=tuple(examples),
    )


def _number_array(model: OpenedModel, key: str) -> tuple[int, ...]:
    value = None if model.header is None else model.header.metadata.get(key)
    if not isinstance(value, GGUFArray) or value.element_type not in _NUMBERS:
        return ()
    return struct.unpack(f"<{value.count}{_NUMBERS[value.element_type]}", _bytes(model, value))


def diff_tokenizers(one: OpenedModel, other: OpenedModel) -> TokenizerDiff:
    """Compare vocabulary, merges and special tokens. May raise as reading does."""
    if one.header is None or other.header is None:
        return TokenizerDiff()
    special = {}
    for key in sorted(
        {key for model in (one, other) if model.header for key in model.header.metadata if _is_special(key)}
    ):
        if not _same(one, other, key):
            special[key] = (one.header.metadata.get(key), other.header.metadata.get(key))
    types = _number_array(one, _TYPES), _number_array(other, _TYPES)
    return TokenizerDiff(
        vocabulary=diff_lists(*(texts_of(model, _TOKENS, "surrogateescape") for model in (one, other))),
        merges=diff_lists(*(texts_of(model, _MERGES, "surrogateescape") for model in (one, other))),
        special=special,
        retyped=sum(1 for ours, theirs in zip(*types, strict=False) if ours != theirs),
    )


def template_of(model: OpenedModel) -> str | None:
    """Return the chat template; None if there is none."""
    found = None if model.header is None else model.header.metadata.get(TEMPLATE)
    return found if isinstance(found, str) else None


def special_text(model: OpenedModel, which: str) -> str:
    """Return the text of the token that begins (`bos`) or ends (`eos`) a text; empty if there is none."""
    number = None if model.header is None else model.header.metadata.get(f"tokenizer.ggml.{which}_token_id")
    tokens = texts_of(model, _TOKENS)
    return tokens[number] if type(number) is int and 0 <= number < len(tokens) else ""


def diff_text(one: str, other: str) -> tuple[str, ...]:
    """Return a text diff, line by line, in the unified form without its first two lines."""
    lines = difflib.unified_diff(one.splitlines(), other.splitlines(), lineterm="", n=2)
    return tuple(line for number, line in enumerate(lines) if number > 1)
