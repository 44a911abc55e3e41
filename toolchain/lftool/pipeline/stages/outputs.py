"""Check that the output of a transform matches its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import FormatError
from lftool.formats.gguf_read import read_gguf

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.api import TransformPlan


def check_output(path: Path, plan: TransformPlan, name: str) -> None:
    """Raise FormatError unless a transform's output is a valid GGUF with exactly the tensors and types of its plan.

    Args:
        path: The output.
        plan: The plan; if it lists no tensors, any are accepted.
        name: Name of the transform.
    """
    what = f"the output of {name}"
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, what)
    made = {tensor.name: tensor.type.name for tensor in header.tensors}
    if not made:
        raise FormatError(f"{what} has no tensors")
    planned = {item.tensor: item.type for item in plan.tensors}
    if not planned:
        return
    wrong = sorted(name for name in made.keys() | planned.keys() if made.get(name) != planned.get(name))
    if wrong:
        name = wrong[0]
        got, expected = (types.get(name, "not there") for types in (made, planned))
        raise FormatError(f"{what}: tensor {name} is {got}, expected {expected}")
