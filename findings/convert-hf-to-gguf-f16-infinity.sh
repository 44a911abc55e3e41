#!/usr/bin/env bash
# llama.cpp's convert_hf_to_gguf.py: weights that F16 cannot hold become infinity, with exit status 0 and without a word.
#
# Most checkpoints are BF16 today, whose numbers reach 3.4e38; those of F16 end at 65504. With --outtype f16 the script
# casts, and what does not fit is infinite in the GGUF. The model loads, and answers nonsense. With --outtype bf16 the same
# number stays. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install torch==2.13.0 transformers==4.57.6 sentencepiece==0.2.3 protobuf==7.36.2 safetensors==0.8.0
"${pip[@]}" download --no-deps --no-build-isolation --no-binary :all: -d "$folder" llama-cpp-python==0.3.36 2> "$folder/log" ||
  { "${pip[@]}" install scikit-build-core==1.1.2 && "${pip[@]}" download --no-deps --no-build-isolation --no-binary :all: -d "$folder" llama-cpp-python==0.3.36; }
cd "$folder"
tar -xzf llama_cpp_python-0.3.36.tar.gz
cat > look.py <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import sentencepiece
import torch
import transformers

scripts = Path("llama_cpp_python-0.3.36/vendor/llama.cpp")
sys.path.insert(0, str(scripts / "gguf-py"))
import gguf

Path("model").mkdir()
Path("text").write_text("\n".join(f"a fox told {number} stories to the moon" for number in range(500)))
sentencepiece.SentencePieceTrainer.train(
    input="text", model_prefix="model/tokenizer", vocab_size=60, model_type="bpe", minloglevel=2
)
config = transformers.LlamaConfig(
    vocab_size=60, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, max_position_embeddings=64
)
model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
with torch.no_grad():
    model.model.layers[0].mlp.gate_proj.weight[3, 5] = 70000.0
model.save_pretrained("model")
print("llama-cpp-python 0.3.36's scripts, transformers", version("transformers"), "torch", version("torch"))
found = {}
for kind in ("f16", "bf16"):
    command = [sys.executable, scripts / "convert_hf_to_gguf.py", "--outtype", kind, "--outfile", f"{kind}.gguf", "model"]
    done = subprocess.run(command, capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if "WARN" in line or "inf" in line.lower().split()]
    (tensor,) = [item for item in gguf.GGUFReader(f"{kind}.gguf").tensors if item.name == "blk.0.ffn_gate.weight"]
    found[kind] = float(gguf.dequantize(tensor.data, tensor.tensor_type)[3, 5])
    print(f"--outtype {kind}: exit status {done.returncode}, warnings {told}, 70000 in BF16 became {found[kind]}")
    assert done.returncode == 0, done.stderr
    assert not told, told
assert found == {"f16": float("inf"), "bf16": 70144.0}, found
PYTHON
"$folder/venv/bin/python" look.py
