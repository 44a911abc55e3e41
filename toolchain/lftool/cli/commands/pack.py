"""`lftool pack`."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from lftool.cli.shared_options import chosen_sign_key, json_option, print_json, show_bundle, sign_key_option


@click.command("pack")
@click.argument("what", metavar="X")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="Output folder, or the output file if there is only one bundle; default: the current folder.",
)
@click.option(
    "--quantize", multiple=True, metavar="TYPE", help="Quantise to this type; may be repeated, one bundle each."
)
@click.option("--layout", default="gguf", show_default=True, help="gguf, or llamafile, which starts by itself.")
@click.option(
    "--upgrade", is_flag=True, help="If X is a URI, look it up again; default: keep what was pinned the first time."
)
@click.option("--init", "keep", is_flag=True, help="Leave the recipe and the lock in the current folder.")
@sign_key_option
@json_option
def command(
    *,
    what: str,
    output: Path,
    quantize: tuple[str, ...],
    layout: str,
    upgrade: bool,
    keep: bool,
    sign_key: Path | None,
    as_json: bool,
) -> None:
    """Make a bundle from the model X: a GGUF, a folder of safetensors, or a URI such as hf://org/repo:Q4_K_M.

    The cache keeps a lock of X, so the same command makes the same bundle again.
    """
    from lftool.ops.named_bundle import PackOptions, pack
    from lftool.ops.project import open_ports
    from lftool.pipeline.parallel import apart

    options = PackOptions(
        quantize=quantize,
        output=output,
        layout=layout,
        keep=Path() if keep else None,
        upgrade=upgrade,
        sign_key=chosen_sign_key(sign_key),
    )
    made = apart(lambda: pack(what, options), open_ports(None))
    if as_json:
        print_json(
            {
                "bundles": [
                    {"path": str(path), "size": item.artifact.size, "sha256": item.artifact.sha256.hex}
                    for path, item in made
                ]
            }
        )
        return
    for path, item in made:
        show_bundle(attrs.evolve(item, path=path))
