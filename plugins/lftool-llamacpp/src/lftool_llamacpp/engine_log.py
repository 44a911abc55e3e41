"""What llama.cpp logs while something is done: it returns no reasons, it logs them."""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Self

from lftool_llamacpp.engine import llama_cpp

if TYPE_CHECKING:
    from collections.abc import Callable

_ERROR, _CONTINUED = 4, 5  # ggml_log_level in ggml.h
# Names of functions, and what the messages of llama-model.cpp begin with.
_PREFIX = re.compile(r"\A\w+: (error loading model: )?(\w+: )?")


class EngineLog:
    """Takes llama.cpp's log, which arrives in pieces of lines, in a `with` block.

    Attributes:
        lines: All lines.
        errors: Those that are errors.

    Args:
        on_line: Called with each line that is no error, once it is whole.
    """

    def __init__(self, on_line: Callable[[str], None] = lambda _: None) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._on_line = on_line
        self._piece = ""
        self._error = False
        self._callback = llama_cpp.llama_log_callback(self._take)

    def _take(self, level: int, text: bytes, _user: object) -> None:
        error = self._error if level == _CONTINUED else level >= _ERROR
        if error and not self._error and self._piece:  # it may come in the middle of another line
            self._end()
        self._error = error
        self._piece += text.decode(errors="replace")
        while "\n" in self._piece:
            line, _, rest = self._piece.partition("\n")
            self._piece = line
            self._end()
            self._piece = rest

    def _end(self) -> None:
        line, self._piece = self._piece.strip(), ""
        if not line.strip(" ="):
            return
        self.lines.append(line)
        if self._error:
            self.errors.append(line)
        else:
            self._on_line(line)

    def reason(self) -> str:
        """Return the first error without the name of llama.cpp's function; later ones only repeat that it failed."""
        return _PREFIX.sub("", self.errors[0]) if self.errors else "it does not say why"

    def __enter__(self) -> Self:
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        return self

    def __exit__(self, *_: object) -> None:
        # Before the callback goes: the library keeps the pointer.
        llama_cpp.llama_log_set(ctypes.cast(0, llama_cpp.llama_log_callback), ctypes.c_void_p(0))
