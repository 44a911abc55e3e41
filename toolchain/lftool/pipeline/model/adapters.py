"""Check by their headers that a LoRA adapter fits the weights that it travels with.

llama.cpp makes the same check when it loads one (src/llama-adapter.cpp), but by then the bundle is already signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import RecipeError

if TYPE_CHECKING:
    from lftool.formats.gguf_read import GGUFHeader

_A, _B, _NORM = ".lora_a", ".lora_b", "_norm.weight"
_EMBEDDING = "token_embd.weight"  # its two factors are stored in reverse order


def _fits(name: str, base: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    if min(len(base), len(a), len(b)) < 2:  # noqa: PLR2004 - matrices
        return False
    if name.endswith(_EMBEDDING):
        return base[0] == b[1] and base[1] == a[1]
    return base[0] == a[0] and base[1] == b[1] and a[1] == b[0]


def check_adapter(adapter: GGUFHeader, weights: GGUFHeader, source: str) -> None:
    """Raise unless llama.cpp can apply all of an adapter to the weights.

    Args:
        adapter: Header of the adapter.
        weights: Header of the weights, before quantising.
        source: Source of the adapter, for messages.

    Raises:
        RecipeError: It is for another architecture or model, or contains something that llama.cpp ignores.
    """
    what = f"model.lora: the adapter of source {source!r}"
    own, theirs = (header.metadata.get("general.architecture") for header in (adapter, weights))
    if own != theirs:
        raise RecipeError(f"{what} is for models of architecture {own!r}, but the weights are {theirs!r}")
    base = {tensor.name: tensor.dimensions for tensor in weights.tensors}
    factors = {tensor.name: tensor.dimensions for tensor in adapter.tensors}
    names = sorted({name.removesuffix(_A).removesuffix(_B) for name in factors if name.endswith((_A, _B))})
    for name in factors:
        if name.endswith(_NORM):
            raise RecipeError(
                f"{what} holds trained norms ({name}), which llama.cpp ignores: the answers would differ",
                hints=("merge the adapter into its model, and start from that",),
            )
    if not names:
        raise RecipeError(f"{what} changes no tensor")
    for name in names:
        if name not in base:
            raise RecipeError(f"{what} changes {name}, which the weights do not have: it is for another model")
        pair = [factors.get(name + part) for part in (_A, _B)]
        if pair[0] is None or pair[1] is None:
            raise RecipeError(f"{what} has only one of the two factors of {name}")
        if not _fits(name, base[name], pair[0], pair[1]):
            shapes = f"{list(pair[0])} and {list(pair[1])}"
            raise RecipeError(
                f"{what} changes {name} by factors of {shapes}, but the weights have {list(base[name])}:"
                " it is for another model"
            )
