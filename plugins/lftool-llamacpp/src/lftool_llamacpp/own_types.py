"""The type of every converted tensor: its own where GGUF can hold it; and no value that its type cannot hold.

llama.cpp's scripts give all matrices one type (`ftype`), but for those that they keep in F32, or in another type, for reasons
of their own. They read `ftype` anew for every tensor, so that here it follows the tensor.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from lftool.api import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLOATS = {"F16": "F16", "BF16": "BF16", "F32": "F32", "F64": "F32"}
_TORCH = {"torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float32": "F32", "torch.float64": "F64"}
_FILE_TYPES = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "BF16": "MOSTLY_BF16"}
# From here on, values of F32 are rounded to infinity.
_MOST_F16, _MOST_BF16 = 65520.0, 3.3961e38


def own_type(types: set[str]) -> str:
    """Return the type that holds all values of tensors of `types`, as safetensors names them.

    What is quantised, such as F8, becomes BF16, as llama.cpp's scripts take it apart.
    """
    if not types or types - _FLOATS.keys():
        return "BF16" if types else "F32"
    kept = {_FLOATS[kind] for kind in types}
    return kept.pop() if len(kept) == 1 else "F32"


def _sources(tensor: Any, seen: set[int]) -> Iterator[str]:  # noqa: ANN401 - what the scripts compute with
    """Yield the types of the stored tensors that a lazy one is made of, by its tree of arguments."""
    if id(tensor) in seen:
        return
    seen.add(id(tensor))
    if isinstance(tensor, list | tuple):
        for item in tensor:
            yield from _sources(item, seen)
    elif isinstance(getattr(tensor, "dtype", None), str):  # gguf.utility.LocalTensor: one of a file
        yield tensor.dtype
    elif "_args" in getattr(tensor, "__dict__", {}) and tensor._args:  # gguf.LazyBase  # noqa: SLF001
        yield from _sources(tensor._args, seen)  # noqa: SLF001
    elif (
        str(getattr(tensor, "dtype", "")) in _TORCH and getattr(tensor, "ndim", 0) > 1
    ):  # a matrix that is there already
        yield _TORCH[str(tensor.dtype)]


class OwnTypes:
    """Gives each tensor of a model of the scripts its own type, and checks values, in a `with` block.

    Attributes:
        name: The tensor that is being converted or written, by its name in GGUF.

    Args:
        keep: Whether tensors keep their types; else the model's type is theirs.
    """

    def __init__(self, *, keep: bool) -> None:
        self.name = ""
        self._exact: dict[str, str] = {}
        self._chosen: Counter[str] = Counter()
        self._keep = keep
        self._model: Any = None
        self._quantize: Any = None

    def __enter__(self) -> Self:
        """Have the scripts refuse to round a finite value to infinity, which they do without a word."""
        import gguf  # noqa: PLC0415 - the scripts' own

        quants: Any = gguf.quants
        self._quantize, quants.quantize = quants.quantize, self._checked
        return self

    def __exit__(self, *_: object) -> None:
        import gguf  # noqa: PLC0415 - the scripts' own

        quants: Any = gguf.quants
        quants.quantize = self._quantize

    def watch(self, model: Any) -> None:  # noqa: ANN401 - the scripts' own
        """Watch over a model that has not prepared its tensors yet."""
        self._model = model
        self._modify, model.modify_tensors = model.modify_tensors, self._modified
        self._forced, model.tensor_force_quant = model.tensor_force_quant, self._force

    def _modified(self, data: Any, name: str, bid: int | None) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
        for new_name, tensor in self._modify(data, name, bid):
            self.name = new_name
            self._exact[new_name] = own_type(set(_sources(tensor, set())))
            if len(tensor.shape) > 1:
                size = 1
                for length in tensor.shape:
                    size *= length
                self._chosen[self._exact[new_name]] += size
            yield new_name, tensor

    def _force(self, name: str, new_name: str, bid: int | None, n_dims: int) -> Any:  # noqa: ANN401 - the scripts' own
        if self._keep:
            self._model.ftype = _file_type(self._exact[new_name])
        return self._forced(name, new_name, bid, n_dims)

    def finish(self) -> None:
        """Name the file's type by the type of most values in matrices; the wider one of two."""
        if self._keep and self._model.ftype in {_file_type(kind) for kind in _FILE_TYPES}:  # not one of FP4
            order = ("F16", "BF16", "F32")
            self._model.ftype = _file_type(max(order, key=lambda kind: (self._chosen[kind], order.index(kind))))

    def _checked(self, data: Any, kind: Any) -> Any:  # noqa: ANN401 - arrays, or lazy ones
        import gguf  # noqa: PLC0415 - the scripts' own
        import numpy as np

        name, quantize, kinds = self.name, self._quantize, gguf.GGMLQuantizationType
        most = {kinds.F16: _MOST_F16, kinds.BF16: _MOST_BF16}
        if kind not in most or data.dtype != np.float32 or self._exact.get(name) == kind.name:
            return quantize(data, kind)

        def made(array: Any) -> Any:  # noqa: ANN401 - an array
            _require_fits(name, array, most[kind], kind.name)
            return quantize(array, kind)

        if not isinstance(data, gguf.LazyNumpyTensor):
            return made(data)
        meta = quantize(data, kind)
        return gguf.LazyNumpyTensor(meta=meta._meta, args=(data,), func=made)  # noqa: SLF001


def _file_type(kind: str) -> Any:  # noqa: ANN401 - gguf.LlamaFileType
    import gguf  # noqa: PLC0415 - the scripts' own

    return gguf.LlamaFileType[_FILE_TYPES[kind]]


def _require_fits(name: str, before: Any, most: float, kind: str) -> None:  # noqa: ANN401 - NumPy arrays
    import numpy as np

    finite = np.abs(before[np.isfinite(before)])
    if finite.size and float(finite.max()) >= most:
        flat = before.ravel()
        value = float(flat[int(np.argmax(np.where(np.isfinite(flat), np.abs(flat), 0)))])
        fits = 'intermediate = "bf16" or "f32"' if kind == "F16" else 'intermediate = "f32"'
        raise RecipeError(
            f"tensor {name} has the value {value:g}, which {kind} cannot hold",
            hints=(f"under [model], set {fits}, or leave it out: then every tensor keeps its type",),
        )
