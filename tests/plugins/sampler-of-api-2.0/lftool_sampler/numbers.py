"""The converter `numbers`: `NAME.numbers.json` maps tensors to lists of numbers; `names.txt` beside it, if there, calls the model something."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import FormatError, TensorType, ToolIdentity, TransformPlan, decode_utf8
from lftool.api.gguf import TensorData, write_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.api import InputFile, Progress, TransformSpec


@frozen(kw_only=True)
class Options:
    """`[model.options.weights]`."""

    scale: int = field(default=1, metadata={"doc": "What every number is multiplied with.", "bits": True})


def _read(inputs: Mapping[str, InputFile]) -> tuple[str, dict[str, list[float]]]:
    name = "numbers"
    tensors: dict[str, list[float]] = {}
    for path, item in sorted(inputs.items()):
        text = decode_utf8(item.path.read_bytes(), path, FormatError)
        if path == "names.txt":
            name = text.strip()
            continue
        try:
            tensors |= {str(key): [float(number) for number in value] for key, value in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}: no tensors in JSON: {error}") from None
    return name, tensors


class Numbers:
    """What lftool calls; each call may happen in another process, so it keeps nothing."""

    def tool(self) -> ToolIdentity:
        """Return what executes: this file."""
        return ToolIdentity(version="1", files=(Path(__file__),))

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write a fixed input."""
        del use
        path = folder / "probe.numbers.json"
        path.write_text(json.dumps({"a": [0.5, -1.25], "b": [3.0]}))
        return {"probe.numbers.json": path}

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return the types: all are F32."""
        _, tensors = _read(inputs)
        types = tuple(TensorType(tensor=name, type="F32") for name in sorted(tensors))
        return TransformPlan(parameters={"scale": spec.options.scale}, tensors=types)

    def run(
        self, spec: TransformSpec, inputs: Mapping[str, InputFile], output: Path, threads: int, progress: Progress
    ) -> None:
        """Write the GGUF."""
        del threads
        name, tensors = _read(inputs)
        made = []
        for index, (tensor, values) in enumerate(sorted(tensors.items()), 1):
            data = struct.pack(f"<{len(values)}f", *(value * spec.options.scale for value in values))
            made.append(TensorData(name=tensor, dimensions=(len(values),), type="F32", data=data))
            progress(tensor, index, len(tensors))
        with output.open("wb") as file:
            write_gguf(file, {"general.architecture": "numbers", "general.name": name}, made)
