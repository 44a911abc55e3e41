"""Which outputs count as made: those with an action record. A blob with the right digest is an input, nothing more.

A record says that an action made an output. This machine's own were written by the process that did the work. Those of a
remote store or a vendor folder count where the user said so; what they say holds for the build at hand and is not written
down here. A lock only claims: what it names is compared with what a record says, or with what is made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from lftool.models.digest import Artifact, Digest
from lftool.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping


class Voucher(Protocol):
    """Somewhere else that has records, which the user trusts."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def said(self, action: Digest) -> Mapping[str, Artifact] | None:
        """Return what it says that `action` made; None when it does not know."""


@frozen(kw_only=True)
class Made:
    """An output that counts as made.

    Attributes:
        output: The output. Its bytes need not be in the store.
        by: Name of the voucher; empty where this machine made it.
    """

    output: Artifact
    by: str = ""


@define
class Records:
    """The records that count in one build.

    Attributes:
        store: Has this machine's records.
        vouchers: Whom the user trusts, in the order in which they are asked.
        rebuild: Whether only what this process has made counts.
    """

    store: Store
    vouchers: tuple[Voucher, ...] = ()
    rebuild: bool = False
    _here: set[Digest] = field(factory=set)
    _vouched: dict[tuple[Digest, str], Made | None] = field(factory=dict)

    def put(self, action: Digest, outputs: Mapping[str, Artifact]) -> None:
        """Write down what this process has made and checked."""
        self.store.actions.put(action, outputs)
        self._here.add(action)

    def own(self, action: Digest, name: str, expected: Artifact | None) -> Made | None:
        """Return what this machine made, if that is `expected`."""
        if self.rebuild and action not in self._here:
            return None
        said = (self.store.actions.said(action) or {}).get(name)
        return Made(output=said) if said is not None and expected in {None, said} else None

    def known(self, action: Digest, name: str, expected: Artifact | None) -> Made | None:
        """Return what is known to have been made, without asking anyone: by this machine, or as `vouched` was told."""
        own = self.own(action, name, expected)
        if own is not None or self.rebuild:
            return own
        told = self._vouched.get((action, name))
        return told if told is not None and expected in {None, told.output} else None

    def vouched(self, action: Digest, name: str, expected: Artifact | None) -> Made | None:
        """Return what is known to have been made, asking vouchers where this machine made nothing."""
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
        """Forget what a voucher said of an output."""
        self._vouched[action, name] = None

    @property
    def told(self) -> list[Made]:
        """What vouchers said so far."""
        return [made for made in self._vouched.values() if made is not None]
