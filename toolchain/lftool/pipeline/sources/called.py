"""How messages speak of a source: by its name in a recipe, or by the URI that the user typed."""

from __future__ import annotations

from attrs import frozen


@frozen
class Called:
    """What a source is called.

    Attributes:
        name: Its name in the recipe; in progress messages also of a URI that the user typed.
        typed: The URI, where the user typed it: there is no recipe then. None for a source of a recipe.
    """

    name: str
    typed: str | None = None

    @property
    def title(self) -> str:
        """The source, as the subject of a sentence."""
        return f"source {self.name!r}" if self.typed is None else self.typed

    @property
    def uri_place(self) -> str:
        """Where its URI is written, to begin a message with."""
        return f"sources.{self.name}.uri: " if self.typed is None else ""

    @property
    def options_place(self) -> str:
        """Where its options are written."""
        return f"lftool.toml: $.sources.{self.name}.options" if self.typed is None else f"options for {self.typed}"

    @property
    def shown(self) -> str:
        """Why its URI may hold no secret."""
        return (
            "it would end up in the lock"
            if self.typed is None
            else "others could read it in logs and lists of processes"
        )

    @property
    def selection(self) -> tuple[str, str]:
        """What takes files in, and what leaves them out."""
        return (
            ("`include` and `exclude`", "leave one out with `exclude`")
            if self.typed is None
            else ("--include", "take one of them")
        )
