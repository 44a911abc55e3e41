"""What llama.cpp's conversion scripts warn of: passed on to the user, or made into an error that says the way on."""

from __future__ import annotations

import logging
import re
import warnings
from typing import TYPE_CHECKING, Self

from lftool.api import FormatError, InputWarning

if TYPE_CHECKING:
    from pathlib import Path

_LOGGERS = ("hf-to-gguf", "gguf")  # of the package `conversion`, and of gguf-py
_MOST = 20
_HASH = re.compile(r"\*\* chkhsh: +([0-9a-f]{64})")
# What transformers 5 writes into configurations that scale nothing.
_NOISE = frozenset({"Unknown RoPE type: default"})
_FRAME = re.compile(r"[*\s]*\Z")  # lines that only draw a box


class ScriptLog(logging.Handler):
    """Collects warnings in a `with` block.

    Args:
        folder: Where the model lies for the scripts; it does not show.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self._folder = f"{folder}/"
        self._said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self._said.append(record.getMessage())

    def __enter__(self) -> Self:
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)

    def pass_on(self) -> None:
        """Warn the user of each thing once; of many, the first."""
        lines = [line for line in dict.fromkeys(self._said) if line not in _NOISE and not _FRAME.match(line)]
        for line in lines[:_MOST]:
            warnings.warn(f"llama.cpp's scripts: {self.plain(line)}", InputWarning, stacklevel=1)
        if len(lines) > _MOST:
            warnings.warn(f"llama.cpp's scripts: {len(lines) - _MOST} more warnings", InputWarning, stacklevel=1)

    def plain(self, text: str) -> str:
        """Return text without the folder that the scripts work in."""
        return text.replace(self._folder, "").replace(self._folder.rstrip("/"), "the model").strip()

    def failure(self, error: Exception) -> FormatError:
        """Return the error for what the scripts raised."""
        digest = next((match[1] for line in self._said if (match := _HASH.search(line))), None)
        if isinstance(error, NotImplementedError) and digest is not None:  # what get_vocab_base_pre raises
            return FormatError(
                f"llama.cpp's scripts do not know the pre-tokenizer of the model's tokenizer.json (chkhsh {digest})",
                hints=(
                    "a newer llama-cpp-python may know it; or start from a GGUF of the model",
                    "if the model's files were changed, start from the original ones",
                ),
            )
        return FormatError(
            f"llama.cpp's scripts cannot convert the model: {type(error).__name__}: {self.plain(str(error))}"
        )
