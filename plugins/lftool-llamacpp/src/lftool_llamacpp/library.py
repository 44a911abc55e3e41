"""Call `llama_model_quantize` through ctypes: parameters in, log lines out."""

from __future__ import annotations

import ctypes
import re
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import FormatError, RecipeError, TensorType
from lftool.api.gguf import GGML_TYPES
from lftool_llamacpp.engine import llama_cpp
from lftool_llamacpp.engine_log import EngineLog
from lftool_llamacpp.requantizing import REQUANTIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A progress line of llama-quant.cpp: `[   1/  30]  token_embd.weight - [256, 768, 1, 1], type = f16, …`; a dry run
# ends it with the new type in parentheses when the type changes.
_TENSOR_LINE = re.compile(r"\[ *(\d+)/ *(\d+)\] (.+?) +- \[[^\]]*\], type = +(\S+), (.*)")
_NEW_TYPE = re.compile(r"\((\w+)\)\s*\Z")
# What it says of a tensor whose rows the type's blocks do not divide, before it looks for another type.
_ODD_ROWS = re.compile(r"warning: (.+?) +- ncols ")
_FUNCTIONS = re.compile(r"\A\w+: (failed to quantize: )?")
_PATTERN_CHARACTERS = re.compile(r"([.^$|()\[\]{}*+?\\])")


@frozen(kw_only=True)
class QuantizeCall:
    """Parameters of one call; the file type by number, overrides by exact tensor name."""

    file_type: int
    overrides: tuple[TensorType, ...] = ()
    imatrix: Mapping[str, array[float]] | None = None
    allow_requantize: bool = False
    pure: bool = False
    leave_output_tensor: bool = False
    output_tensor_type: str | None = None
    token_embedding_type: str | None = None
    prune_layers: tuple[int, ...] = ()
    dry_run: bool = False
    threads: int = 1


@frozen(kw_only=True)
class TensorLine:
    """One tensor, as llama.cpp reports it: position, count, name and the type that it gets (in a dry run)."""

    index: int
    count: int
    name: str
    type: str


class _Progress:
    """Reads llama.cpp's log of a quantisation.

    Attributes:
        last: The tensor that it spoke of last.
    """

    def __init__(self, on_tensor: Callable[[TensorLine], None]) -> None:
        self._on_tensor = on_tensor
        self.last = ""

    def take(self, line: str) -> None:
        """Take a line that is no error."""
        match, odd = _TENSOR_LINE.match(line), _ODD_ROWS.match(line)
        if match:
            changed = _NEW_TYPE.search(match[5])
            kind = (changed[1] if changed else match[4]).upper()
            self.last = match[3].strip()
            self._on_tensor(TensorLine(index=int(match[1]), count=int(match[2]), name=self.last, type=kind))
        elif odd:
            self.last = odd[1]


def _override_array(overrides: tuple[TensorType, ...]) -> Any:  # noqa: ANN401 - a ctypes array of a type made at run time
    """Anchored patterns: llama.cpp searches with them, so a bare name would hit longer ones too."""
    array = (llama_cpp.llama_model_tensor_override * (len(overrides) + 1))()
    for entry, override in zip(array, overrides, strict=False):
        entry.pattern = b"^" + _PATTERN_CHARACTERS.sub(r"\\\1", override.tensor).encode() + b"$"
        entry.type = GGML_TYPES[override.type].number
    return array


def _imatrix_array(imatrix: Mapping[str, array[float]]) -> Any:  # noqa: ANN401 - as above
    array = (llama_cpp.llama_model_imatrix_data * (len(imatrix) + 1))()
    for entry, name in zip(array, sorted(imatrix), strict=False):
        entry.name = name.encode()
        entry.data = (ctypes.c_float * len(imatrix[name])).from_buffer(imatrix[name])
        entry.size = len(imatrix[name])
    return array


def quantize_file(source: Path, output: Path, call: QuantizeCall, on_tensor: Callable[[TensorLine], None]) -> None:
    """Quantise `source` into `output`, or only report what would be made in a dry run.

    Raises:
        RecipeError: llama.cpp refuses the combination; the message is its own.
        FormatError: llama.cpp cannot read the weights.
    """
    progress = _Progress(on_tensor)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = call.file_type
    parameters.nthread = call.threads
    parameters.allow_requantize = call.allow_requantize
    parameters.pure = call.pure
    parameters.quantize_output_tensor = not call.leave_output_tensor
    if call.output_tensor_type is not None:
        parameters.output_tensor_type = GGML_TYPES[call.output_tensor_type].number
    if call.token_embedding_type is not None:
        parameters.token_embedding_type = GGML_TYPES[call.token_embedding_type].number
    parameters.dry_run = call.dry_run
    keep = [_override_array(call.overrides), _imatrix_array(call.imatrix or {})]
    if call.prune_layers:
        layers = (ctypes.c_int32 * (len(call.prune_layers) + 1))(*sorted(call.prune_layers), -1)
        keep.append(layers)
        parameters.prune_layers = layers
    if call.overrides:
        parameters.tt_overrides = keep[0]
    if call.imatrix:
        parameters.imatrix = keep[1]
    with EngineLog(progress.take) as log:
        status = llama_cpp.llama_model_quantize(str(source).encode(), str(output).encode(), ctypes.byref(parameters))
    if status == 0 and any("will require an imatrix" in line for line in log.lines):
        raise RecipeError(
            "this file type needs an importance matrix",
            hints=("name one under [model] imatrix, or choose another type",),
        )
    if status != 0:
        why = "; ".join(log.errors) or f"status {status}"
        if "requantizing" in why:
            raise RecipeError(
                f"the weights are quantised already: {why}",
                hints=REQUANTIZE,
            )
        at = f" (tensor {progress.last})" if progress.last and progress.last not in why else ""
        why = _FUNCTIONS.sub("", why)
        raise FormatError(f"llama.cpp cannot quantise the weights: {why}{at}")
