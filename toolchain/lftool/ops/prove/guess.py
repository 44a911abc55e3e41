"""Guess how a file was made: from its metadata and the types of its tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.formats.file_types import FILE_TYPES
from lftool.ops.diff.keys import diff_keys, diff_tokenizers, template_of
from lftool.ops.prove.proof import HeaderDiff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lftool.formats.gguf_read import GGUFHeader
    from lftool.ops.models.opened_model import ModelTensor, OpenedModel

IMATRIX_KEYS = (
    "quantize.imatrix.file",
    "quantize.imatrix.dataset",
    "quantize.imatrix.entries_count",
    "quantize.imatrix.chunks_count",
)
FILE_TYPE = "general.file_type"
# What quantising always sets: they say nothing about where a file comes from.
_SET = frozenset({FILE_TYPE, "general.quantization_version"})
_SPLIT = frozenset({"split.no", "split.count", "split.tensors.count"})
_SIXTEEN = ("F16", "BF16")
MOST_HYPOTHESES = 12


def file_type_of(header: GGUFHeader) -> str | None:
    """Return the name of the file type that metadata gives; None if it gives none that is known."""
    number = header.metadata.get(FILE_TYPE)
    return next((name for name, known in FILE_TYPES.items() if type(number) is int and known == number), None)


def number_of_file_type(header: GGUFHeader) -> int | None:
    """Return the number of the file type in the metadata."""
    number = header.metadata.get(FILE_TYPE)
    return number if type(number) is int else None


def imatrix_name(header: GGUFHeader) -> str | None:
    """Return the name of the importance matrix that metadata names; None if there was none. It may be empty."""
    if not any(key in header.metadata for key in IMATRIX_KEYS):
        return None
    name = header.metadata.get(IMATRIX_KEYS[0])
    return name if isinstance(name, str) else ""


def overrides_of(planned: Mapping[str, str], tensors: Sequence[ModelTensor]) -> dict[str, str]:
    """Return the tensors whose type is not the planned one."""
    return {item.name: item.type for item in tensors if planned.get(item.name, item.type) != item.type}


def intermediates(base: Sequence[ModelTensor], file: Sequence[ModelTensor]) -> tuple[str, ...]:
    """Return the types that the base's weights may have been rounded to before, the likeliest first; "" for none."""
    matrices = {item.type for item in base if len(item.dimensions) > 1}
    kept = [kind for kind in _SIXTEEN if any(item.type == kind and len(item.dimensions) > 1 for item in file)]
    if "F32" in matrices:
        return tuple(dict.fromkeys([*kept, "", *_SIXTEEN]))
    if "BF16" in matrices:
        return tuple(dict.fromkeys([*(kind for kind in kept if kind == "F16"), "", "F16"]))
    return ("",)


def header_diff(base: OpenedModel, file: OpenedModel, *, identical: bool | None) -> HeaderDiff:
    """Return how the metadata of a file differs from its base's, apart from what quantising sets."""
    tokenizer = diff_tokenizers(base, file)
    keys = diff_keys(base, file, tokenizer)
    changed = {key: pair for key, pair in keys.changed.items() if key not in _SET}
    if tokenizer.vocabulary or tokenizer.merges or tokenizer.retyped:
        changed["tokenizer.ggml.tokens"] = ("the base's", "another vocabulary")
    changed |= tokenizer.special
    if template_of(base) != template_of(file):
        changed["tokenizer.chat_template"] = (template_of(base), template_of(file))
    return HeaderDiff(
        identical=identical,
        added={key: value for key, value in keys.added.items() if key not in _SET},
        removed={key: value for key, value in keys.removed.items() if key not in _SET | _SPLIT},
        changed=changed,
    )


def architecture(model: OpenedModel) -> str | None:
    """Return the architecture that metadata names."""
    value = None if model.header is None else model.header.metadata.get("general.architecture")
    return value if isinstance(value, str) else None
