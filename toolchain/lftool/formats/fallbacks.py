"""The result of quantising: bits per weight, and how many tensors took another type than requested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool.formats.ggml_types import GGML_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lftool.formats.gguf_read import GGUFTensor

_OUTPUT, _EMBEDDING = "output.weight", "token_embd.weight"


@frozen(kw_only=True)
class Outcome:
    """The result of a plan.

    Attributes:
        bits: Bits per weight, over all tensors.
        fallen_back: Number of tensors with a type of smaller blocks, since the file type's do not divide their rows.
        tensors: Number of tensors.
        block: Elements per block of the file type.
        changed: Number of tensors that get another type.
        requantized: Types that tensors have which are quantised already, and are quantised again.
        before: Bytes of all tensors in the weights.
        after: Bytes of all tensors in the result.
    """

    bits: float
    fallen_back: int
    tensors: int
    block: int
    changed: int
    requantized: tuple[str, ...]
    before: int
    after: int

    @property
    def sentence(self) -> str:
        """The result, in words."""
        bits = f"{self.bits:.2f} bits a weight"
        if not self.fallen_back:
            return bits
        return f"{bits}, {self.fallen_back} of {self.tensors} tensors fell back"


def _block_of(produces: str) -> int:
    """Return the number of elements in a block of a file type; 1 if it names no GGML type."""
    for name in (produces, produces.rpartition("_")[0]):
        if name in GGML_TYPES:
            return GGML_TYPES[name].block_elements
    return GGML_TYPES["IQ2_S"].block_elements if produces.startswith("IQ") else 1  # mixtures of several


def outcome(tensors: Iterable[GGUFTensor], planned: Mapping[str, str], produces: str) -> Outcome:
    """Return the result of a plan.

    The output matrix, or the embedding that serves as one, never counts as fallen back: llama.cpp types it separately
    (llama-quant.cpp, `llama_tensor_get_type`).

    Args:
        tensors: The tensors of the weights before quantising.
        planned: Tensor to type, by name.
        produces: The requested file type.
    """
    there = list(tensors)
    made = {tensor.name: GGML_TYPES[planned[tensor.name]] for tensor in there if planned.get(tensor.name) in GGML_TYPES}
    changed = [tensor for tensor in there if tensor.name in made and made[tensor.name] != tensor.type]
    block = _block_of(produces)
    names = {tensor.name for tensor in there}
    output = _OUTPUT if _OUTPUT in names else _EMBEDDING
    fallen = [
        tensor
        for tensor in changed
        if tensor.name != output and tensor.dimensions[0] % block and 1 < made[tensor.name].block_elements < block
    ]
    elements = bits = 0
    for tensor in there:
        kind = made.get(tensor.name, tensor.type)
        count = tensor.size // tensor.type.block_bytes * tensor.type.block_elements
        elements += count
        bits += count // kind.block_elements * kind.block_bytes * 8
    again = {tensor.type.name for tensor in changed if tensor.type.block_elements > 1}
    return Outcome(
        bits=bits / elements if elements else 0.0,
        fallen_back=len(fallen),
        tensors=len(there),
        block=block,
        changed=len(changed),
        requantized=tuple(sorted(again)),
        before=sum(tensor.size for tensor in there),
        after=bits // 8,
    )
