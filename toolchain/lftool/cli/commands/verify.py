"""`lftool verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import chosen_policy, json_option, print_json, say, trust_options

if TYPE_CHECKING:
    from lftool.ops.bundles.verify import Verification, VerifyOptions


@click.command("verify")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BUNDLE...")
@trust_options
@click.option("--full", is_flag=True, help="Also recompute flat digests, CRC-32s and sha256 of the unsigned bundle.")
@click.option("--allow-unsigned", is_flag=True, help="Accept an unsigned bundle: check only its integrity.")
@click.option(
    "--allow-other-signatures", is_flag=True, help="List signatures that no trusted key verifies instead of failing."
)
@click.option(
    "--quality",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also check a statement from `lftool quality` about BUNDLE.",
)
@click.option(
    "--rebuilt",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also require a statement from `lftool rebuild` that BUNDLE is identical; repeatable.",
)
@json_option
def command(
    *,
    bundles: tuple[Path, ...],
    key: tuple[Path, ...],
    trust: Path | None,
    full: bool,
    allow_unsigned: bool,
    allow_other_signatures: bool,
    quality: Path | None,
    rebuilt: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Check every byte of each BUNDLE, and that a key you trust signed it. Stops at the first failure.

    A folder stands for the bundles in it.
    """
    from lftool.ops.bundles.folders import bundles_of
    from lftool.ops.bundles.verify import VerifyOptions, verify_bundle

    bundles = bundles_of(bundles)
    if quality is not None and len(bundles) > 1:
        raise click.UsageError(f"--quality takes one bundle, got {len(bundles)}")
    if rebuilt and len(bundles) > 1:
        raise click.UsageError(f"--rebuilt takes one bundle, got {len(bundles)}")
    options = VerifyOptions(
        policy=chosen_policy(key, trust),
        full=full,
        allow_unsigned=allow_unsigned,
        allow_other_signatures=allow_other_signatures,
        quality=quality,
        rebuilt=rebuilt,
    )
    if as_json:
        found = [_as_json(verify_bundle(bundle, options)) for bundle in bundles]
        print_json(found[0] if len(found) == 1 else {"bundles": found})
        return
    for bundle in bundles:
        _show(verify_bundle(bundle, options), bundle, options)


def _show(found: Verification, bundle: Path, options: VerifyOptions) -> None:
    checked = "every byte, flat digest and CRC-32" if options.full else "every byte"
    say(f"{bundle.name}: ", (f"{checked} matches the manifest", "good"), f"; M {found.manifest_digest}")
    if found.signed_by:
        say((f"signed by {', '.join(found.signed_by)}, which you trust", "good"))
    else:
        say(("integrity only: no signature verified", "caution"))
    if found.quality is not None:
        say(f"{options.quality}: {_measured(found.quality)}")
    if found.rebuilt_by:
        say((f"rebuilt, byte for byte, by {', '.join(found.rebuilt_by)}, which you trust", "good"))
    if found.signatures is not None:
        for result in found.signatures.of("untrusted"):
            say(f"not verified: signature by key {result.key_id}: {result.reason}")


def _measured(said: dict[str, Any]) -> str:
    text = said["text"]["name"]
    if "cosine" in said:
        cosine = said["cosine"]
        return f"cosine to the unquantised embeddings of {text}: mean {cosine['mean']}, least {cosine['least']}"
    return f"perplexity {said['perplexity']} of {text}, unquantised {said['reference']['perplexity']}"


def _as_json(found: Verification) -> dict[str, Any]:
    results = found.signatures.results if found.signatures else ()
    return {
        "bundle": str(found.path.absolute()),
        "name": found.manifest.name,
        "version": found.manifest.version,
        "target": found.manifest.target,
        "manifest_sha256": found.manifest_digest.hex,
        "unsigned_sha256": found.unsigned.sha256.hex if found.unsigned else None,
        "integrity": True,
        "full": found.full,
        **({} if found.quality is None else {"quality": found.quality}),
        "signed_by": list(found.signed_by),
        **({"rebuilt_by": list(found.rebuilt_by)} if found.rebuilt_by else {}),
        "signatures": [
            {"verdict": r.verdict, "key_id": r.key_id, "key_name": r.key_name, "reason": r.reason} for r in results
        ],
    }
