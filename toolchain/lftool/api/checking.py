"""Checks: the `[[checks]]` of a recipe. A check queries the model through its context and returns what it found."""

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
    """The result of a check.

    Attributes:
        failure: Why the check failed; None if it passed.
        detail: What was found, in full, such as the model's answer.
    """

    failure: str | None = field(default=None, validator=optional(instance_of(str)))
    detail: str = field(default="", validator=instance_of(str))


class CheckContext(Protocol):
    """The bundle to check. Every byte of it has already been compared with its manifest.

    The first question starts a server on loopback, in a confined process. A check without questions starts none. A
    check that calls `embed` waits until all others have their answers, so it should call `ask` first.
    """

    @property
    def bundle(self) -> OpenedBundle:
        """The bundle itself: its file, its size, what is in its manifest, the header of its weights."""

    @property
    def does(self) -> Does:
        """What the model does: it generates text, embeds texts as vectors, or ranks them."""

    @property
    def files(self) -> ProjectFiles:
        """The only way to open files that the recipe names."""

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
            prompt: The user's message.
            raw: Complete the prompt as it is, without the chat template.
            max_tokens: Maximum tokens of the answer; None for the run contract's.
            schema: A JSON Schema that the answer must match.

        Raises:
            UnavailableError: The bundle cannot be served here, or the server refuses the request.
        """

    def first_token(self, prompt: str, *, raw: bool = False) -> float:
        """Return the seconds until the first piece of an answer arrives. Raises the same errors as `ask`."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vectors of texts, in their order. Raises the same errors as `ask`."""

    def rank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return how relevant documents are to a query: a score each, in their order. Raises the same errors as `ask`."""

    def quality(self, text: str, context: int | None = None) -> Figures:
        """Return how well the weights predict a text, compared with the unquantised ones.

        Measured once, then remembered.

        Args:
            text: Path of a UTF-8 file, relative to the recipe.
            context: Tokens that are evaluated together; None for the backend's choice.

        Raises:
            RecipeError: The text is too short.
            UnavailableError: The bundle's backend is not available, or cannot measure.
        """


class Check(Protocol):
    """A check with its options."""

    def check(self, context: CheckContext) -> Finding:
        """Return what was found.

        Raises:
            UnavailableError: The check cannot run here. The other checks go on.
            RecipeError: An option, or a file that an option names, is wrong.
        """
