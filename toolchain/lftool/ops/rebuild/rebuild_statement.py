"""Signed statements about rebuilds, so that independent rebuilders can vouch for a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool import __version__
from lftool.models.recipe import SignSpec
from lftool.ops.project import open_ports
from lftool.pipeline.stages.signature import open_key
from lftool.store.durable import write_durably
from lftool.trust.signing import sign_statement
from lftool.trust.statement import REBUILD_TYPE, Statement

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.ops.rebuild.results import Rebuilt


def rebuild_predicate(found: Rebuilt) -> dict[str, object]:
    """Return what a signed statement says about a rebuild; see docs/reference/rebuild-and-proof.md."""
    parts = [
        {
            "part": part.part,
            "result": part.verdict,
            **({"reason": part.reason} if part.reason else {}),
            **({"digest": {"sha256": part.made.sha256.hex}} if part.made else {}),
        }
        for part in found.parts
    ]
    return {
        "result": found.verdict,
        "parts": parts,
        "rebuilder": {
            "lftool": __version__,
            "plugins": {name: {"version": v, "digest": {"sha256": d}} for name, (v, d) in found.plugins.items()},
            "tools": [
                {"semantics": tool.semantics, "provider": tool.provider, "version": tool.version}
                for tool in found.tools
            ],
        },
    }


def write_rebuild_statement(found: Rebuilt, path: Path, key: Path) -> None:
    """Sign what came of a rebuild, and write it.

    Raises:
        TrustError: The key cannot be read.
        StorageError: The statement cannot be written.
    """
    signing = open_key(SignSpec(key=f"file:{key}"), key, open_ports(None))
    statement = Statement(
        bundle=found.manifest.stem,
        manifest=found.manifest_digest,
        unsigned=found.unsigned.sha256,
        predicate=rebuild_predicate(found),
        predicate_type=REBUILD_TYPE,
    )
    write_durably(path, sign_statement(statement, signing.signer, signing.verifier), "statement", replace=False)
