"""lftool plugin: quantise with the arithmetic of llama.cpp, many blocks at once, to the same bits on every CPU.

llvmlite is imported in child processes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import QuantizerType

LFTOOL_API = (2, 0)


@hookimpl
def lftool_quantizers() -> Iterator[QuantizerType]:
    """Blocks in SIMD lanes; the types of tensors as llama.cpp chooses them."""
    # Here: whoever imports a module of this package does not need them.
    from lftool.api import QuantizerType  # noqa: PLC0415
    from lftool.api.gguf import MixtureOptions  # noqa: PLC0415
    from lftool_strict.mixture import MIXTURE  # noqa: PLC0415
    from lftool_strict.quantizer import OFFERED, StrictQuantizer  # noqa: PLC0415

    yield QuantizerType(
        name="strict",
        summary="llama.cpp's arithmetic, one rounding per operation, in lftool's own kernels",
        consumes=("gguf",),
        produces=tuple(sorted(OFFERED)),
        semantics="ggml-q/1",
        streams=True,
        mixtures=(MIXTURE,),
        preference=10,
        derives=True,
        options=MixtureOptions,
        factory=StrictQuantizer,
    )
