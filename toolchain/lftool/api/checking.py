"""Checks: what a recipe's `[[checks]]` hold a bundle against. A check asks the model through its context, and says what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen
from attrs.validators import instance_of, optional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.api.figures import Figures
    from lftool.api.files import ProjectFiles
    from lftool.api.opened import OpenedBundle
    from lftool.formats.model_kind import Does


@frozen(kw_only=True)
class Finding:
    """What came of a check.

    Attributes:
        failure: Why it does not hold; None if it holds.
        detail: What was found, whole: the model's answer, where the check is of one.
    """

    failure: str | None = field(default=None, validator=optional(instance_of(str)))
    detail: str = field(default="", validator=instance_of(str))


class CheckContext(Protocol):
    """The bundle that is checked. Every byte of it has been compared with its manifest before.

    The first question starts a server on loopback, in a confined process; a check that asks nothing starts none. A check that
    asks for vectors is laid aside until all others have had their answers; it asks for answers first.
    """

    @property
    def bundle(self) -> OpenedBundle:
        """The bundle itself: its file, its size, what its manifest says, the header of its weights."""

    @property
    def does(self) -> Does:
        """What the model does: it generates text, embeds texts as vectors, or ranks them."""

    @property
    def files(self) -> ProjectFiles:
        """Opens files that the recipe names; the one way to."""

    def ask(
        self,
        prompt: str,
        *,
        raw: bool = False,
        max_tokens: int | None = None,
        schema: Any = None,  # noqa: ANN401 - JSON
    ) -> str:
        """Return the model's answer.

        Args:
            prompt: What a user says.
            raw: Complete it as it is, without the chat template.
            max_tokens: Most tokens of the answer; None for what the run contract says.
            schema: A JSON Schema that generation is held to.

        Raises:
            UnavailableError: The bundle cannot be served here, or the server refuses the question.
        """

    def first_token(self, prompt: str, *, raw: bool = False) -> float:
        """Return how long it takes until the first piece of an answer arrives, in seconds. May raise as `ask` does."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vectors of texts, in their order. May raise as `ask` does."""

    def quality(self, text: str, context: int | None = None) -> Figures:
        """Return how well the weights predict a text, compared with the unquantised ones: measured once, then remembered.

        Args:
            text: Path of a UTF-8 file, relative to the recipe.
            context: Tokens that are evaluated together; None for the backend's choice.

        Raises:
            RecipeError: The text is too short.
            UnavailableError: The bundle's backend is not here, or measures nothing.
        """


class Check(Protocol):
    """A check with its options."""

    def check(self, context: CheckContext) -> Finding:
        """Return what was found.

        Raises:
            UnavailableError: It cannot be made here; the other checks go on.
            RecipeError: An option, or a file that one names, is wrong.
        """
