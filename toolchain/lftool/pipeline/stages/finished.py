"""Recognise a bundle that already is the result of a build, so that it is not written again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.contents import check_contents, unsigned_artifact
from lftool.bundle.reader import read_bundle
from lftool.errors import LftoolError
from lftool.models.digest import Artifact, Digest
from lftool.pipeline.stages.signature import sign
from lftool.store.reading import open_for_reading

if TYPE_CHECKING:
    from lftool.models.lock import LockedPack
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.packing import PackPlan
    from lftool.pipeline.stages.signature import SigningKey

_KIND = "bundle"


@frozen(kw_only=True)
class BuiltBundle:
    """A bundle that a build made or found finished.

    Attributes:
        target: Its target.
        path: Where it is.
        manifest: Digest of its manifest.
        unsigned: The bundle without signatures.
        artifact: The bundle.
        signed: Whether it is signed.
        weights: Its quantised weights; None if they are as the source's.
        source: The weights before quantising.
        bits: Bits per weight; None if they were not looked at, for nothing was made.
    """

    target: str
    path: Path
    manifest: Digest
    unsigned: Artifact
    artifact: Artifact
    signed: bool
    weights: Artifact | None
    source: Artifact
    bits: float | None = None


@frozen(kw_only=True)
class Finished:
    """The names of U and of the whole file."""

    unsigned: Artifact
    artifact: Artifact


def _key_id(key: SigningKey | None) -> str:
    return key.key_id if key else ""


def find_finished(
    path: Path, manifest: Digest, locked: LockedPack | None, key: SigningKey | None, plan: PackPlan, ports: Ports
) -> Finished | None:
    """Return the names of the bundle at `path` if it is the result of the build, else None.

    It may have more signatures than the build gives it.

    A file that has not changed since it was last checked is not read again.
    """
    if locked is None or locked.output is None or locked.manifest != manifest:
        return None
    try:
        descriptor = open_for_reading(path)
    except LftoolError:
        return None
    try:
        before = os.fstat(descriptor)
        known = ports.store.stamps.recall(before, _KIND)
        expected = {"manifest": manifest.hex, "unsigned": locked.output.sha256.hex, "key": _key_id(key)}
        if known is not None and {name: known.get(name) for name in expected} == expected:
            whole = Artifact(Digest(known["sha256"]), before.st_size)
            return Finished(unsigned=locked.output, artifact=whole)
        return _check(descriptor, path, manifest, locked.output, key, plan, before, ports)
    except LftoolError:
        return None
    finally:
        os.close(descriptor)


def signed_with(path: Path, locked: LockedPack | None, ports: Ports) -> str | None:
    """Return the id of the key that signed the bundle at `path`, "" if unsigned; None unless known to be finished.

    Uses only remembered facts; reads nothing.
    """
    if locked is None or locked.output is None or locked.manifest is None:
        return None
    try:
        known = ports.store.stamps.recall(path.stat(), _KIND)
    except OSError:
        return None
    if known is None or (known.get("manifest"), known.get("unsigned")) != (locked.manifest.hex, locked.sha256.hex):  # type: ignore[union-attr]  # has an output
        return None
    return known.get("key")


def _check(
    descriptor: int,
    path: Path,
    manifest: Digest,
    unsigned: Artifact,
    key: SigningKey | None,
    plan: PackPlan,
    before: os.stat_result,
    ports: Ports,
) -> Finished | None:
    bundle = read_bundle(descriptor, path.name)
    signatures = () if key is None else (sign(plan, manifest, unsigned.sha256, key),)
    if bundle.manifest_digest != manifest:
        return None
    # Signatures that `lftool sign` added stay; an unsigned build has none.
    if not set(signatures) <= set(bundle.signatures) or (key is None and bundle.signatures):
        return None
    check_contents(bundle)
    if unsigned_artifact(bundle) != unsigned:
        return None
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        whole = Artifact(Digest(hashlib.file_digest(file, "sha256").hexdigest()), bundle.size)
    facts = {
        "manifest": manifest.hex,
        "unsigned": unsigned.sha256.hex,
        "key": _key_id(key),
        "sha256": whole.sha256.hex,
    }
    ports.store.stamps.remember(before, os.fstat(descriptor), _KIND, facts)
    return Finished(unsigned=unsigned, artifact=whole)
