"""`lftool fingerprint`."""

from __future__ import annotations

import click

from lftool.cli.shared_options import json_option, print_json, say
from lftool.models.terminal import verbosity
from lftool.models.terminal_text import one_line


@click.command("fingerprint")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Threads to use.")
@json_option
def command(models: tuple[str, ...], jobs: int | None, as_json: bool) -> None:
    """Print a digest of a model's tensors: the same for a GGUF, a bundle of it, and a copy with other metadata.

    MODEL is a bundle, a GGUF, a folder of safetensors, or a URI. --verbose adds every tensor.
    """
    from lftool.ops.fingerprint import fingerprint
    from lftool.ops.models.tensor_set import FORM
    from lftool.ops.project import open_ports
    from lftool.pipeline.parallel import apart

    ports = open_ports(None, threads=jobs)
    found = apart(lambda: [fingerprint(name, ports) for name in models], ports)
    if as_json:
        plain = [
            {
                "model": name,
                "form": FORM,
                "fingerprint": item.sha256.hex,
                "tensors": [
                    {"name": t.name, "type": t.type, "dimensions": list(t.dimensions), "sha256": t.sha256.hex}
                    for t in item.tensors
                ],
            }
            for name, item in zip(models, found, strict=True)
        ]
        print_json(plain[0] if len(plain) == 1 else {"models": plain})
        return
    for name, item in zip(models, found, strict=True):
        say(f"{FORM}:{item.sha256}  {name}")
        if verbosity() > 0:
            for tensor in item.tensors:
                say(f"  {tensor.sha256}  {one_line(tensor.name)} {tensor.type} {'x'.join(map(str, tensor.dimensions))}")
