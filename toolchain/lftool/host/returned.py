"""Guards around plugin objects: exceptions name the plugin, and returned values have the protocol's types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

from lftool.api import LayoutPlan, Signer, Verifier
from lftool.errors import PluginError
from lftool.host.guarding import guarded
from lftool.host.origin import Origin

if TYPE_CHECKING:
    from lftool.api import Layout, LayoutInputs

T = TypeVar("T")
_KEY_ID = re.compile(r"[0-9a-f]{64}\Z")


def checked(value: object, kind: type[T], what: str, origin: Origin) -> T:
    """Return `value`, which a plugin returned, if its type is `kind`.

    Raises:
        PluginError: It has another type.
    """
    if not isinstance(value, kind):
        raise PluginError(f"{origin}: {what} returned {type(value).__name__}, not {kind.__name__}")
    return value


@frozen
class GuardedSigner:
    """A plugin's signer. Every method may raise PluginError, or an error that the signer means for users."""

    signer: Signer
    origin: Origin

    @property
    def scheme(self) -> str:
        """The signature scheme."""
        with guarded(self.origin):
            return checked(self.signer.scheme, str, "scheme", self.origin)

    def public_key(self) -> str:
        """Return the public key, PEM."""
        with guarded(self.origin):
            return checked(self.signer.public_key(), str, "public_key()", self.origin)

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""
        with guarded(self.origin):
            return checked(self.signer.sign(data), bytes, "sign()", self.origin)


@frozen
class GuardedVerifier:
    """A plugin's verifier. Every method may raise PluginError, or an error that the verifier means for users."""

    verifier: Verifier
    origin: Origin

    def key_id(self, public_key: str) -> str:
        """Return the key id of a public key."""
        with guarded(self.origin):
            found = checked(self.verifier.key_id(public_key), str, "key_id()", self.origin)
        if not _KEY_ID.match(found):
            raise PluginError(f"{self.origin}: key_id() returned {found!r}, not 64 hexadecimal digits")
        return found

    def verify(self, data: bytes, signature: bytes, public_key: str) -> bool:
        """Return whether a signature is valid."""
        with guarded(self.origin):
            return checked(self.verifier.verify(data, signature, public_key), bool, "verify()", self.origin)


def layout_plan(layout: Layout, inputs: LayoutInputs, origin: Origin) -> LayoutPlan:
    """Return the plan that a plugin's layout makes for a bundle.

    Raises:
        PluginError: It failed, or returned something else.
    """
    with guarded(origin):
        return checked(layout.plan(inputs), LayoutPlan, "plan()", origin)
