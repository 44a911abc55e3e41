"""The quantizer: semantics `ggml-q/1`, and the mixtures of `ggml-mix/1`, in kernels of our own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from lftool.api import RecipeError, ToolIdentity, TransformPlan
from lftool.api.gguf import (
    FILE_TYPES,
    GGML_TYPES,
    MixtureOptions,
    check_coverage,
    read_gguf,
    read_imatrix,
    write_probe_imatrix,
    write_probe_model,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    from lftool.api import Arithmetic, Artifact, DeriveRequest, DeriveResult, InputFile, TensorType, TransformSpec
    from lftool.api.gguf import GGUFHeader
    from lftool_strict.stream import AnyKernels

OFFERED = tuple(FILE_TYPES)


def _check_kernels(header: GGUFHeader, types: Sequence[TensorType]) -> None:
    """Raise RecipeError unless every tensor that is to change can be made what is planned."""
    from lftool_strict.kernels.registry import FLOATS, KERNELS  # noqa: PLC0415 - heavy, child processes only

    tensors = {tensor.name: tensor for tensor in header.tensors}
    for item in types:
        source = tensors[item.tensor].type.name
        if source == item.type:
            continue
        if any(length != 1 for length in tensors[item.tensor].dimensions[3:]):
            raise RecipeError(
                f"tensor {item.tensor} has four dimensions, which llama.cpp does not quantise",
                hints=("keep its type under `overrides`",),
            )
        if source not in FLOATS:
            already = GGML_TYPES[source].block_elements > 1
            raise RecipeError(
                f"the weights are quantised already: tensor {item.tensor} is {source}"
                if already
                else f"tensor {item.tensor} is {source}, which cannot be quantised",
                hints=(
                    "pack them as they are: leave out `quantize` in the target",
                    "or start from F16, BF16 or F32 weights",
                    'or quantise them again: quantizer = "llama.cpp" and options = { allow_requantize = true }',
                ),
            )
        if item.type not in KERNELS and item.type not in FLOATS:
            raise RecipeError(
                f"the quantizer 'strict' has no kernel for {item.type}, the planned type of tensor {item.tensor}",
                hints=('set quantizer = "llama.cpp" in the target', f"types: {', '.join((*KERNELS, *FLOATS))}"),
            )


def _check_importance(header: GGUFHeader, types: Sequence[TensorType], imatrix: Mapping[str, array[float]]) -> None:
    """Raise RecipeError if a tensor becomes a type that needs importance, and has none.

    `check_coverage` leaves embeddings and the output matrix out, since mixtures never give them such a type.
    """
    from lftool_strict.kernels.registry import KERNELS  # noqa: PLC0415 - heavy, child processes only

    sources = {tensor.name: tensor.type.name for tensor in header.tensors}
    for item in types:
        kernel = KERNELS.get(item.type)
        if kernel is None or kernel.plain or item.tensor in imatrix or sources[item.tensor] == item.type:
            continue
        raise RecipeError(
            f"tensor {item.tensor} becomes {item.type}, which needs an importance matrix that covers it",
            hints=(
                "give it another type under `overrides`",
                "or measure a matrix that covers it: llama-imatrix --process-output",
            ),
        )


class StrictQuantizer:
    """Makes what `llama_model_quantize` makes, byte for byte."""

    def tool(self) -> ToolIdentity:
        """Return the versions of this plugin and of llvmlite, and the library that compiles the kernels."""
        from importlib import metadata  # noqa: PLC0415 - slow to import, and child processes do not need it

        spec = importlib.util.find_spec("llvmlite")
        folder = Path(spec.origin).parent / "binding" if spec and spec.origin else Path()
        files = sorted(path for path in folder.glob("*llvmlite*") if path.is_file())
        version = f"{metadata.version('lftool-strict')} with llvmlite {metadata.version('llvmlite')}"
        return ToolIdentity(version=version, files=tuple(files))

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write the fixed model, and its importance matrix where one is used."""
        found = {"weights": folder / "weights.gguf"}
        write_probe_model(found["weights"])
        if use.endswith("+imatrix"):
            found["imatrix"] = folder / "imatrix.gguf"
            write_probe_imatrix(found["imatrix"])
        return found

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return the type of every tensor, if there are kernels for all of them.

        Raises:
            RecipeError: There is no kernel for a type, the weights are quantised already, or a type needs an importance
                matrix.
            FormatError: The importance matrix was measured with another model.
        """
        weights = inputs["weights"]
        imatrix = read_imatrix(inputs["imatrix"].path) if "imatrix" in inputs else None
        with weights.path.open("rb") as file:
            header = read_gguf(file, weights.artifact.size, "the weights")
            types = self._types(spec, file, header, measured=bool(imatrix))
        _check_kernels(header, types)
        check_coverage(header, types, imatrix, spec.produces)
        _check_importance(header, types, imatrix or {})
        options = spec.options or MixtureOptions()
        return TransformPlan(
            parameters=options.parameters(spec, imatrix="imatrix" in inputs),
            tensors=types,
        )

    def _types(
        self, spec: TransformSpec, file: BinaryIO, header: GGUFHeader, *, measured: bool
    ) -> tuple[TensorType, ...]:
        """Return the types that another quantizer chose, else those of `ggml-mix/1`."""
        from lftool_strict.mixture.choose import Request, choose  # noqa: PLC0415 - child processes only
        from lftool_strict.mixture.model import model_of  # noqa: PLC0415 - as above

        if spec.types:
            return spec.types
        options = spec.options or MixtureOptions()
        request = Request(
            file_type=spec.produces,
            imatrix=measured,
            overrides={item.tensor: item.type for item in spec.overrides},
            pure=options.pure,
            leave_output=options.leave_output_tensor,
            output=options.output_tensor_type,
            embedding=options.token_embedding_type,
        )
        return choose(model_of(file, header), header.tensors, request)

    def run(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the quantised weights."""
        self.quantise(spec, inputs, output, threads, progress)

    def quantise(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
        kernels: AnyKernels | None = None,
        slab_weights: int | None = None,
    ) -> None:
        """Write the quantised weights with any kernels.

        Args:
            spec: What to make.
            inputs: Role to file.
            output: Path to write.
            threads: How many slabs to treat at a time.
            progress: Called as progress(tensor, index, count).
            kernels: This processor's by default.
            slab_weights: How many weights a slab has; as suits a processor by default.
        """
        from lftool_strict.feed import FileFeed, PipeFeed  # noqa: PLC0415 - heavy, child processes only
        from lftool_strict.header import quantised_header  # noqa: PLC0415 - heavy, child processes only
        from lftool_strict.slabs import SLAB_WEIGHTS, plan_work  # noqa: PLC0415 - as above
        from lftool_strict.stream import stream  # noqa: PLC0415 - as above

        imatrix = read_imatrix(inputs["imatrix"].path) if "imatrix" in inputs else None
        weights = inputs["weights"]
        with weights.path.open("rb") as source, output.open("wb") as file:
            header = read_gguf(source, weights.artifact.size, "the weights")
            types = self._types(spec, source, header, measured=bool(imatrix))
            head = quantised_header(source, header, types, FILE_TYPES[spec.produces])
            work = plan_work(header, types, len(head), imatrix, slab_weights or SLAB_WEIGHTS)
            if weights.pipe is None:
                feed = FileFeed(source.fileno(), work.slabs)
                stream(work, head, feed, file.fileno(), threads, progress, kernels)
                return
            with weights.pipe.open("rb", buffering=0) as pipe:
                piped = PipeFeed(pipe.fileno(), work.slabs, threads)
                stream(work, head, piped, file.fileno(), threads, progress, kernels)

    def arithmetics(self, types: Sequence[str], *, importance: bool) -> tuple[Arithmetic, ...]:
        """Return the arithmetics that it can compare tensors of some types with."""
        from lftool_strict.arithmetics import arithmetics_for  # noqa: PLC0415 - only those who need it load it

        return arithmetics_for(types, important=importance)

    def derive(self, request: DeriveRequest, threads: int) -> DeriveResult:
        """Compare a tensor with what a base's tensor becomes."""
        from lftool_strict.deriving import derive  # noqa: PLC0415 - only those who need it load it

        return derive(request, threads)

    def derived_header(self, base: Path, types: Sequence[TensorType], file_type: int) -> Artifact:
        """Return digest and size of the header of a file that `run` makes."""
        from lftool.api import Artifact  # noqa: PLC0415 - only those who need it load it
        from lftool_strict.header import quantised_header  # noqa: PLC0415 - heavy, child processes only

        with base.open("rb") as source:
            header = read_gguf(source, base.stat().st_size, "the base")
            return Artifact.of(quantised_header(source, header, types, file_type))
