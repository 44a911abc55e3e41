"""The quantizer `halving`: F16 weights, each multiplied by a power of two; everything else stays as it is."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, le

from lftool.api import TensorType, ToolIdentity, TransformPlan
from lftool.api.gguf import read_gguf, write_probe_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.api import InputFile, Progress, TransformSpec
    from lftool.api.gguf import GGUFHeader


@frozen(kw_only=True)
class Options:
    """`options` of a target."""

    times: int = field(
        default=1, validator=[ge(1), le(8)], metadata={"doc": "How often every weight is halved.", "bits": True}
    )


def _header(weights: InputFile) -> GGUFHeader:
    with weights.path.open("rb") as file:
        return read_gguf(file, weights.artifact.size, "the weights")


class Halving:
    """What lftool calls; each call may happen in another process, so it keeps nothing."""

    def tool(self) -> ToolIdentity:
        """Return what executes: this file."""
        return ToolIdentity(version="1", files=(Path(__file__),))

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write the fixed input that lftool has for quantizers."""
        del use
        path = folder / "probe.gguf"
        write_probe_model(path)
        return {"weights": path}

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return the types: they do not change."""
        types = tuple(TensorType(tensor=item.name, type=item.type.name) for item in _header(inputs["weights"]).tensors)
        return TransformPlan(parameters={"times": spec.options.times}, tensors=types)

    def run(
        self, spec: TransformSpec, inputs: Mapping[str, InputFile], output: Path, threads: int, progress: Progress
    ) -> None:
        """Write the file: the same header, other weights."""
        del threads
        weights = inputs["weights"]
        header, data = _header(weights), bytearray(weights.path.read_bytes())
        for index, tensor in enumerate(header.tensors, 1):
            if tensor.type.name == "F16":
                begin = header.data_offset + tensor.offset
                count = tensor.size // 2
                values = struct.unpack_from(f"<{count}e", data, begin)
                struct.pack_into(f"<{count}e", data, begin, *(value / 2**spec.options.times for value in values))
            progress(tensor.name, index, len(header.tensors))
        output.write_bytes(data)
