"""Compare the tensors of a file with what its base's become: first a few rows under every hypothesis, then all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import DeriveRequest, RecipeError, TensorBytes, TensorDone
from lftool.formats.ggml_types import GGML_TYPES
from lftool.host.isolated import Deriving
from lftool.ops.models.opened_model import ModelTensor, OpenedModel
from lftool.ops.prove import guess
from lftool.ops.prove.proof import Hypothesis, TensorProof
from lftool.ops.prove.staging import Staging
from lftool.pipeline.ports import Ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_FLOATS = frozenset({"F32", "F16", "BF16"})
_NEEDING = frozenset({"IQ1_S", "IQ2_XXS", "IQ2_XS"})  # types that are only made with an importance matrix
_PICKS = 2  # tensors on which hypotheses are tried
_AHEAD = 2  # tensors that are read ahead

Pair = tuple[ModelTensor, ModelTensor]
Places = tuple[TensorBytes, TensorBytes]


@frozen(kw_only=True)
class Way:
    """How a file may have been made.

    Attributes:
        through: Type that the base's weights were rounded to first; empty for none.
        imatrix: The importance matrix; None without one.
    """

    through: str = ""
    imatrix: Path | None = None


@frozen(kw_only=True)
class Comparing:
    """Both models, open, and what compares them.

    Attributes:
        file: The file in question.
        base: Its base, a GGUF.
        deriving: The plugin's object.
        staging: Brings tensors here.
        arithmetics: Names of those to compare with, the likeliest first.
        imatrix: The importance matrix that was given.
        ports: Threads, events and cancellation.
    """

    file: OpenedModel
    base: OpenedModel
    deriving: Deriving
    staging: Staging
    arithmetics: tuple[str, ...]
    imatrix: Path | None
    ports: Ports

    @property
    def pairs(self) -> list[Pair]:
        """The tensors that both have: the base's, and the file's, in the order of the file."""
        ours = self.base.by_name
        return [(ours[item.name], item) for item in self.file.tensors if item.name in ours]

    def likeliest(self) -> tuple[Way, tuple[Hypothesis, ...]]:
        """Return the way that fits sampled rows best, and what was tried."""
        throughs = guess.intermediates(self.base.tensors, self.file.tensors)
        matrices = (self.imatrix, None) if self.imatrix is not None else (None,)
        ways = [Way(through=through, imatrix=matrix) for matrix in matrices for through in throughs]
        ways = ways[: guess.MOST_HYPOTHESES]
        picked = self._picked() if len(ways) > 1 else []
        if not picked:
            return ways[0], ()
        places = [(self.staging.begin(base)(), self.staging.begin(file)()) for base, file in picked]
        tried = []
        try:
            for way in ways:
                tried.append(self._try(way, list(zip(picked, places, strict=True))))
                if not tried[-1].differing:
                    break
        finally:
            for where in places:
                self.staging.done(*where)
        best = min(range(len(tried)), key=lambda at: tried[at].differing / max(1, tried[at].compared))
        return ways[best], tuple(tried)

    def _try(self, way: Way, picked: Sequence[tuple[Pair, Places]]) -> Hypothesis:
        differing = compared = 0
        for pair, places in picked:
            best = self._compare(pair, places, self.arithmetics, way, sampled=True).best
            differing += 1 if best is None else best.differing
            compared += 1 if best is None else best.compared
        return Hypothesis(through=way.through, imatrix=way.imatrix is not None, differing=differing, compared=compared)

    def _picked(self) -> list[Pair]:
        """Return a tensor of each of the commonest quantised types, to try hypotheses on."""
        sizes: dict[str, int] = {}
        for base, file in self.pairs:
            if base.type in _FLOATS and file.type not in _FLOATS and len(file.dimensions) > 1:
                sizes[file.type] = sizes.get(file.type, 0) + file.size
        kinds = sorted(sizes, key=lambda name: -sizes[name])[:_PICKS]
        return [
            min((pair for pair in self.pairs if pair[1].type == kind), key=lambda pair: pair[1].size) for kind in kinds
        ]

    def all(self, way: Way) -> Iterator[TensorProof]:
        """Yield every tensor, compared: with the arithmetics that fit so far, or with all where none of those does."""
        pairs, left = self.pairs, self.arithmetics
        ahead: list[tuple[Callable[[], TensorBytes], Callable[[], TensorBytes]]] = []
        for number, pair in enumerate(pairs):
            for base, file in pairs[number + len(ahead) : number + _AHEAD]:
                ahead.append((self.staging.begin(base), self.staging.begin(file)))
            waits = ahead.pop(0)
            places = (waits[0](), waits[1]())
            self.ports.check_cancelled()
            found = self._compare(pair, places, left, way)
            rest = [name for name in self.arithmetics if name not in left]
            if rest and not found.equal and not found.reason:
                found = _merged(found, self._compare(pair, places, rest, way), self.arithmetics)
            if found.equal:
                left = tuple(name for name in left if name in found.fitting) or self.arithmetics
            self.staging.done(*places)
            self.ports.emit(
                TensorDone(stage="prove", target=self.file.name, tensor=found.name, index=number + 1, count=len(pairs))
            )
            yield found

    def _compare(
        self, pair: Pair, places: Places, arithmetics: Sequence[str], way: Way, *, sampled: bool = False
    ) -> TensorProof:
        """Compare one tensor."""
        base, file = pair
        plain = TensorProof(name=file.name, type=file.type, base_type=base.type)
        reason = _why_not(base, file, matrix=way.imatrix is not None)
        if reason:
            return attrs.evolve(plain, reason=reason, importance=True)
        rounded = way.through if len(file.dimensions) > 1 and base.type not in {file.type, way.through} else ""
        request = DeriveRequest(
            tensor=file.name,
            dimensions=file.dimensions,
            base=places[0],
            made=places[1],
            through=rounded,
            imatrix=way.imatrix,
            arithmetics=tuple(arithmetics),
            sampled=sampled,
        )
        try:
            found = self.deriving.derive(request, self.ports.threads)
        except RecipeError as error:
            return attrs.evolve(plain, reason=error.message, importance=True)
        return attrs.evolve(
            plain, blocks=found.blocks, importance=found.importance, fits=found.fits, distance=found.distance
        )


def _why_not(base: ModelTensor, file: ModelTensor, *, matrix: bool) -> str:
    """Return why two tensors cannot be compared; empty if they can."""
    if base.type == file.type:
        return ""
    if base.type not in _FLOATS:
        already = base.type in GGML_TYPES and GGML_TYPES[base.type].block_elements > 1
        return f"the base's is {base.type}" + (", which is quantised already" if already else "")
    if file.type in _NEEDING and not matrix:
        return f"{file.type} is made with an importance matrix, and none was given"
    return ""


def _merged(one: TensorProof, other: TensorProof, order: Sequence[str]) -> TensorProof:
    """Return what two comparisons of a tensor found, with different arithmetics."""
    fits = sorted((*one.fits, *other.fits), key=lambda fit: order.index(fit.arithmetic))
    distance = None
    if one.distance is not None and other.distance is not None:
        distance = min(one.distance, other.distance, key=lambda item: item.relative)
    return attrs.evolve(one, fits=tuple(fits), distance=distance)
