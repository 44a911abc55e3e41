"""Write tests/strict/architectures.json: for every architecture of llama.cpp, the keys without which it reads no model.

    python tools/architectures.py LLAMA_CPP_SOURCES

The keys are found by asking: the installed llama-cpp-python refuses a file, names the key that it misses or its type, and
is asked again. What it does not say stands in `TOLD`. Names of architectures and tensors are those of src/llama-arch.cpp.
In the table, `{arch}` stands for the architecture's name, and `{"each": X}` for an array with X for every layer.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from lftool.api.gguf import TensorData, write_gguf
from lftool.errors import LftoolError
from lftool_llamacpp.library import QuantizeCall, quantize_file

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "tests" / "strict" / "architectures.json"
LAYERS = 4
_TRIES = 80
_MISSING = re.compile(r"key not found in model: ([^\s;()]+)")
_TYPE = re.compile(r"key ([^\s]+) has wrong type (\w+) but expected type (\w+)")


# Values that llama.cpp checks when it reads the numbers of a model, and arrays.
TOLD: dict[str, dict[str, Any]] = {
    "apertus": {f"xielu.{name}": {"each": 1.5} for name in ("alpha_n", "alpha_p", "beta", "eps")},
    "bailingmoe3": {"{arch}.kda.gate_lower_bound": -1.0},
    "cohere2moe": {"{arch}.attention.layer_norm_epsilon": 1.5},
    "deepseek4": {"{arch}.attention.compress_ratios": {"each": 0}, "{arch}.expert_gating_func": 4},
    "dflash": {"{arch}.target_layers": [0, 1, 2]},
    "eagle3": {"{arch}.target_layers": [0, 1, 2]},
    "glm5-next": {
        "{arch}.attention.indexer.kpool": 2,
        "{arch}.attention.indexer.top_k": 2,
        "{arch}.hyper_connection.count": 4,
    },
    "graniteswitch": {
        "{arch}.adapters.count": 1,
        "{arch}.adapters.token_ids_activate": [1],
        "{arch}.adapters.token_ids_substitute": [1],
    },
    "qwen4exp": {"{arch}.hyper_connection.count": 2},
    "hrm_text": {"{arch}.hrm.layers_per_stack": 1, "{arch}.hrm.h_cycles": 2, "{arch}.hrm.l_cycles": 1},
}
# The same of several architectures.
ARRAYS = {
    "rope.dimension_sections": [1, 1, 1, 1],
    "attention.sliding_window_pattern": {"each": True},
    "attention.indexer.types": {"each": True},
}


def table(sources: Path, name: str) -> list[str]:
    """Return the strings of a table of llama-arch.cpp."""
    text = (sources / "src" / "llama-arch.cpp").read_text()
    body = text[text.index(f"{name} = {{") :]
    return re.findall(r'\{\s*\w+,\s*"([^"]+)"\s*\}', body[: body.index("\n};")])


def spelled(keys: dict[str, Any], architecture: str, layers: int) -> dict[str, Any]:
    """Return keys of the table as a GGUF has them."""
    found: dict[str, Any] = {}
    for key, value in keys.items():
        several = [value["each"]] * layers if isinstance(value, dict) else value
        found[key.replace("{arch}", architecture)] = tuple(several) if isinstance(several, list) else several
    return found


def refusal(metadata: dict[str, Any], folder: Path) -> str:
    """Return why llama.cpp does not read a model with these keys; "" if it does."""
    path = folder / "model.gguf"
    with path.open("wb") as file:
        write_gguf(
            file, metadata, [TensorData(name="token_embd.weight", type="F32", dimensions=(32, 2), data=bytes(256))]
        )
    try:
        quantize_file(path, folder / "none", QuantizeCall(file_type=7, dry_run=True), lambda _: None)
    except LftoolError as error:
        return error.message
    return ""


def find_keys(architecture: str, found: Any) -> None:
    """Ask until a model with the keys in `found` is read; `found[""]` says what is wrong still."""
    keys: dict[str, Any] = {
        "{arch}.block_count": LAYERS,
        "{arch}.context_length": 64,
        "{arch}.embedding_length": 256,
        "{arch}.attention.head_count": 8,
    } | TOLD.get(architecture, {})
    with tempfile.TemporaryDirectory() as name:
        for _ in range(_TRIES):
            found.clear()
            found.update(keys)
            found[""] = "the process ended"
            metadata = {"general.architecture": architecture} | spelled(keys, architecture, LAYERS)
            why = found[""] = refusal(metadata, Path(name))
            missing, wrong = _MISSING.search(why), _TYPE.search(why)
            if not missing and not wrong:
                return
            full = (wrong or missing)[1]  # type: ignore[index]  # one of them is there
            key, short = full.replace(f"{architecture}.", "{arch}.", 1), full.removeprefix(f"{architecture}.")
            if short in ARRAYS:
                keys[key] = ARRAYS[short]
            elif wrong:
                keys[key] = {"f32": 1.5, "bool": True, "str": "x", "u32": 1, "i32": 1, "u16": 1}[wrong[3]]
            else:
                keys[key] = 1.5 if re.search("eps|scale|base|factor|clamp|residual|temp", key) else 1


def main(sources: Path) -> None:
    """Write the table; print what was not found."""
    known: dict[str, dict[str, Any]] = {}
    with multiprocessing.Manager() as manager:
        for architecture in table(sources, "LLM_ARCH_NAMES"):
            if architecture.startswith("("):
                continue
            found = manager.dict()
            process = multiprocessing.get_context("fork").Process(target=find_keys, args=(architecture, found))
            process.start()
            process.join()
            known[architecture] = dict(found)
            why = known[architecture].pop("")
            if why:
                print(f"{architecture}: {why}", flush=True)
                del known[architecture]
    text = json.dumps({"tensors": table(sources, "LLM_TENSOR_NAMES"), "keys": known}, indent=1, sort_keys=True)
    OUTPUT.write_text(text + "\n")
    print(f"{len(known)} architectures")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
