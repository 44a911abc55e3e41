"""What a comparison with a base came to, and the verdict that follows from it. Pure.

"Does not reproduce" is not "tampered": compilers contract multiplications and additions, and publishers use quantisers of
their own. The verdict says what was found, and leaves the rest to the reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from lftool.api import Distance, Fit
from lftool.models.digest import Digest

Verdict = Literal[
    "identical file",
    "identical tensors",
    "mixed arithmetics",
    "consistent with rounding",
    "not consistent with rounding",
    "not derived from this base",
    "cannot be told",
]

# How far blocks of contracted builds are from uncontracted ones, and against the base, at most: measured on a model of
# 2 million weights, up to two levels of a grid, 1.3 levels of a scale, and 1.13 times the error. docs/explanation/arithmetics.md
_LEVELS = 2.0001  # decoded in binary64: a level may come out a little larger
_WORSE = 1.25
_UNRELATED = 0.7  # distance from the base, over its norm, that no quantiser of weights comes to
_FEW = 10  # one in so many tensors are few


@frozen(kw_only=True)
class Subject:
    """A file that a verdict is about.

    Attributes:
        name: Its name.
        sha256: Its digest; None if it was not read whole and nobody states it.
        size: Its size in bytes, if known.
        stated: Whether the digest is what its source states, instead of computed here.
    """

    name: str
    sha256: Digest | None
    size: int | None
    stated: bool = False


@frozen(kw_only=True)
class TensorProof:
    """One tensor, compared.

    Attributes:
        name: Its name.
        type: Its type.
        base_type: The type of the base's.
        blocks: How many blocks it has.
        importance: Whether an importance matrix would change what is made.
        fits: How each arithmetic fits.
        distance: How far it is; None if one fits.
        reason: Why it could not be compared; empty if it was.
    """

    name: str
    type: str
    base_type: str
    blocks: int = 0
    importance: bool = False
    fits: tuple[Fit, ...] = ()
    distance: Distance | None = None
    reason: str = ""

    @property
    def equal(self) -> bool:
        """Whether an arithmetic makes it."""
        return any(fit.fits for fit in self.fits)

    @property
    def fitting(self) -> frozenset[str]:
        """The arithmetics that make it."""
        return frozenset(fit.arithmetic for fit in self.fits if fit.fits)

    @property
    def best(self) -> Fit | None:
        """The arithmetic that comes closest."""
        return min(self.fits, key=lambda fit: (fit.differing / max(1, fit.compared), -fit.compared), default=None)

    @property
    def rounding(self) -> bool:
        """Whether another rounding could have made it: no block that was looked at is further off, or worse."""
        found = self.distance
        return found is None or (found.levels <= _LEVELS and found.worse <= _WORSE)


@frozen(kw_only=True)
class HeaderDiff:
    """The header, against the one that quantising the base gives.

    Attributes:
        identical: Whether every byte is the same; None if that was not compared.
        added: Keys that only the file has, with their values.
        removed: Keys that only the base has.
        changed: Key to both values: the base's, the file's.
    """

    identical: bool | None = None
    added: Mapping[str, Any] = field(factory=dict)
    removed: Mapping[str, Any] = field(factory=dict)
    changed: Mapping[str, tuple[Any, Any]] = field(factory=dict)


@frozen(kw_only=True)
class Guess:
    """How the file seems to be made.

    Attributes:
        file_type: Name of its file type; None if no file type explains its types.
        overrides: Tensors whose types differ from those of the file type.
        through: Type that the base's weights were rounded to first; empty for none.
        imatrix: Whether its metadata names an importance matrix.
        imatrix_file: The name of that file, as its maker typed it.
        matrix_used: Whether the given importance matrix fits, and not its absence.
    """

    file_type: str | None = None
    overrides: Mapping[str, str] = field(factory=dict)
    through: str = ""
    imatrix: bool = False
    imatrix_file: str = ""
    matrix_used: bool = False


@frozen(kw_only=True)
class Hypothesis:
    """A way that the file could be made, and how it fared on sampled rows."""

    through: str
    imatrix: bool
    differing: int
    compared: int


@frozen(kw_only=True)
class Proof:
    """What was found.

    Attributes:
        file: The file.
        base: Its claimed base.
        imatrix: The importance matrix that was given.
        kernels: What computed: semantics, plugin, version, digest of the plugin.
        guess: How it seems to be made.
        hypotheses: What was tried on sampled rows.
        header: How the header differs.
        tensors: Every tensor that both have.
        extra: Tensors that the base lacks.
        missing: Tensors that the file lacks.
        reshaped: Tensors of other shapes.
        mismatch: Why it cannot derive from this base, before any arithmetic; empty if it can.
        fetched: Bytes that came over the network.
    """

    file: Subject
    base: Subject
    imatrix: Subject | None = None
    kernels: Mapping[str, str] = field(factory=dict)
    guess: Guess = field(factory=Guess)
    hypotheses: tuple[Hypothesis, ...] = ()
    header: HeaderDiff = field(factory=HeaderDiff)
    tensors: tuple[TensorProof, ...] = ()
    extra: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    mismatch: str = ""
    fetched: int = 0

    @property
    def arithmetics(self) -> tuple[str, ...]:
        """The arithmetics that make every tensor, in the order in which they were asked for."""
        if not self.tensors:
            return ()
        common = frozenset.intersection(*(item.fitting for item in self.tensors))
        return tuple(fit.arithmetic for fit in self.tensors[0].fits if fit.arithmetic in common)

    @property
    def differing(self) -> tuple[TensorProof, ...]:
        """The tensors that no arithmetic makes."""
        return tuple(item for item in self.tensors if not item.equal)

    @property
    def unknown_importance(self) -> bool:
        """Whether an importance matrix was used that nobody gave."""
        return self.guess.imatrix and self.imatrix is None

    @property
    def alone(self) -> str:
        """The arithmetic that makes all tensors but a few of many; empty if there is none."""
        count = len(self.tensors)
        for name, fitting in sorted(self.by_arithmetic.items(), key=lambda item: -item[1]):
            if 0 < count - fitting <= max(1, count // _FEW):
                return name
        return ""

    @property
    def by_arithmetic(self) -> dict[str, int]:
        """For each arithmetic, how many tensors it makes."""
        found: dict[str, int] = {}
        for item in self.tensors:
            for fit in item.fits:
                found[fit.arithmetic] = found.get(fit.arithmetic, 0) + fit.fits
        return found

    @property
    def verdict(self) -> Verdict:
        """The verdict."""
        if self.mismatch or self.reshaped:
            return "not derived from this base"
        differing, whole = self.differing, not (self.extra or self.missing)
        if not differing:
            return self._of_equal(whole=whole)
        unrelated = [item for item in differing if item.distance is not None and item.distance.from_base > _UNRELATED]
        compared = [item for item in self.tensors if not item.reason]
        if 2 * len(unrelated) > len(compared):
            return "not derived from this base"
        open_ones = [item for item in differing if item.reason or (item.importance and self.unknown_importance)]
        if len(open_ones) == len(differing) and whole:
            return "cannot be told"
        if all(item.rounding for item in differing if item not in open_ones) and whole:
            return "consistent with rounding"
        return "not consistent with rounding"

    def _of_equal(self, *, whole: bool) -> Verdict:
        if not whole:
            return "not consistent with rounding"
        if not self.tensors:
            return "cannot be told"
        if not self.arithmetics:
            return "mixed arithmetics"
        return "identical file" if self.header.identical else "identical tensors"
