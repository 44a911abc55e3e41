"""`lftool pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.shared_options import chosen_policy, json_option, note, print_json, say, size_text, trust_options

if TYPE_CHECKING:
    from lftool.ops.publishing.finishing import PulledFile


@click.command("pull")
@click.argument("where", metavar="URI")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Folder to write into; default: the current one.",
)
@click.option("--target", metavar="NAME", help="Take only the bundle of this target.")
@click.option("--include", multiple=True, metavar="GLOB", help="Take only files with such paths; repeatable.")
@click.option("--detached", is_flag=True, help="Keep detached bundles as they are instead of attaching them.")
@click.option("--force", is_flag=True, help="Replace other files of the same names.")
@trust_options
@click.option("--allow-unsigned", is_flag=True, help="Also take what is not signed at all.")
@click.option(
    "--allow-other-signatures",
    is_flag=True,
    help="Allow signatures that no trusted key verifies, beside a trusted one.",
)
@json_option
def command(
    *,
    where: str,
    output: Path,
    target: str | None,
    include: tuple[str, ...],
    detached: bool,
    force: bool,
    key: tuple[Path, ...],
    trust: Path | None,
    allow_unsigned: bool,
    allow_other_signatures: bool,
    as_json: bool,
) -> None:
    """Fetch the bundles or models at URI, check every byte and who signed them, and write them.

    Nothing gets its name before all of it has been checked. Without --key, --trust or a policy of your own, only
    integrity is checked.
    """
    from lftool.ops.project import open_ports
    from lftool.ops.publishing.pulling import PullOptions, pull
    from lftool.pipeline.parallel import apart

    options: dict[str, Any] = {"target": target} if target is not None and where.startswith("oci:") else {}
    chosen = PullOptions(
        output=output,
        policy=chosen_policy(key, trust, own=True),
        detached=detached,
        target=target,
        include=include,
        allow_unsigned=allow_unsigned,
        allow_other_signatures=allow_other_signatures,
        force=force,
        options=options,
    )
    ports = open_ports(None)
    done = apart(lambda: pull(where, chosen, ports), ports)
    if as_json:
        files = [_as_json(item) for item in done.files]
        print_json({"revision": done.revision, "files": files, "left_out": list(done.left_out)})
        return
    for item in done.files:
        say((str(item.path), "name"), f"  {size_text(item.size)}  ", _told(item))
    if done.left_out:
        note(f"left out, since no key that you trust signed them: {', '.join(done.left_out)}")


def _told(item: PulledFile) -> tuple[str, Any]:
    if item.checked is None:
        return ("no bundle: compared with the source's digest only", "caution")
    if item.checked.signed_by:
        return (f"every byte checked; signed by {', '.join(item.checked.signed_by)}, which you trust", "good")
    return ("every byte checked; no signature verified", "caution")


def _as_json(item: PulledFile) -> dict[str, Any]:
    checked = item.checked
    return {
        "path": str(item.path.absolute()),
        "size": item.size,
        "bundle": None if checked is None else checked.manifest.stem,
        "manifest_sha256": None if checked is None else checked.manifest_digest.hex,
        "signed_by": [] if checked is None else list(checked.signed_by),
    }
