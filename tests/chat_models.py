"""tiny-story's weights with another chat template, or with none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.formats.gguf_read import read_gguf
from lftool.formats.gguf_write import copied_header, metadata_entry

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = "tokenizer.chat_template"


def give_template(weights: Path, text: str | None) -> None:
    """Give a GGUF another chat template, in place; None takes it away."""
    data = weights.read_bytes()
    with weights.open("rb") as file:
        header = read_gguf(file, len(data), "weights")
    entries = [data[begin:end] for key, (begin, end) in header.extents.items() if key != TEMPLATE]
    if text is not None:
        entries.append(metadata_entry(TEMPLATE, text))
    weights.write_bytes(copied_header(entries, header.tensors, header.alignment) + data[header.data_offset :])
