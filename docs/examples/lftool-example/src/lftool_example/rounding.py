"""The quantizer `round`: F16 weights with the low bits of each mantissa cleared; a GGUF with the same tensors.

Everything here but `Rounder.tool` runs in a process of its own. The output may depend on inputs, file type, overrides
and options, and on nothing else: no time, no thread count, no machine.
"""

from __future__ import annotations

import struct
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from attrs import field, frozen
from attrs.validators import ge, le

from lftool.api import RecipeError, TensorType, ToolIdentity, TransformPlan
from lftool.api.gguf import TensorData, read_gguf, write_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.api import InputFile, TransformSpec

FILE_TYPE = "F16_ROUND8"
_KEPT = 8
_MANTISSA = 10
_PIECE = 1 << 20  # bytes; whole weights, and little memory however large the model is


@frozen(kw_only=True)
class RoundOptions:
    """`options` of a target that this quantizer makes."""

    keep_bits: int = field(
        default=_KEPT,
        validator=[ge(0), le(_MANTISSA)],
        metadata={"doc": "Bits of the mantissa to keep, of ten."},
    )


def clear_low_bits(weights: bytes, keep_bits: int) -> bytes:
    """Return little-endian F16 weights with all but the `keep_bits` high bits of each mantissa cleared.

    Bits, not arithmetic: the same on every machine. One AND of two long integers is as fast as Python gets. A NaN may
    become an infinity; sound weights have neither.
    """
    mask = struct.pack("<H", 0xFFFF & -(1 << (_MANTISSA - keep_bits))) * (len(weights) // 2)
    cleared = int.from_bytes(weights, "little") & int.from_bytes(mask, "little")
    return cleared.to_bytes(len(weights), "little")


def round_gguf(
    source: BinaryIO, size: int, output: BinaryIO, keep_bits: int, progress: Callable[[str, int, int], None]
) -> None:
    """Copy a GGUF, rounding its F16 tensors; header, padding and other tensors stay byte for byte."""
    header = read_gguf(source, size, "the weights")
    source.seek(0)
    output.write(source.read(header.data_offset))
    for index, tensor in enumerate(header.tensors, 1):
        left = tensor.size
        while left:
            piece = source.read(min(left, _PIECE))
            left -= len(piece)
            output.write(clear_low_bits(piece, keep_bits) if tensor.type.name == "F16" else piece)
        following = header.tensors[index].offset if index < len(header.tensors) else size - header.data_offset
        output.write(source.read(following - tensor.offset - tensor.size))
        progress(tensor.name, index, len(header.tensors))


class Rounder:
    """What lftool calls; each call may happen in another process, so it keeps nothing."""

    def tool(self) -> ToolIdentity:
        """Return what executes: this file. A plugin that calls a library names the library's files."""
        return ToolIdentity(version=metadata.version("lftool-example"), files=(Path(__file__),))

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write every F16 value there is: the digest of what `run` makes of it is the fingerprint of `round/1`."""
        del use  # one file type, and an importance matrix changes nothing
        every = struct.pack("<65536H", *range(65536))
        path = folder / "every.gguf"
        with path.open("wb") as file:
            write_gguf(
                file,
                {"general.architecture": "probe"},
                [TensorData(name="every", dimensions=(256, 256), type="F16", data=every)],
            )
        return {"weights": path}

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return parameters and tensor types; lftool compares the types with overrides, and with the output.

        Raises:
            RecipeError: There is nothing to round.
        """
        weights = inputs["weights"]
        with weights.path.open("rb") as file:
            header = read_gguf(file, weights.artifact.size, "the weights")
        if all(tensor.type.name != "F16" for tensor in header.tensors):
            raise RecipeError("the weights have no F16 tensor to round", hints=("start from F16 weights",))
        return TransformPlan(
            parameters={"keep_bits": spec.options.keep_bits},
            tensors=tuple(TensorType(tensor=tensor.name, type=tensor.type.name) for tensor in header.tensors),
        )

    def run(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the rounded weights."""
        del threads  # never needed, and never allowed to matter
        weights = inputs["weights"]
        with weights.path.open("rb") as source, output.open("wb") as file:
            round_gguf(source, weights.artifact.size, file, spec.options.keep_bits, progress)
