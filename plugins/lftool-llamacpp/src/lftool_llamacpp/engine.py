"""llama-cpp-python, or an error that says what its library lacks here. Only imported in child processes."""

from __future__ import annotations

from lftool.api import UnavailableError

try:
    import llama_cpp
except (OSError, RuntimeError) as error:
    raise UnavailableError(
        f"llama-cpp-python cannot load its library: {error}",
        hints=("install what is missing (Debian: apt install libgomp1)", "or build it here: lftool help install"),
    ) from None

__all__ = ["llama_cpp"]
