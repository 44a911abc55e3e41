"""The quantizer: llama.cpp's own code, which has the semantics `ggml-q/1` when built without contraction."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import RecipeError, TensorType, ToolIdentity, TransformPlan, UnavailableError
from lftool.api.gguf import (
    FILE_TYPES,
    MixtureOptions,
    check_coverage,
    read_gguf,
    read_imatrix,
    write_probe_imatrix,
    write_probe_model,
)
from lftool_llamacpp.requantizing import REQUANTIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lftool.api import InputFile, TransformSpec
    from lftool.api.gguf import GGUFHeader
    from lftool_llamacpp.library import QuantizeCall, TensorLine

_LIBRARIES = ("libllama", "libggml")


@frozen(kw_only=True)
class Options(MixtureOptions):
    """`options` of a target that this quantizer makes."""

    allow_requantize: bool = field(default=False, metadata={"doc": "Quantise weights that are quantised already."})


def _refuse_quantised(header: GGUFHeader, planned: Iterable[TensorType]) -> None:
    """Raise RecipeError if a tensor that is quantised already is to change; a dry run of llama.cpp does not look."""
    types = {item.tensor: item.type for item in planned}
    for tensor in header.tensors:
        if tensor.type.block_elements > 1 and types.get(tensor.name, tensor.type.name) != tensor.type.name:
            raise RecipeError(
                f"the weights are quantised already: tensor {tensor.name} is {tensor.type.name}",
                hints=REQUANTIZE,
            )


class LlamaCppQuantizer:
    """Calls `llama_model_quantize` of the installed llama-cpp-python."""

    def tool(self) -> ToolIdentity:
        """Return version and shared libraries of llama-cpp-python, without importing it."""
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.origin is None:
            raise UnavailableError(
                "llama-cpp-python is not installed",
                hints=("pip install llama-cpp-python, built with -ffp-contract=off: lftool help install",),
            )
        folder = Path(spec.origin).parent / "lib"
        real = {path.resolve() for path in folder.iterdir() if path.name.startswith(_LIBRARIES)}
        return ToolIdentity(version=metadata.version("llama-cpp-python"), files=tuple(sorted(real)))

    def _call(
        self, spec: TransformSpec, inputs: Mapping[str, InputFile], threads: int, *, dry_run: bool
    ) -> QuantizeCall:
        from lftool_llamacpp.library import QuantizeCall  # noqa: PLC0415 - heavy, child processes only

        options = spec.options or Options()
        return QuantizeCall(
            file_type=FILE_TYPES[spec.produces],
            overrides=spec.overrides,
            imatrix=read_imatrix(inputs["imatrix"].path) if "imatrix" in inputs else None,
            allow_requantize=options.allow_requantize,
            pure=options.pure,
            leave_output_tensor=options.leave_output_tensor,
            output_tensor_type=options.output_tensor_type,
            token_embedding_type=options.token_embedding_type,
            dry_run=dry_run,
            threads=threads,
        )

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write the fixed model, and its importance matrix where one is used."""
        found = {"weights": folder / "weights.gguf"}
        write_probe_model(found["weights"])
        if use.endswith("+imatrix"):
            found["imatrix"] = folder / "imatrix.gguf"
            write_probe_imatrix(found["imatrix"])
        return found

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return the type of every tensor, from a dry run of llama.cpp itself."""
        from lftool_llamacpp.library import quantize_file  # noqa: PLC0415 - heavy, child processes only

        tensors: list[TensorType] = []

        def collect(line: TensorLine) -> None:
            tensors.append(TensorType(tensor=line.name, type=line.type))

        call = self._call(spec, inputs, 1, dry_run=True)
        quantize_file(inputs["weights"].path, Path("never-written"), call, collect)
        with inputs["weights"].path.open("rb") as file:
            header = read_gguf(file, inputs["weights"].artifact.size, "the weights")
        if not call.allow_requantize:
            _refuse_quantised(header, tensors)
        if call.imatrix is not None:
            check_coverage(header, tensors, call.imatrix, spec.produces)
        return TransformPlan(
            parameters=(spec.options or Options()).parameters(
                spec, imatrix="imatrix" in inputs, allow_requantize=call.allow_requantize
            ),
            tensors=tuple(tensors),
        )

    def run(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the quantised weights."""
        from lftool_llamacpp.library import quantize_file  # noqa: PLC0415 - heavy, child processes only

        call = self._call(spec, inputs, threads, dry_run=False)
        quantize_file(inputs["weights"].path, output, call, lambda line: progress(line.name, line.index, line.count))
