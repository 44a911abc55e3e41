"""Print what file types make of three real models: size, bits a weight, and perplexity or cosine; `make models` first.

    benchmarks/models_table.py MODELS TEXT

MODELS is the folder that `make models` fills, TEXT what is predicted or embedded. SmolLM2 and Gemma 3 come quantised; their
reference is F16 made of that, so the table shows what a further step costs. Everything goes through lftool's commands.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lftool.api.gguf import read_gguf

LFTOOL = Path(sys.executable).with_name("lftool")
TYPES = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K")
RECIPE = """\
[bundle]
name = "table"
version = "1"
[sources.base]
uri = "file:{source}"
[model]
weights = "base"
{more}
"""
TARGET = '[targets.{name}]\nlayout = "gguf"\nquantize = "{kind}"\n{more}\n'
AGAIN = 'quantizer = "llama.cpp"\noptions = { allow_requantize = true }'


class Project:
    """A project in a folder, with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}

    def run(self, *arguments: object) -> str:
        """Run a command that must succeed and return what it prints."""
        command = [str(part) for part in (LFTOOL, *arguments)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout

    def build(self, recipe: str) -> dict[str, Path]:
        """Lock and build; return target to bundle."""
        (self.folder / "lftool.toml").write_text(recipe)
        self.run("lock")
        return {made["target"]: Path(made["path"]) for made in json.loads(self.run("build", "--json"))["bundles"]}


def _types(source: str, more: str) -> str:
    kinds = {kind.lower(): kind for kind in TYPES}
    return RECIPE.format(source=source, more=more) + "".join(
        TARGET.format(name=name.replace("_", "-"), kind=kind, more="") for name, kind in kinds.items()
    )


def unquantised(gguf: Path, folder: Path) -> Path:
    """Return F16 weights made of quantised ones."""
    project = Project(folder)
    os.link(gguf, folder / "model.gguf")
    recipe = RECIPE.format(source="model.gguf", more="") + TARGET.format(name="f16", kind="F16", more=AGAIN)
    bundle = project.build(recipe)["f16"]
    project.run("extract", bundle, "parts")
    return next((folder / "parts").glob("*.gguf"))


def weights_of(bundle: Path) -> tuple[int, float]:
    """Return bytes of a bundle's weights, which it begins with, and their bits a weight."""
    with bundle.open("rb") as file:
        header = read_gguf(file, None, bundle.name)
    elements = sum(tensor.size // tensor.type.block_bytes * tensor.type.block_elements for tensor in header.tensors)
    return header.size, 8 * sum(tensor.size for tensor in header.tensors) / elements


def rows(project: Project, recipe: str, text: Path) -> list[str]:
    """Return a row for each file type."""
    found = []
    bundles = project.build(recipe)
    for kind in TYPES:
        name = kind.lower().replace("_", "-")
        figures: dict[str, Any] = json.loads(project.run("quality", name, "--text", text, "--no-sign", "--json"))
        size, bits = weights_of(bundles[name])
        quality = (
            f"cosine {float(figures['cosine']['mean']):.5f}, least {float(figures['cosine']['least']):.5f}"
            if "cosine" in figures
            else f"{float(figures['perplexity']):.3f} ({100 * float(figures['increase']):+.2f} %)"
        )
        found.append(f"| {kind} | {size / 1e6:.1f} MB | {bits:.2f} | {quality} |")
    return found


def main() -> None:
    """Print the table."""
    models, text = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in (("SmolLM2-135M", "smollm2"), ("Gemma 3 270M", "gemma3"), ("all-MiniLM-L6-v2", "minilm")):
            print(
                f"\n{name}\n\n| file type | weights | bits a weight | perplexity, or cosine to the unquantised |\n|---|---|---|---|"
            )
            project = Project(Path(scratch) / path)
            ggufs = list((models / path).rglob("*.gguf"))
            if ggufs:
                whole = unquantised(ggufs[0], Path(scratch) / f"{path}-f16")
                os.link(whole, project.folder / "model.gguf")
                recipe = _types("model.gguf", "")
            else:
                config = next((models / path).rglob("modules.json"))
                subprocess.run(["cp", "-r", config.parent, project.folder / "model"], check=True)
                recipe = _types("model", 'intermediate = "f16"')
            print("\n".join(rows(project, recipe, text)), flush=True)


if __name__ == "__main__":
    main()
