#!/usr/bin/env bash
# llama.cpp's server: a streamed completion of several prompts begins with an event that is JSON null.
#
# OpenAI's API streams objects only, and its Python client fails on `part.choices` of None. With one prompt there is no such
# event; without a stream, several prompts are answered well. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0
cd "$folder"
cat > look.py <<'PYTHON'
from importlib.metadata import version

import gguf
import numpy as np
import xllamacpp

WIDTH = 64
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\\n{% endfor %}"

def write(path, template):
    """A Llama of one layer with random weights and a small SentencePiece vocabulary."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    more = ["\u2581", *(chr(letter) for letter in range(33, 127))]
    pieces, kinds = pieces + more, kinds + [1] * len(more)
    scores = [0.0] * 259 + [-100.0] * len(more)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(template)
    random = np.random.default_rng(0)
    names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    for name in names:
        writer.add_tensor(f"blk.0.{name}.weight", random.normal(0, 0.1, (WIDTH, WIDTH)).astype(np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.1, (len(pieces), WIDTH)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


print("xllamacpp", version("xllamacpp"), "gguf", version("gguf"))
write("model.gguf", TEMPLATE)
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.warmup = "model.gguf", 1024, 4, False
server = xllamacpp.Server(params)


def streamed(prompt):
    """Return the kinds of the events of a streamed completion."""
    kinds = []

    def take(part):
        kinds.append(type(part).__name__)
        return False

    server.handle_completions({"prompt": prompt, "max_tokens": 3, "ignore_eos": True, "stream": True}, take)
    return kinds


one, several = streamed("Yes"), streamed(["Yes", "No"])
print(f"one prompt: {one}")
print(f"two prompts: {several}")
assert set(one) == {"dict"}, one
assert several[0] == "NoneType", "the first event is an object now"
assert set(several[1:]) == {"dict"}, several
PYTHON
"$folder/venv/bin/python" look.py 2> "$folder/log" || { tail -5 "$folder/log" >&2; exit 1; }
