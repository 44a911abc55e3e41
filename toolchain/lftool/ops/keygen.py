"""`lftool keygen`: write a new key pair to two files, never over existing ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import UsageError
from lftool.store.durable import write_durably
from lftool.trust.key_pairs import generate_key_pair

if TYPE_CHECKING:
    from pathlib import Path


def make_key_pair(prefix: Path) -> tuple[Path, Path]:
    """Write `PREFIX.key` (mode 0600) and `PREFIX.pub`; return both paths.

    Raises:
        UsageError: One of them exists.
        StorageError: They cannot be written; then neither exists.
    """
    private, public = prefix.with_name(prefix.name + ".key"), prefix.with_name(prefix.name + ".pub")
    for path in (private, public):
        if path.exists():
            raise _exists(path)
    private_pem, public_pem = generate_key_pair()
    _write(private, private_pem, 0o600)
    try:
        _write(public, public_pem, 0o644)
    except BaseException:
        private.unlink()
        raise
    return private, public


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        write_durably(path, data, "key", mode=mode, replace=False)
    except UsageError:
        raise _exists(path) from None


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} already exists", hints=("choose another prefix; a key is never overwritten",))
