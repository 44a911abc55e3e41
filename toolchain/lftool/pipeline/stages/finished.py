"""Recognise a bundle that already is the result of a build, so that it is not written again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import check_contents, unsigned_artifact, whole_artifact
from lftool.bundle.detached import RUNTIME, SIDECAR, WEIGHTS
from lftool.errors import LftoolError
from lftool.models.digest import Artifact, Digest
from lftool.pipeline.stages.signature import sign
from lftool.store.stamps import identity, is_settled

if TYPE_CHECKING:
    import os

    from lftool.bundle.reader import Bundle
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
        described: Its weights with other keys; None if the recipe sets none.
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
    described: Artifact | None = None
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
        before, beside = path.stat(), _beside(path)
        known = ports.store.stamps.recall(before, _KIND)
        expected = {"manifest": manifest.hex, "unsigned": locked.output.sha256.hex, "key": _key_id(key), **beside}
        if known is not None and {name: known.get(name) for name in expected} == expected:
            whole = Artifact(Digest(known["sha256"]), int(known.get("size", before.st_size)))
            return Finished(unsigned=locked.output, artifact=whole)
        with opened(path) as bundle:
            return _check(bundle, path, manifest, locked.output, key, plan, before, ports)
    except (OSError, LftoolError):
        return None


def _others(path: Path) -> list[Path]:
    """Return the files that a detached bundle has beside its sidecar; none for a bundle in one file."""
    if path.suffix != SIDECAR:
        return []
    return [file for file in (path.with_suffix(WEIGHTS), path.with_suffix(RUNTIME)) if file.exists()]


def _settled(path: Path) -> bool:
    """Tell whether later changes of the files beside a sidecar would show in their times."""
    return all(is_settled(file.stat(), time.time_ns()) for file in _others(path))


def _beside(path: Path) -> dict[str, str]:
    """Return what tells the other files of a detached bundle, as they are now; nothing for a bundle in one file.

    Raises:
        OSError: One cannot be read.
    """
    if path.suffix != SIDECAR:
        return {}
    states = [identity(file.stat()) for file in _others(path)]
    return {"beside": json.dumps(states, sort_keys=True)}


def signed_with(path: Path, locked: LockedPack | None, ports: Ports) -> str | None:
    """Return the id of the key that signed the bundle at `path`, "" if unsigned; None unless known to be finished.

    Uses only remembered facts; reads nothing.
    """
    if locked is None or locked.output is None or locked.manifest is None:
        return None
    try:
        known, beside = ports.store.stamps.recall(path.stat(), _KIND), _beside(path)
    except OSError:
        return None
    expected = {"manifest": locked.manifest.hex, "unsigned": locked.output.sha256.hex, **beside}
    if known is None or {name: known.get(name) for name in expected} != expected:
        return None
    return known.get("key")


def _check(
    bundle: Bundle,
    path: Path,
    manifest: Digest,
    unsigned: Artifact,
    key: SigningKey | None,
    plan: PackPlan,
    before: os.stat_result,
    ports: Ports,
) -> Finished | None:
    beside = _beside(path)
    signatures = () if key is None else (sign(plan, manifest, unsigned.sha256, key),)
    if bundle.manifest_digest != manifest:
        return None
    # Signatures that `lftool sign` added stay; an unsigned build has none.
    if not set(signatures) <= set(bundle.signatures) or (key is None and bundle.signatures):
        return None
    check_contents(bundle)
    if unsigned_artifact(bundle) != unsigned:
        return None
    whole = whole_artifact(bundle)
    facts = {
        "manifest": manifest.hex,
        "unsigned": unsigned.sha256.hex,
        "key": _key_id(key),
        "sha256": whole.sha256.hex,
        "size": str(whole.size),
        **beside,
    }
    if _beside(path) == beside and _settled(path):
        ports.store.stamps.remember(before, path.stat(), _KIND, facts)
    return Finished(unsigned=unsigned, artifact=whole)
