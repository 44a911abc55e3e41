"""What locking tells of a plan: weights that are quantised again, that become larger, or that stay as they are."""

from __future__ import annotations

from attrs import field, frozen

from lftool.api import Notice, TensorType, TransformPlan
from lftool.formats.ggml_types import GGML_TYPES
from lftool.formats.gguf_read import GGUFTensor
from lftool.pipeline.stages.outcomes import tell_outcome


@frozen
class Ports:
    """Keeps what is told."""

    told: list[Notice] = field(factory=list)

    def emit(self, event: Notice) -> None:
        self.told.append(event)


@frozen
class Header:
    """The tensors of a header."""

    tensors: tuple[GGUFTensor, ...]


def told(before: str, after: str) -> list[tuple[str, bool]]:
    kind = GGML_TYPES[before]
    size = 256 * 4096 // kind.block_elements * kind.block_bytes
    header = Header((GGUFTensor(name="a", dimensions=(256, 4096), type=kind, offset=0, size=size),))
    ports = Ports()
    plan = TransformPlan(parameters={}, tensors=(TensorType(tensor="a", type=after),))
    tell_outcome("q", after, header, plan, ports)
    return [(notice.text, notice.warning) for notice in ports.told]


def test_nothing_is_said_of_weights_that_are_quantised_once() -> None:
    assert told("F16", "Q4_K") == []


AGAIN = (
    "targets.q: the weights are already quantised (Q4_1); quantising them again costs more quality than starting from unquantised"
    " weights. To pack them as they are, leave out `quantize`"
)


def test_quantising_again_is_a_warning() -> None:
    assert told("Q4_1", "Q4_K") == [(AGAIN, True)]


def test_weights_that_become_larger_are_a_warning() -> None:
    assert told("Q4_1", "Q8_0") == [(AGAIN, True), ("targets.q: the weights become larger, 0.7 MB → 1.1 MB", True)]


def test_a_file_type_that_changes_nothing_is_said() -> None:
    assert told("Q8_0", "Q8_0") == [("targets.q: all tensors have their types already; Q8_0 changes nothing", False)]
