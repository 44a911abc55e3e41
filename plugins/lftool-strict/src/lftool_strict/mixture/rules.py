"""The mixtures, as a table of cases: which type a part gets in a file of a type.

A row names the file type's own type and, for each part, cases. The first case whose conditions all hold decides; if none
holds, the part gets the file type's own type. Two more rules hold for all rows but those below three bits; see
`lftool_strict.mixture.choose`.

Source of the facts: `llama_tensor_get_type_impl` and `llama_ftype_get_default_type` of llama.cpp's src/llama-quant.cpp,
as in llama-cpp-python 0.3.36; tests compare every row with its dry run, for every architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from lftool_strict.mixture.model import Model
from lftool_strict.mixture.parts import Part


@frozen(kw_only=True)
class Place:
    """Where a tensor stands in its part.

    Attributes:
        model: The model.
        imatrix: Whether there is an importance matrix.
        before: How many tensors of this part were typed before it.
        layer: Its layer; in models without experts the same as `before`.
        count: How many there are: layers, or for VALUE tensors.
    """

    model: Model
    imatrix: bool
    before: int
    layer: int
    count: int


def shared(at: Place) -> bool:
    """Four or more query heads share a key-value head: the tensor is small, and counts more."""
    return at.model.sharing >= 4  # noqa: PLR2004 - as said


def four_experts(at: Place) -> bool:
    """Four experts or more."""
    return at.model.experts >= 4  # noqa: PLR2004 - as said


def eight_experts(at: Place) -> bool:
    """As in Mixtral, exactly eight experts."""
    return at.model.experts == 8  # noqa: PLR2004 - as said


def falcon(at: Place) -> bool:
    """The architecture Falcon."""
    return at.model.architecture == "falcon"


def not_falcon(at: Place) -> bool:
    """Any other architecture."""
    return not falcon(at)


def measured(at: Place) -> bool:
    """With an importance matrix."""
    return at.imatrix


def unmeasured(at: Place) -> bool:
    """Without one."""
    return not at.imatrix


def first_eighth(at: Place) -> bool:
    """In the first eighth of the layers."""
    return at.layer < at.count // 8


def first_eighth_typed(at: Place) -> bool:
    """One of the first of its part, as many as an eighth of the layers."""
    return at.before < at.count // 8


def first_sixteenth(at: Place) -> bool:
    """In the first sixteenth of the layers."""
    return at.layer < at.count // 16


def inner(at: Place) -> bool:
    """Neither in the first eighth nor in the last."""
    return at.count // 8 <= at.layer < 7 * at.count // 8


def spread(at: Place) -> bool:
    """In the first or last eighth, or every third between them."""
    return not inner(at) or (at.layer - at.count // 8) % 3 == 2  # noqa: PLR2004 - the last of three


def first_two(at: Place) -> bool:
    """One of the first two."""
    return at.before < 2  # noqa: PLR2004 - as said


def first_four(at: Place) -> bool:
    """One of the first four."""
    return at.before < 4  # noqa: PLR2004 - as said


@frozen
class Case:
    """A type, and what must hold for it."""

    type: str
    conditions: tuple[Callable[[Place], bool], ...]


def case(kind: str, *conditions: Callable[[Place], bool]) -> Case:
    """Return a case; without conditions it always holds."""
    return Case(kind, conditions)


@frozen(kw_only=True)
class Row:
    """A file type.

    Attributes:
        type: Its own type.
        output: Type of the output matrix, or of the embedding that serves as one.
        embedding: Type of an embedding that does not.
        parts: Part to cases.
        usual: Whether layers are told by their names in models with experts, and large models and eight experts are lifted.
    """

    type: str
    output: str = "Q6_K"
    embedding: str | None = None
    parts: Mapping[Part, tuple[Case, ...]] = {}
    usual: bool = True


def _below_three_bits(kind: str, more: str, attention_output: str | None) -> Row:
    """Return the row of a file type below three bits; `more` is what its sensitive tensors get."""
    out = (case("Q5_K", eight_experts),) + (() if attention_output is None else (case(attention_output),))
    return Row(
        type=kind,
        output="Q5_K",
        embedding=more,
        parts={
            Part.VALUE: (case("Q4_K", shared), case("Q4_K", four_experts), case(more)),
            Part.KEY: (case("Q4_K", eight_experts),),
            Part.DOWN: (case(more, first_eighth_typed),),
            Part.ATTENTION_OUTPUT: out,
        },
        usual=False,
    )


_EIGHT_Q5 = case("Q5_K", not_falcon, eight_experts)

ROWS: Mapping[str, Row] = {
    "F32": Row(type="F32"),
    "F16": Row(type="F16"),
    "BF16": Row(type="BF16"),
    "Q4_0": Row(type="Q4_0", parts={Part.DOWN: (case("Q4_1", measured, first_eighth),)}),
    "Q4_1": Row(type="Q4_1"),
    "Q5_0": Row(type="Q5_0", parts={Part.DOWN: (case("Q5_1", measured, first_eighth),)}),
    "Q5_1": Row(type="Q5_1"),
    "Q8_0": Row(type="Q8_0", output="Q8_0"),
    "Q1_0": Row(type="Q1_0"),
    "Q2_0": Row(type="Q2_0", embedding="Q4_K"),
    "TQ1_0": Row(type="TQ1_0", embedding="Q4_K"),
    "TQ2_0": Row(type="TQ2_0", embedding="Q4_K"),
    "IQ1_S": _below_three_bits("IQ1_S", "Q2_K", "IQ2_XXS"),
    "IQ1_M": _below_three_bits("IQ1_M", "Q2_K", "IQ2_XXS"),
    "IQ2_XXS": _below_three_bits("IQ2_XXS", "Q2_K", None),
    "IQ2_XS": _below_three_bits("IQ2_XS", "Q2_K", None),
    "IQ2_S": _below_three_bits("IQ2_XS", "IQ3_S", "IQ3_S"),
    "IQ2_M": _below_three_bits("IQ2_S", "IQ3_S", "IQ3_S"),
    "Q2_K_S": Row(
        type="Q2_K",
        parts={Part.VALUE: (case("Q4_K", shared),), Part.DOWN: (case("Q4_K", first_eighth),)},
    ),
    "Q2_K": Row(
        type="Q2_K",
        parts={
            Part.VALUE: (case("Q4_K", shared), case("Q3_K")),
            Part.DOWN: (case("Q3_K"),),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5, case("Q3_K", not_falcon)),
        },
    ),
    "IQ3_XXS": Row(
        type="IQ3_XXS",
        output="Q5_K",
        embedding="IQ3_S",
        parts={
            Part.VALUE: (case("Q4_K", shared), case("IQ3_S", unmeasured)),
            Part.KEY: (case("IQ2_S"),),
            Part.QUERY: (case("IQ2_S"),),
            Part.DOWN: (case("Q4_K", unmeasured, first_eighth), case("Q3_K", unmeasured)),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5, case("IQ3_S", not_falcon)),
        },
    ),
    "IQ3_XS": Row(
        type="IQ3_S",
        parts={
            Part.VALUE: (case("Q4_K", shared),),
            Part.KEY: (case("IQ3_XXS"),),
            Part.QUERY: (case("IQ3_XXS"),),
            Part.GATE: (case("IQ3_XXS", inner),),
            Part.UP: (case("IQ3_XXS", inner),),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5,),
        },
    ),
    "IQ3_S": Row(type="IQ3_S", parts={Part.VALUE: (case("Q4_K", shared),), Part.ATTENTION_OUTPUT: (_EIGHT_Q5,)}),
    "IQ3_M": Row(
        type="IQ3_S",
        parts={
            Part.VALUE: (case("Q4_K"),),
            Part.DOWN: (case("Q4_K", first_eighth), case("Q4_K", eight_experts, spread)),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5, case("Q4_K", not_falcon)),
        },
    ),
    "Q3_K_S": Row(type="Q3_K", parts={Part.ATTENTION_OUTPUT: (_EIGHT_Q5,)}),
    "Q3_K_M": Row(
        type="Q3_K",
        parts={
            Part.VALUE: (case("Q5_K", first_two), case("Q4_K")),
            Part.DOWN: (case("Q5_K", first_sixteenth), case("Q4_K", not_falcon), case("Q4_K", spread)),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5, case("Q4_K", not_falcon)),
        },
    ),
    "Q3_K_L": Row(
        type="Q3_K",
        parts={
            Part.VALUE: (case("Q5_K"),),
            Part.DOWN: (case("Q4_K", falcon), case("Q5_K")),
            # With eight experts no case holds: a large file type, and llama.cpp lists the small ones.
            Part.ATTENTION_OUTPUT: (case("Q4_K", falcon), case("Q3_K", eight_experts), case("Q5_K")),
        },
    ),
    "IQ4_NL": Row(
        type="IQ4_NL",
        parts={
            Part.VALUE: (case("Q5_K", shared),),
            Part.DOWN: (case("Q5_K", unmeasured, first_eighth),),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5,),
        },
    ),
    "IQ4_XS": Row(
        type="IQ4_XS",
        parts={
            Part.VALUE: (case("Q5_K", shared),),
            Part.DOWN: (case("Q5_K", unmeasured, first_eighth),),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5,),
        },
    ),
    "Q4_K_S": Row(
        type="Q4_K",
        parts={
            Part.VALUE: (case("Q5_K", first_four),),
            Part.DOWN: (case("Q5_K", not_falcon, first_eighth),),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5,),
        },
    ),
    "Q4_K_M": Row(
        type="Q4_K",
        parts={
            Part.VALUE: (case("Q6_K", spread),),
            Part.DOWN: (
                case("Q6_K", falcon, first_sixteenth),
                case("Q5_K", falcon, spread),
                case("Q6_K", not_falcon, spread),
            ),
            Part.ATTENTION_OUTPUT: (_EIGHT_Q5,),
        },
    ),
    "Q5_K_S": Row(type="Q5_K"),
    "Q5_K_M": Row(type="Q5_K", parts={Part.VALUE: (case("Q6_K", spread),), Part.DOWN: (case("Q6_K", spread),)}),
    "Q6_K": Row(type="Q6_K"),
    "MXFP4_MOE": Row(type="MXFP4", output="Q8_0"),
}

# What a tensor gets whose rows the blocks of its type do not divide; F16 where they do not divide by 32 either.
FALLBACKS: Mapping[str, str] = {
    "IQ1_S": "IQ4_NL",
    "IQ1_M": "IQ4_NL",
    "IQ2_XXS": "IQ4_NL",
    "IQ2_XS": "IQ4_NL",
    "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL",
    "IQ3_S": "IQ4_NL",
    "IQ4_XS": "IQ4_NL",
    "Q2_0": "Q4_0",
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
