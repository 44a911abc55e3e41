"""Run llama.cpp's conversion of LoRA adapters, which is a program: its arguments in, its file out, its complaints caught."""

from __future__ import annotations

import json
import logging
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lftool.api import FormatError, LftoolError
from lftool.api.gguf import read_gguf
from lftool_llamacpp.conversion import FOLDER, load_scripts
from lftool_llamacpp.lora import CONFIG
from lftool_llamacpp.model_files import lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.api import TransformSpec


class _Complaints(logging.Handler):
    """Keeps what the program logs as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def convert_adapter(
    spec: TransformSpec,
    kind: str,
    adapter: Mapping[str, Path],
    base: Mapping[str, Path],
    alpha: float,
    output: Path,
    progress: Callable[[str, int, int], None],
) -> None:
    """Convert an adapter's files into a GGUF.

    Args:
        spec: What to make; its archive holds the scripts.
        kind: Type of the matrices: `f32`, `f16` or `bf16`.
        adapter: Name to file of the adapter.
        base: Name to file of the configuration of its model.
        alpha: What the GGUF says for the scale; the scripts know no more than `lora_alpha`.
        output: Where to write.
        progress: Called as progress(tensor, index, count).

    Raises:
        UnavailableError: The scripts were not handed over.
        FormatError: The scripts cannot read the adapter, or do not know the architecture of its model.
    """
    load_scripts(spec)
    folder, model = Path("adapter").absolute() / spec.name, Path("base").absolute()
    lay_out(folder, adapter)
    lay_out(model, base)
    config = folder / CONFIG
    said = json.loads(config.read_bytes())
    config.unlink()
    config.write_text(json.dumps({**said, "lora_alpha": alpha}))
    complaints = _Complaints()
    logging.getLogger().addHandler(complaints)
    script = str(FOLDER.absolute() / "convert_lora_to_gguf.py")
    sys.argv = [script, "--outtype", kind, "--outfile", str(output), "--base", str(model), str(folder)]
    try:
        runpy.run_path(script, run_name="__main__")
    except (LftoolError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        said = "; ".join(complaints.said) or f"{type(error).__name__}: {error}"
        raise FormatError(f"llama.cpp's scripts cannot convert the adapter: {said}") from error
    with output.open("rb") as file:
        header = read_gguf(file, output.stat().st_size, "the adapter")
    for index, tensor in enumerate(header.tensors, 1):
        progress(tensor.name, index, len(header.tensors))
