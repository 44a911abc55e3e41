"""Open bundles for plugins: checked, and described by their manifest."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import BundleMember, OpenedBundle
from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import weights_header
from lftool.errors import UsageError
from lftool.ops.bundles.claims import runtime_name
from lftool.ops.run.integrity import check_opened
from lftool.ops.user_store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lftool.bundle.reader import Bundle
    from lftool.store.store import Store


@contextlib.contextmanager
def described(bundle: Bundle, path: Path) -> Iterator[OpenedBundle]:
    """Yield a bundle as plugins see it; its file uses a separate descriptor."""
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    manifest, runtime, header = bundle.manifest, runtime_name(bundle) or "", weights_header(bundle)
    if bundle.descriptor is None:
        raise UsageError(f"{path.name} is detached, and this needs one file", hints=(f"first: lftool attach {path}",))
    with os.fdopen(os.dup(bundle.descriptor), "rb") as file:
        file.seek(0)  # both descriptors share one file position
        yield OpenedBundle(
            file=file,
            path=path,
            size=bundle.size,
            name=manifest.name,
            version=manifest.version,
            target=manifest.target,
            layout=manifest.layout,
            backend=manifest.backend,
            runtime=runtime,
            manifest=bundle.manifest_digest,
            members=tuple(BundleMember(path=item.path, role=item.role, size=item.size) for item in manifest.members),
            weights=header,
            run=to_plain(manifest.run),
        )


@contextlib.contextmanager
def opened_bundle(path: Path, store: Store, *, check: bool = True) -> Iterator[OpenedBundle]:
    """Open a bundle during the block.

    Args:
        path: Its file.
        store: Remembers checked bundles.
        check: Whether to compare every byte with the manifest.

    Raises:
        FormatError: It is not a bundle.
        IntegrityError: It is corrupted.
        StorageError: It cannot be read.
    """
    with opened(path) as bundle:
        if check:
            check_opened(bundle, store)
        with described(bundle, path) as found:
            yield found


@frozen
class Workbench:
    """The context of a plugin's command: `lftool.api.CommandContext`."""

    def open_bundle(self, path: Path, *, check: bool = True) -> contextlib.AbstractContextManager[OpenedBundle]:
        """Open a bundle. May raise as `opened_bundle` does."""
        return opened_bundle(path, open_store(), check=check)
