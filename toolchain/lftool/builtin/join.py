"""Join the parts of a split GGUF, as written by llama.cpp's gguf-split, into one that shows no trace of the split.

The metadata is that of the first part, copied entry by entry, without the keys that number the parts. Tensors keep
their order and bytes (llama.cpp, tools/gguf-split and `llama_split_path`).
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from lftool import __version__
from lftool.api import FormatError, TensorType, ToolIdentity, TransformPlan
from lftool.api.gguf import TensorData, copied_header, padding, read_gguf, write_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from lftool.api import InputFile, TransformSpec
    from lftool.api.gguf import GGUFHeader

_NUMBER, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"
_PIECE = 4 * 1024 * 1024


def _read(path: Path, name: str) -> GGUFHeader:
    with path.open("rb") as file:
        return read_gguf(file, path.stat().st_size, name)


def _parts(inputs: Mapping[str, InputFile]) -> list[tuple[Path, GGUFHeader]]:
    """Return the path and header of every part, in order.

    Raises:
        FormatError: They are not the parts of one GGUF.
    """
    found = [(name, inputs[name].path, _read(inputs[name].path, name)) for name in sorted(inputs)]
    for index, (name, _, header) in enumerate(found):
        said = (header.metadata.get(_NUMBER), header.metadata.get(_COUNT))
        if said != (index, len(found)):
            raise FormatError(
                f"{name}: expected part {index} of {len(found)} ({_NUMBER}, {_COUNT}), got part {said[0]} of {said[1]}"
            )
    names = [tensor.name for _, _, header in found for tensor in header.tensors]
    if len(set(names)) != len(names):
        raise FormatError(f"{found[0][0]}: a tensor is in two parts")
    count = found[0][2].metadata.get(_TENSORS)
    if count not in {None, len(names)}:
        raise FormatError(f"{found[0][0]}: {_TENSORS} is {count}, the parts have {len(names)} tensors")
    return [(path, header) for _, path, header in found]


def _copy(source: BinaryIO, start: int, size: int, output: BinaryIO) -> None:
    source.seek(start)
    while size:
        piece = source.read(min(size, _PIECE))
        if not piece:
            raise FormatError("a part became shorter while it was read")
        output.write(piece)
        size -= len(piece)


class GGUFJoin:
    """Makes one GGUF from its parts; types stay unchanged."""

    def tool(self) -> ToolIdentity:
        """Return the version of lftool and the two modules that decide the bytes."""
        return ToolIdentity(version=__version__, files=(Path(__file__), Path(inspect.getfile(copied_header))))

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write two small parts of a fixed model."""
        del use
        inputs = {}
        for index, data in enumerate((bytes(range(64)), bytes(range(64, 128)))):
            path = folder / f"probe-{index}"
            metadata = {"general.architecture": "llama"} if index == 0 else {}
            with path.open("wb") as file:
                tensor = TensorData(name=f"t{index}", dimensions=(32,), type="F16", data=data)
                write_gguf(file, {**metadata, _NUMBER: index, _COUNT: 2, _TENSORS: 2}, [tensor])
            inputs[path.name] = path
        return inputs

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return the tensors of all parts, in order."""
        del spec
        tensors = [tensor for _, header in _parts(inputs) for tensor in header.tensors]
        named = tuple(TensorType(tensor=tensor.name, type=tensor.type.name) for tensor in tensors)
        return TransformPlan(parameters={"parts": len(inputs)}, tensors=named)

    def run(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the joined file."""
        del spec, threads
        self._join(_parts(inputs), output, progress)

    def _join(
        self, parts: list[tuple[Path, GGUFHeader]], output: Path, progress: Callable[[str, int, int], None]
    ) -> None:
        path, first = parts[0]
        tensors = [tensor for _, header in parts for tensor in header.tensors]
        with path.open("rb") as file:
            entries = []
            for key, (start, end) in first.extents.items():
                if key not in {_NUMBER, _COUNT, _TENSORS}:
                    file.seek(start)
                    entries.append(file.read(end - start))
        index = 0
        with output.open("wb") as out:
            out.write(copied_header(entries, tensors, first.alignment))
            for part, header in parts:
                with part.open("rb") as file:
                    for tensor in header.tensors:
                        _copy(file, header.data_offset + tensor.offset, tensor.size, out)
                        out.write(bytes(padding(tensor.size, first.alignment)))
                        index += 1
                        progress(tensor.name, index, len(tensors))
