"""The source `mem:NAME`: a GGUF that is made when it is asked for.

A source resolves and delivers. It does not hash what arrives, bound it, retry or store it: lftool does.
"""

from __future__ import annotations

import contextlib
import io
import struct
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, le

from lftool.api import Digest, RecipeError, Resolution, SourceFile
from lftool.api.gguf import TensorData, write_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import SourceContext, SourceRequest

_NAME = "ramp"
_WIDEST = 1024


@frozen(kw_only=True)
class MemoryOptions:
    """`options` of a `mem:` source; lftool reports unknown keys and wrong values with their place in the recipe."""

    width: int = field(default=32, validator=[ge(1), le(_WIDEST)], metadata={"doc": "Length of a row."})


def ramp(width: int) -> bytes:
    """Return a GGUF with one F16 matrix whose weights rise from -1 towards 1, and an F32 vector of ones."""
    count = width * width
    weights = struct.pack(f"<{count}e", *(2 * index / count - 1 for index in range(count)))
    tensors = [
        TensorData(name="ramp.weight", dimensions=(width, width), type="F16", data=weights),
        TensorData(name="ramp_norm.weight", dimensions=(width,), type="F32", data=struct.pack("<f", 1.0) * width),
    ]
    file = io.BytesIO()
    write_gguf(file, {"general.architecture": "llama", "general.name": _NAME}, tensors)
    return file.getvalue()


class MemorySource:
    """Resolves `mem:ramp`."""

    def __init__(self, context: SourceContext) -> None:
        self._data = ramp(context.options.width)

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the one file that there is.

        Raises:
            RecipeError: Another name, or a choice of files where there is only one.
        """
        if request.uri != f"mem:{_NAME}":
            raise RecipeError(f"source {request.uri!r}: there is no such model", hints=(f"write mem:{_NAME}",))
        if request.include or request.exclude:
            raise RecipeError(f"source {request.uri!r} is one file; drop include and exclude")
        # A sha256 says what must arrive. A source whose remote vouches for none leaves it out, and lftool fetches the
        # file while locking. No revision: the content is the revision.
        file = SourceFile(path=f"{_NAME}.gguf", size=len(self._data), sha256=Digest.of(self._data))
        return Resolution(revision=None, files=(file,))

    @contextlib.contextmanager
    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> Iterator[Iterator[bytes]]:
        """Yield the file's bytes; a real source yields pieces of a few megabytes.

        The record has no `ranges`, so it is asked for the whole file: `offset` is 0 and `size` is None.
        """
        del request, revision, file, offset, size
        yield iter([self._data])
