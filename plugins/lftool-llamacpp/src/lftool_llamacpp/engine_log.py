"""What llama.cpp logs while something is done: it returns no reasons, it logs them."""

from __future__ import annotations

import ctypes
import re
from typing import Self

import llama_cpp  # noqa: TID253 - this module is only imported in child processes

_ERROR, _CONTINUED = 4, 5  # ggml_log_level in ggml.h
# Names of functions, and what the messages of llama-model.cpp begin with.
_PREFIX = re.compile(r"\A\w+: (error loading model: )?(\w+: )?")


class EngineLog:
    """Takes llama.cpp's log in a `with` block.

    Attributes:
        lines: All lines.
        errors: Those that are errors.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._piece = ""
        self._error = False
        self._callback = llama_cpp.llama_log_callback(self._take)

    def _take(self, level: int, text: bytes, _user: object) -> None:
        if level != _CONTINUED:
            self._error = level >= _ERROR
        self._piece += text.decode(errors="replace")
        while "\n" in self._piece:
            line, _, self._piece = self._piece.partition("\n")
            if line.strip():
                self.lines.append(line.strip())
                if self._error:
                    self.errors.append(line.strip())

    def reason(self) -> str:
        """Return the first error without the name of llama.cpp's function; later ones only repeat that it failed."""
        return _PREFIX.sub("", self.errors[0]) if self.errors else "it does not say why"

    def __enter__(self) -> Self:
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        return self

    def __exit__(self, *_: object) -> None:
        # Before the callback goes: the library keeps the pointer.
        llama_cpp.llama_log_set(ctypes.cast(0, llama_cpp.llama_log_callback), ctypes.c_void_p(0))
