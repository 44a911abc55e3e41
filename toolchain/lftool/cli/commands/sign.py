"""`lftool sign`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import bundle_argument, chosen_sign_key, json_option, note, print_json


@click.command("sign")
@bundle_argument
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The private key; default: [sign] key in your config.toml.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PATH", help="Write here; BUNDLE stays as it is."
)
@json_option
def command(bundle: Path, sign_key: Path | None, output: Path | None, as_json: bool) -> None:
    """Add a signature to BUNDLE after checking every byte. The signatures that it has stay valid.

    Whoever signs vouches for the provenance in the bundle, which the signature repeats.
    """
    from lftool.errors import UsageError
    from lftool.ops.bundles.sign import sign_bundle
    from lftool.ops.project import open_ports

    key = chosen_sign_key(sign_key)
    if key is None:
        raise UsageError(
            "no key to sign with", hints=("name one: --sign-key PATH; make one: lftool keygen -o release",)
        )
    made = sign_bundle(bundle, key, output, open_ports(None, third_party=False, online=False))
    if as_json:
        print_json(
            {
                "bundle": str(made.path.absolute()),
                "key_id": made.key_id,
                "added": made.added,
                "signatures": made.signatures,
            }
        )
        return
    count = "1 signature" if made.signatures == 1 else f"{made.signatures} signatures"
    if made.added:
        note(f"signed {made.path} with key {made.key_id[:16]}; it has {count} now")
    else:
        note(f"{bundle} has the signature of key {made.key_id[:16]} already")
