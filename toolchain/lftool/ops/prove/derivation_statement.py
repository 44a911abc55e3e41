"""Statements that a file derives from a base: ours, with ggufpacker's field names where they fit, and ggufpacker's.

A statement is a claim. Reading one proves nothing: what it says is compared with the files and with what was found.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool import __version__
from lftool.codec.canonical import canonical_json
from lftool.errors import FormatError, IntegrityError
from lftool.models.digest import Digest
from lftool.models.recipe import SignSpec
from lftool.ops.project import open_ports
from lftool.pipeline.stages.signature import open_key
from lftool.store.durable import write_durably
from lftool.trust.signing import sign_payload
from lftool.trust.statement import STATEMENT_TYPE

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.ops.prove.proof import Proof, Subject, TensorProof

DERIVATION_TYPE = "urn:lftool:predicates:gguf-derivation:v0"
# ggufpacker 0.4.2 writes this one; its fields are described in its `attest.py`.
_GGUFPACKER_TYPE = "https://github.com/theadamdanielsson/ggufpacker/attestation/gguf-derivation/v0"
_MOST_BYTES = 1024 * 1024


@frozen(kw_only=True)
class DerivationClaim:
    """What a statement claims.

    Attributes:
        file: Name and digest of the file.
        base: Name and digest of its base.
        quant_type: The file type.
        imatrix: Digest of the importance matrix; None without one.
        verdict: What its author found; empty where the statement does not say.
    """

    file: tuple[str, Digest]
    base: tuple[str, Digest]
    quant_type: str
    imatrix: Digest | None
    verdict: str = ""


def _decimal(value: float) -> str:
    return f"{value:.6g}"


def _subject(subject: Subject) -> dict[str, Any]:
    digest = {} if subject.sha256 is None else {"digest": {"sha256": subject.sha256.hex}}
    return {"name": subject.name, **digest, **({} if subject.size is None else {"sizeBytes": subject.size})}


def _tensor(item: TensorProof) -> dict[str, Any]:
    best, distance = item.best, item.distance
    found: dict[str, Any] = {"name": item.name, "type": item.type, "blocks": item.blocks}
    if item.reason:
        return {**found, "reason": item.reason}
    if best is not None:
        found |= {"arithmetic": best.arithmetic, "compared": best.compared, "differing": best.differing}
        found |= {} if best.first is None else {"first": best.first}
    if distance is not None:
        found |= {"levels": _decimal(distance.levels), "relativeError": _decimal(distance.relative)}
    return found


def derivation_predicate(found: Proof) -> dict[str, Any]:
    """Return what a statement says about a proof; see docs/reference/rebuild-and-proof.md."""
    guess = found.guess
    recipe: dict[str, Any] = {
        "quantType": guess.file_type or "",
        "outputFormat": "gguf",
        "useImatrix": found.imatrix is not None and guess.matrix_used,
    }
    if guess.overrides:
        recipe["overrides"] = dict(guess.overrides)
    if guess.through:
        recipe["intermediateType"] = guess.through
    if found.imatrix is not None:
        recipe["imatrix"] = _subject(found.imatrix)
    kernels = found.kernels
    return {
        "baseModel": _subject(found.base),
        "recipe": recipe,
        "builder": {
            "tool": "lftool",
            "buildIdentity": {
                "plugin": kernels.get("plugin", ""),
                "version": kernels.get("version", ""),
                "digest": {"sha256": kernels.get("sha256", "")},
            },
        },
        "reproducibility": {
            "verdict": found.verdict,
            "arithmetics": list(found.arithmetics),
            "tensors": len(found.tensors),
            "differing": [_tensor(item) for item in found.differing],
            "extra": list(found.extra),
            "missing": list(found.missing),
        },
        "attestedBy": f"lftool {__version__}",
    }


def write_derivation(found: Proof, path: Path, key: Path | None) -> None:
    """Write a statement about a proof: signed in a Sigstore bundle if there is a key, else bare.

    Raises:
        IntegrityError: The file's digest is not known, so that a statement would not say what it is about.
        TrustError: The key cannot be read.
        StorageError: The statement cannot be written.
    """
    if found.file.sha256 is None:
        raise IntegrityError(
            f"{found.file.name}: its source states no digest, so a statement could not name it",
            hints=("download the file, and prove that",),
        )
    payload = canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "predicateType": DERIVATION_TYPE,
            "subject": [{"name": found.file.name, "digest": {"sha256": found.file.sha256.hex}}],
            "predicate": derivation_predicate(found),
        }
    )
    if key is not None:
        signing = open_key(SignSpec(key=f"file:{key}"), key, open_ports(None))
        payload = sign_payload(payload, signing.signer, signing.verifier)
    write_durably(path, payload, "statement", replace=False)


def _statement(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Return the statement in what may be an envelope: DSSE, or a Sigstore bundle."""
    if isinstance(value, dict):
        value = value.get("dsseEnvelope", value)
    if isinstance(value, dict) and isinstance(value.get("payload"), str):
        return json.loads(base64.b64decode(value["payload"], validate=True))
    return value


def read_claim(path: Path) -> DerivationClaim:
    """Return what a statement claims: one of ours, or ggufpacker's `gguf-derivation/v0`.

    Raises:
        FormatError: It is no such statement.
        StorageError: It cannot be read.
    """
    from lftool.codec.toml_in import read_bytes  # noqa: PLC0415 - only those who need it load it

    data = read_bytes(path, path.name, FormatError, most=_MOST_BYTES)
    try:
        value = _statement(json.loads(data))
        if value["_type"] != STATEMENT_TYPE or value["predicateType"] not in {DERIVATION_TYPE, _GGUFPACKER_TYPE}:
            raise FormatError(f"{path.name}: no statement of a derivation: its type is {value['predicateType']!r}")
        (subject,), predicate = value["subject"], value["predicate"]
        base, recipe = predicate["baseModel"], predicate["recipe"]
        imatrix = recipe.get("imatrix")
        return DerivationClaim(
            file=(str(subject["name"]), Digest(subject["digest"]["sha256"])),
            base=(str(base["name"]), Digest(base["digest"]["sha256"])),
            quant_type=str(recipe["quantType"]),
            imatrix=None if imatrix is None else Digest(imatrix["digest"]["sha256"]),
            verdict=str(predicate.get("reproducibility", {}).get("verdict", ""))
            if value["predicateType"] == DERIVATION_TYPE
            else "",
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FormatError(f"{path.name}: no statement of a derivation") from None


def check_claim(claim: DerivationClaim, found: Proof, name: str) -> str:
    """Compare a statement with what was found; return what came of it.

    Raises:
        IntegrityError: It is about other files, or says something else of them than what was found.
    """
    pairs = [("file", claim.file[1], found.file), ("base", claim.base[1], found.base)]
    for what, claimed, subject in pairs:
        if subject.sha256 is not None and claimed != subject.sha256:
            raise IntegrityError(
                f"{name}: it is about a {what} of sha256 {claimed}, {subject.name} has {subject.sha256}"
            )
    given = None if found.imatrix is None else found.imatrix.sha256
    if claim.imatrix is not None and given is not None and claim.imatrix != given:
        raise IntegrityError(
            f"{name}: it names an importance matrix of sha256 {claim.imatrix}, the given one has {given}"
        )
    if found.guess.file_type is not None and claim.quant_type not in {"", found.guess.file_type}:
        raise IntegrityError(f"{name}: it says {claim.quant_type}, the file is {found.guess.file_type}")
    if claim.verdict not in {"", found.verdict}:
        raise IntegrityError(f"{name}: it says {claim.verdict!r}, found was {found.verdict!r}")
    said = f"{name}: it agrees with what was found; its signature was not verified"
    if claim.imatrix is not None and given is None:
        return f"{said}; it names an importance matrix of sha256 {claim.imatrix}, which was not given"
    return said
