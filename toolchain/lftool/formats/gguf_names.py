"""What the name of a GGUF file says: whether it is part of a split one, or no model at all."""

from __future__ import annotations

import re

# llama.cpp's names of a GGUF in several files: `llama_split_path` writes `%s-%05d-of-%05d.gguf`.
# Groups: name, number of this part, number of parts.
SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf\Z")

# Names of GGUFs that are not models: llama.cpp's programs and scripts use these words in them.
_OTHER = re.compile(r"imatrix|mmproj|(^|[-_.])lora([-_.])", re.IGNORECASE)


def whole_name(path: str) -> str:
    """Return the path of the GGUF that a file is a part of; that of any other file as it is."""
    match = SPLIT.match(path)
    return path if match is None else f"{match[1]}.gguf"


def is_model_name(path: str) -> bool:
    """Return whether a GGUF may be a model by its name, and not a projector, an adapter or an importance matrix."""
    return _OTHER.search(path.rpartition("/")[2]) is None
