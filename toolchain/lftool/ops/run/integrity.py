"""Facts that `lftool run` needs before anything opens the weights: checked now, or remembered for these bytes.

Only facts about the content are remembered: M, the backend, the key ids that its signatures claim. Trust in those keys
is checked every time.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import ModelSize

if TYPE_CHECKING:
    from lftool.bundle.reader import Bundle
    from lftool.models.policy import TrustPolicy
    from lftool.store.store import Store

_KIND = "contents-3"


@frozen(kw_only=True)
class CheckedBundle:
    """A bundle whose every byte matches its manifest.

    Attributes:
        backend: The backend that its manifest names.
        key_ids: Key ids that its signatures claim, unproven.
        runtime: Name and number of the runtime that it begins with; None for a GGUF.
        size: The parts of the model that take memory.
        unpacked: Whether it is a GGUF that is no bundle: nothing says what its bytes must be.
        run_keys: Keys that its run contract sets.
    """

    backend: str
    key_ids: tuple[str, ...]
    runtime: str | None
    size: ModelSize
    unpacked: bool = False
    run_keys: tuple[str, ...] = ()


def recall(descriptor: int, store: Store) -> CheckedBundle | None:
    """Return the facts remembered for these exact bytes; None if they were never checked or have changed."""
    known = store.stamps.recall(os.fstat(descriptor), _KIND)
    if known is None or not {"manifest", "backend", "keys", "runtime", "size", "run"} <= known.keys():
        return None
    size = json.loads(known["size"])
    return CheckedBundle(
        backend=known["backend"],
        key_ids=tuple(known["keys"].split()),
        runtime=known["runtime"] or None,
        size=ModelSize(**{**size, "layers": tuple(size["layers"]), "cache": tuple(size["cache"])}),
        run_keys=tuple(known["run"].split()),
    )


def check(descriptor: int, name: str, store: Store) -> CheckedBundle:
    """Check structure and every content of the bundle behind `descriptor`, unless the same bytes were checked before.

    Of a GGUF that is no bundle, only its structure can be checked.

    Raises:
        FormatError: Not a canonical bundle.
        IntegrityError: A content does not match the manifest.
    """
    known = recall(descriptor, store)
    if known is not None:
        return known
    from lftool.bundle.reader import PlainGGUFError, read_bundle  # noqa: PLC0415 - a later start remembers

    try:
        bundle = read_bundle(descriptor, name)
    except PlainGGUFError:
        return _unpacked(descriptor, name)
    return check_opened(bundle, store)


def _unpacked(descriptor: int, name: str) -> CheckedBundle:
    """Return the facts of a GGUF that is no bundle; its header has been found sound."""
    from lftool.bundle.model_size import model_size  # noqa: PLC0415 - as above
    from lftool.formats.gguf_read import read_gguf  # noqa: PLC0415 - as above
    from lftool.models.run_contract import RunContract  # noqa: PLC0415 - as above

    with os.fdopen(os.dup(descriptor), "rb") as file:
        header = read_gguf(file, os.fstat(descriptor).st_size, name)
    size = model_size(header, RunContract())
    return CheckedBundle(backend="cpu", key_ids=(), runtime=None, size=size, unpacked=True)


def check_opened(bundle: Bundle, store: Store) -> CheckedBundle:
    """Check every content of a bundle whose structure has been read, unless these exact bytes were checked before.

    Raises:
        FormatError: Its documents are not canonical.
        IntegrityError: A content does not match the manifest.
    """
    from lftool.bundle.contents import check_contents, weights_header  # noqa: PLC0415 - a later start remembers
    from lftool.bundle.model_size import model_size  # noqa: PLC0415 - as above
    from lftool.ops.bundles.claims import check_documents, runtime_name, signer_hints  # noqa: PLC0415 - as above
    from lftool.ops.bundles.slices import check_claims  # noqa: PLC0415 - as above

    descriptor = bundle.descriptor  # none of a detached bundle, whose files are checked every time
    known = None if descriptor is None else recall(descriptor, store)
    if known is not None:
        return known
    check_documents(bundle)
    check_contents(bundle)
    check_claims(bundle)
    found = CheckedBundle(
        backend=bundle.manifest.backend,
        key_ids=signer_hints(bundle),
        runtime=runtime_name(bundle),
        size=model_size(weights_header(bundle), bundle.manifest.run),
        run_keys=bundle.manifest.run.said,
    )
    if descriptor is None:
        return found
    facts = {
        "manifest": bundle.manifest_digest.hex,
        "backend": found.backend,
        "keys": " ".join(found.key_ids),
        "runtime": found.runtime or "",
        "size": json.dumps(attrs.asdict(found.size)),
        "run": " ".join(found.run_keys),
    }
    store.stamps.remember(bundle.status, os.fstat(descriptor), _KIND, facts)
    return found


def trusted_signers(descriptor: int, name: str, policy: TrustPolicy) -> tuple[str, ...]:
    """Return the names of the trusted keys that signed; checked every time, against the current bytes.

    Raises:
        FormatError: Not a canonical bundle.
        TrustError: No trusted key signed.
        PolicyError: A valid signature that the policy refuses.
    """
    from lftool.bundle.reader import read_bundle  # noqa: PLC0415 - only with a trust policy
    from lftool.ops.bundles.trust import require_trust, signature_report, today_utc  # noqa: PLC0415 - as above

    report = signature_report(read_bundle(descriptor, name), policy, today_utc())
    require_trust(report, name)
    return tuple(sorted({result.key_name for result in report.of("trusted")}))
