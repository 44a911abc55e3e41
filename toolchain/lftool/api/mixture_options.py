"""What a recipe can ask of llama.cpp's mixtures, and how plans say it: the same for all quantizers of `ggml-q/1`.

A lock compares plans, so that quantizers that choose the same types can stand in for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import in_, optional

from lftool.formats.ggml_types import GGML_TYPES

if TYPE_CHECKING:
    from lftool.api.transforms import TransformSpec


@frozen(kw_only=True)
class MixtureOptions:
    """`options` of a target, as far as they decide the types of tensors."""

    pure: bool = field(default=False, metadata={"doc": "Give every tensor the file type's own type, no mixture."})
    leave_output_tensor: bool = field(default=False, metadata={"doc": "Keep the type of `output.weight`."})
    output_tensor_type: str | None = field(
        default=None,
        validator=optional(in_(GGML_TYPES)),
        metadata={"doc": "Type of `output.weight`, or of the embeddings that serve as it."},
    )
    token_embedding_type: str | None = field(
        default=None, validator=optional(in_(GGML_TYPES)), metadata={"doc": "Type of the token embeddings."}
    )

    def parameters(self, spec: TransformSpec, *, imatrix: bool, allow_requantize: bool = False) -> dict[str, Any]:
        """Return the parameters of a plan. Options that came later are in it only where they are set.

        Args:
            spec: What is made.
            imatrix: Whether there is an importance matrix.
            allow_requantize: Whether weights that are quantised already may be quantised again.
        """
        later = {
            "leave_output_tensor": self.leave_output_tensor,
            "output_tensor_type": self.output_tensor_type,
            "token_embedding_type": self.token_embedding_type,
        }
        return {
            "file_type": spec.produces,
            "overrides": [[item.tensor, item.type] for item in spec.overrides],
            "imatrix": imatrix,
            "allow_requantize": allow_requantize,
            "pure": self.pure,
            **{name: value for name, value in later.items() if value},
        }
