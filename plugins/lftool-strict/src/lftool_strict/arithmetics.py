"""The named arithmetics of quantising: what compilers fuse of ggml-quants.c, as options of the same kernels.

A compiler may make one operation of a multiplication and an addition, which rounds once instead of twice. GCC does so
across statements (its default for gnu11 is -ffp-contract=fast), where every use of a product is an addition in the same
basic block; Clang only within an expression (-ffp-contract=on). On AArch64 Clang also leaves sums that it vectorises in
order. Established by compiling the ggml-quants.c of llama-cpp-python 0.3.36 with -O3, reading GCC's
-fdump-tree-widening_mul and Clang's IR, and comparing blocks: GCC 12.2, Clang 14.0, 19.1 and 22.1. See
docs/explanation/arithmetics.md.

A place is a step of a kernel; its first word names the search that it belongs to: `qx` make_qx_quants, `q3` make_q3_quants,
`kx` make_qkx2_quants and make_qkx3_quants, `qp` make_qp_quants, `iq4`, `iq`, `near` (the nearest neighbour), `split` IQ1_S,
`halves` IQ1_M, `block` what belongs to no search. `old` names code that was changed since; see `CHANGES`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import Arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

PLAIN = "ggml-q/1"


@frozen
class Made:
    """What is made: a type, with an importance matrix or without one."""

    type: str
    important: bool


_FUSED = f"{PLAIN}+fma"

# Products that are rounded to a level: `nearest_int(a * b)` and `(int8_t)(a * b + 8.5f)`.
_ROUNDS = frozenset(
    {
        *("qx.first.round", "qx.next.round", "qx.kept.round", "q3.first.round"),
        *("kx.first.round", "kx.next.round", "kx.kept.round"),
        *("qp.first.round", "qp.next.round", "qp.kept.round"),
        *("block.scale", "round"),
    }
)
_QX_FIRST = frozenset({"qx.first.lx", "qx.first.l2"})
_QX_NEXT = frozenset({"qx.next.lx", "qx.next.l2"})
_Q3_FIRST = frozenset({"q3.first.lx", "q3.first.l2"})
_KX_SUMS = frozenset({"kx.l", "kx.l2", "kx.xl"})
_QP_KEPT = frozenset({"qp.kept.lx", "qp.kept.l2"})
_QP_ERRORS = frozenset({"qp.first.error", "qp.next.error"})
_IQ_SUMS = frozenset({"iq.next.qx", "iq.next.q2", "iq.again.qx", "iq.again.q2"})
_SQUARES = frozenset({"squares", "row.squares"})
_COMMON = frozenset(
    {
        *("kx.x", "kx.first.off", "kx.first.error", "kx.next.off", "kx.next.error"),
        *("kx.l2", "kx.xl", "kx.determinant.1", "kx.minimum.1", "kx.numerator"),
        *("qp.first.off", "qp.next.off", *_QP_ERRORS, *_QP_KEPT),
        *("qp.better.lx", "qp.better.l2", "qp.better.new_lx", "qp.better.new_l2"),
        *("q3.better.lx", "q3.better.l2", "q3.better.new_lx", "q3.better.new_l2", *_Q3_FIRST),
        *("iq4.first.qx", "iq4.first.q2", "iq4.next.qx", "iq4.next.q2"),
        *("iq.next.round", "iq.again.round", "iq.block.round", "near.off", "near.sum", *_IQ_SUMS),
        *(
            "split.sum",
            "split.0.qx.3",
            "split.0.q2.3",
            "split.1.qx.3",
            "split.1.q2.3",
            "halves.sum",
            "halves.q2.1",
            "halves.q2.3",
        ),
        *("block.qx", "block.q2"),
        *("root", *_QX_FIRST),
    }
)
_GCC = _COMMON | _ROUNDS | {"kx.scale.2"}
_SPLIT_INNER = frozenset({"split.0.qx.1", "split.0.q2.1", "split.1.qx.1", "split.1.q2.1"})
_CLANG = (
    _COMMON | _SQUARES | _QX_NEXT | _SPLIT_INNER | {"kx.l", "kx.scale.1", "group.squares", "halves.qx", "halves.old"}
)
_CLANG22_ARM64 = (
    _CLANG - (_KX_SUMS | _Q3_FIRST | _QP_ERRORS | _QP_KEPT | _SQUARES | _IQ_SUMS) - {"kx.first.error", "kx.next.error"}
)
# Groups of 32 weights in the searches.
_QX_32 = frozenset({"Q4_0", "Q5_0"})
_IQ_32 = frozenset({"IQ2_XXS", "IQ3_XXS", "IQ3_S", "IQ1_S"})


def _gcc(made: Made) -> frozenset[str]:
    # The candidates of IQ2_XXS are 32: an ordered reduction, whose products are made before.
    return _GCC - ({"qp.next.error"} if made.type == "IQ2_XXS" else frozenset())


def _without_carried(found: frozenset[str], made: Made) -> frozenset[str]:
    """For Zen processors GCC avoids fused additions that a loop carries on (`avoid-fma-max-bits`).

    The groups of Q2_K are 16 weights, which it writes out.
    """
    return found - {"split.sum"} - (frozenset() if made.type == "Q2_K" else {"kx.x"})


def _gcc_zen3(made: Made) -> frozenset[str]:
    return _without_carried(_gcc(made), made) - {"split.0.q2.3"}


def _gcc_avx512(made: Made) -> frozenset[str]:
    """The first eight weights of a group of IQ2_S are rounded in a loop of their own."""
    found = _gcc(made)
    return found - {"iq.next.round"} | {"iq.next.round.late"} if made.type == "IQ2_S" else found


def _gcc_zen4(made: Made) -> frozenset[str]:
    return _without_carried(_gcc_avx512(made), made)


def _gcc_arm64(made: Made) -> frozenset[str]:
    return _gcc(made) | _SQUARES | {"group.squares"}


def _clang14_arm64(made: Made) -> frozenset[str]:
    found = _CLANG - _KX_SUMS - _QP_ERRORS - _QP_KEPT
    found -= _QX_FIRST | _QX_NEXT if made.type in _QX_32 else frozenset()
    found -= {"squares"} if made.type in {"IQ4_NL", "IQ4_XS"} and made.important else frozenset()
    return found - (_IQ_SUMS if made.type in _IQ_32 else frozenset())


def _clang19_arm64(made: Made) -> frozenset[str]:
    found = _CLANG - _KX_SUMS - _QX_FIRST - _SQUARES - {"kx.first.error"}
    found -= _QX_NEXT if made.type in _QX_32 else frozenset()
    if made.type == "IQ2_XXS":
        found -= _QP_KEPT | {"qp.next.error"}
    return found - (_IQ_SUMS if made.type in _IQ_32 else frozenset())


@frozen(kw_only=True)
class Change:
    """A change of ggml-quants.c after which ordinary weights become other blocks.

    Attributes:
        commit: Of llama.cpp.
        date: When it was made.
        types: The types that it is about.
        important: Whether it is about importance matrices only.
        place: What makes a kernel do as the code before.
        unfused: What compilers did not fuse in the code before, but do now.
        variants: The arithmetics that were compared with compilers for the code before.
    """

    commit: str
    date: str
    types: frozenset[str]
    important: bool = False
    place: str
    unfused: frozenset[str] = frozenset()
    variants: tuple[str, ...] = (PLAIN, f"{_FUSED}/gcc-x86-64-v3")


_X86 = (PLAIN, *(f"{_FUSED}/{name}" for name in ("gcc-x86-64-v3", "gcc-x86-64-v4", "gcc-znver4", "clang-x86-64-v3")))
# Found by comparing the functions of every version from 2023-10 to 2026-09, and compiling those before each change.
CHANGES = (
    Change(
        commit="f57fadc00",
        date="2024-02-06",
        types=frozenset({"Q4_K", "Q5_K"}),
        important=True,
        place="old.qp",
        unfused=frozenset({"kx.next.round"}),
    ),
    Change(commit="4c4cb3073", date="2024-02-24", types=frozenset({"IQ3_XXS"}), place="old.fudge"),
    Change(commit="0becb22ac", date="2024-02-27", types=frozenset({"IQ4_NL"}), place="old.levels"),
    Change(commit="f95b0d9539", date="2026-09", types=frozenset({"IQ1_M"}), place="old.split", variants=_X86),
)
_BEFORE = "/before-"

_VARIANTS: dict[str, tuple[str, Callable[[Made], frozenset[str]]]] = {
    PLAIN: (
        "no operation fused: x86-64 builds of llama.cpp since November 2024",
        lambda _: frozenset(),
    ),
    f"{_FUSED}/gcc-x86-64-v3": ("fused as GCC 12 does for x86-64-v3", _gcc),
    f"{_FUSED}/gcc-x86-64-v4": ("fused as GCC does for x86-64-v4 (AVX-512)", _gcc_avx512),
    f"{_FUSED}/gcc-znver3": ("fused as GCC does for AMD Zen without AVX-512", _gcc_zen3),
    f"{_FUSED}/gcc-znver4": ("fused as GCC does for AMD Zen with AVX-512", _gcc_zen4),
    f"{_FUSED}/clang-x86-64-v3": ("fused as Clang 14 to 22 do for x86-64-v3", lambda _: _CLANG),
    f"{_FUSED}/gcc-arm64": ("fused as GCC does for AArch64", _gcc_arm64),
    f"{_FUSED}/clang14-arm64": ("fused as Clang 14 does for AArch64", _clang14_arm64),
    f"{_FUSED}/clang19-arm64": ("fused as Clang 19 does for AArch64", _clang19_arm64),
    f"{_FUSED}/clang22-arm64": ("fused as Clang 22 does for AArch64", lambda _: _CLANG22_ARM64),
}


def arithmetics_for(types: Collection[str], *, important: bool) -> tuple[Arithmetic, ...]:
    """Return the arithmetics to compare a file with; those of older code only where it has a type that they differ in.

    Args:
        types: The types of its tensors.
        important: Whether there is an importance matrix.
    """
    found = [Arithmetic(name=name, title=title) for name, (title, _) in _VARIANTS.items()]
    for change in CHANGES:
        if change.types.isdisjoint(types) or (change.important and not important):
            continue
        found += [
            Arithmetic(name=f"{name}{_BEFORE}{change.commit}", title=f"{title}; llama.cpp before {change.date}")
            for name, title in ((name, _VARIANTS[name][0]) for name in change.variants)
        ]
    return tuple(found)


@cache
def _used(made: str, *, important: bool) -> frozenset[str]:
    """Return the places that a kernel asks about, found by writing its program."""
    from lftool_strict.kernels.block import block_program  # noqa: PLC0415 - only those who need it load it
    from lftool_strict.kernels.registry import KERNELS  # noqa: PLC0415 - only those who need it load it
    from lftool_strict.lanes.machine import this_machine  # noqa: PLC0415 - only those who need it load it
    from lftool_strict.lanes.program import Asked  # noqa: PLC0415 - only those who need it load it

    kernel = KERNELS[made]
    found = {"row.squares"} if important and kernel.row_sigma else set[str]()
    for does in (False, True):
        asked = Asked(does=does)
        block_program(made, kernel, "F32", this_machine(), important=important and kernel.importance, fused=asked)
        found |= asked.places
    return frozenset(found)


def fused_of(arithmetic: str, made: str, *, important: bool) -> frozenset[str]:
    """Return the places that an arithmetic fuses where it makes a type: only those that the kernel has.

    Two arithmetics with the same places make the same bytes.

    Args:
        arithmetic: Its name, as in `arithmetics_for`.
        made: The type; one without a kernel fuses nothing.
        important: Whether there is an importance matrix.
    """
    from lftool_strict.kernels.registry import KERNELS  # noqa: PLC0415 - only those who need it load it

    if made not in KERNELS:
        return frozenset()
    name, _, commit = arithmetic.partition(_BEFORE)
    places = _VARIANTS[name][1](Made(made, important))
    for change in CHANGES:
        if change.commit == commit and made in change.types and (important or not change.important):
            places = places - change.unfused | {change.place}
    return places & _used(made, important=important)
