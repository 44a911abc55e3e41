"""Messages about quantising a target: which one failed, and the resulting tensor types."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.api import Notice
from lftool.errors import FormatError, RecipeError
from lftool.formats.fallbacks import outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import TransformPlan
    from lftool.api.gguf import GGUFHeader
    from lftool.pipeline.ports import Ports


@contextlib.contextmanager
def of_target(target: str) -> Iterator[None]:
    """Make errors about a recipe or weights name the target."""
    try:
        yield
    except (RecipeError, FormatError) as error:
        if not error.message.startswith(("targets.", "lftool.toml")):
            error.message = f"targets.{target}: {error.message}"
            error.args = (error.message,)
        raise


def tell_outcome(target: str, produces: str, header: GGUFHeader, plan: TransformPlan, ports: Ports) -> None:
    """Report what a plan means that its author may not expect.

    Tensors that take another type than the file type's, since its blocks do not divide their rows; tensors that are quantised
    again; weights that become larger, or stay as they are.
    """
    found = outcome(header.tensors, {item.tensor: item.type for item in plan.tensors}, produces)
    if found.fallen_back:
        ports.emit(
            Notice(
                text=f"targets.{target}: {found.fallen_back} of {found.tensors} tensors fall back to larger types, because their rows are"
                f" not a multiple of {found.block}: {found.bits:.2f} bits a weight"
            )
        )
    if not found.changed:
        ports.emit(Notice(text=f"targets.{target}: all tensors have their types already; {produces} changes nothing"))
        return
    if found.requantized:
        ports.emit(
            Notice(
                text=f"targets.{target}: the weights are already quantised ({', '.join(found.requantized)}); quantising them again"
                " costs more quality than starting from unquantised weights. To pack them as they are, leave out `quantize`",
                warning=True,
            )
        )
    if found.after > found.before:
        ports.emit(
            Notice(
                text=f"targets.{target}: the weights become larger, {found.before / 1e6:.1f} MB → {found.after / 1e6:.1f} MB",
                warning=True,
            )
        )
