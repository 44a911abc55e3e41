"""`lftool export`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from lftool.cli.shared_options import bundle_argument, json_option, note, print_json, say, size_text

image_option = click.option(
    "--image", required=True, metavar="REF", help="Reference of the image, such as registry.example.com/name:1."
)
output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there; default: standard output."
)


@click.group("export")
def command() -> None:
    """Write a bundle as an image, or manifests that run one."""


@command.command("container")
@bundle_argument
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--ref", metavar="REF", help="What engines call it once loaded, such as registry.example.com/name:1.")
@json_option
def container(bundle: Path, directory: Path, ref: str | None, as_json: bool) -> None:
    """Write native BUNDLE as an OCI image layout into DIRECTORY, once every content has been checked.

    The image has one layer with one file; the same bundle gives the same bytes, whatever it is called.
    """
    from lftool.ops.export.container import export_container
    from lftool.ops.user_store import open_store

    made = export_container(bundle, directory, open_store(), ref)
    if as_json:
        print_json(
            {
                "digest": f"sha256:{made.digest.hex}",
                "architecture": made.architecture,
                "size": made.size,
                "path": str(directory.absolute()),
            }
        )
        return
    say(f"sha256:{made.digest.hex}  linux/{made.architecture}  {size_text(made.size)}")
    where = "REGISTRY/NAME:TAG" if ref is None else ref
    layout = f"oci:{directory}" if ref is None else f"oci:{directory}:{ref}"
    note(f"push it: skopeo copy --preserve-digests {shlex.quote(layout)} docker://{where}")


@command.command("compose")
@bundle_argument
@image_option
@output_option
def compose(bundle: Path, image: str, output: Path | None) -> None:
    """Print a Compose file that serves an image of BUNDLE, with memory computed from its model."""
    from lftool.ops.export.deployments import compose, deployment_of
    from lftool.ops.user_store import open_store

    _write(compose(deployment_of(bundle, image, open_store())), output)


@command.command("k8s")
@bundle_argument
@image_option
@output_option
def k8s(bundle: Path, image: str, output: Path | None) -> None:
    """Print Kubernetes manifests that serve an image of BUNDLE, with probes and resources computed from its model."""
    from lftool.ops.export.deployments import deployment_of, kubernetes
    from lftool.ops.user_store import open_store

    _write(kubernetes(deployment_of(bundle, image, open_store())), output)


def _write(text: str, output: Path | None) -> None:
    from lftool.store.durable import write_durably

    if output is None:
        click.echo(text, nl=False)
    else:
        write_durably(output, text.encode(), "extract")
        note(f"wrote {output}")
