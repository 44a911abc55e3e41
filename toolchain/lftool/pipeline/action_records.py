"""Decides which outputs count as made: those with an action record. A blob with the right digest is only an input.

A record states that an action made an output. The process that did the work writes this machine's records. Those of a
remote store or vendor folder count if the user trusts them, for the current build only; they are not stored here. A
lock only claims: its outputs are compared with a record, or with a new result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from lftool.models.digest import Artifact, Digest
from lftool.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping


class Voucher(Protocol):
    """A second place with records, which the user trusts."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def said(self, action: Digest) -> Mapping[str, Artifact] | None:
        """Return the outputs of `action` in its records; None if it has none."""


@frozen(kw_only=True)
class Made:
    """An output that counts as made.

    Attributes:
        output: The output. Its bytes need not be in the store.
        by: Name of the voucher; empty if this machine made it.
    """

    output: Artifact
    by: str = ""


@define
class Records:
    """The records that count in one build.

    Attributes:
        store: Has this machine's records.
        vouchers: Sources of trusted records, in the order to ask.
        rebuild: Whether only outputs of this process count.
    """

    store: Store
    vouchers: tuple[Voucher, ...] = ()
    rebuild: bool = False
    _here: set[Digest] = field(factory=set)
    _vouched: dict[tuple[Digest, str], Made | None] = field(factory=dict)

    def put(self, action: Digest, outputs: Mapping[str, Artifact]) -> None:
        """Record outputs that this process has made and checked."""
        self.store.actions.put(action, outputs)
        self._here.add(action)

    def own(self, action: Digest, name: str, expected: Artifact | None) -> Made | None:
        """Return the output if this machine made it and it equals `expected`."""
        if self.rebuild and action not in self._here:
            return None
        said = (self.store.actions.said(action) or {}).get(name)
        return Made(output=said) if said is not None and expected in {None, said} else None

    def known(self, action: Digest, name: str, expected: Artifact | None) -> Made | None:
        """Return a known output without asking vouchers: one made by this machine, or one from an earlier `vouched`."""
        own = self.own(action, name, expected)
        if own is not None or self.rebuild:
            return own
        told = self._vouched.get((action, name))
        return told if told is not None and expected in {None, told.output} else None

    def vouched(self, action: Digest, name: str, expected: Artifact | None) -> Made | None:
        """Return a known output, asking vouchers if this machine did not make it."""
        found = self.known(action, name, expected)
        if found is not None or self.rebuild:
            return found
        if (action, name) not in self._vouched:
            self._vouched[action, name] = self._ask(action, name)
        return self.known(action, name, expected)

    def _ask(self, action: Digest, name: str) -> Made | None:
        for voucher in self.vouchers:
            said = (voucher.said(action) or {}).get(name)
            if said is not None:
                return Made(output=said, by=voucher.name)
        return None

    def doubt(self, action: Digest, name: str) -> None:
        """Discard what a voucher stated about an output."""
        self._vouched[action, name] = None

    @property
    def told(self) -> list[Made]:
        """Everything that vouchers have stated so far."""
        return [made for made in self._vouched.values() if made is not None]
