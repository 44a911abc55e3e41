#!/usr/bin/env bash
# llama.cpp's server: `response_format` is HTTP 400 after a chat template that ends in plain text, with a SentencePiece vocabulary.
#
# The server feeds what a template writes behind the last message ("Answer:") to the grammar. It leaves out a first token that
# begins with a space, since such tokenizers add one before special tokens. Where the text begins with a word, that token is
# space and word in one: the word is left out too, the grammar waits for it, and no sampler is made. The same question without
# `response_format`, and the same schema after a template that writes nothing behind, are answered. Vocabularies of Llama 2 and
# Mistral 7B are of that kind. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0
cd "$folder"
cat > look.py <<'PYTHON'
import json
from importlib.metadata import version

import gguf
import numpy as np
import xllamacpp

WIDTH = 64
LINES = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
TEMPLATES = {"nothing": LINES, "'Answer:'": LINES + "{% if add_generation_prompt %}Answer:{% endif %}"}


def write(path, template):
    """A Llama of one layer with random weights and a small SentencePiece vocabulary."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    word = "\u2581Answer"
    more = ["\u2581", *(chr(letter) for letter in range(33, 127)), *(word[:length] for length in range(2, len(word) + 1))]
    pieces, kinds = pieces + more, kinds + [1] * len(more)
    scores = [0.0] * 259 + [-100.0] * 95 + [float(length) for length in range(len(more) - 95)]
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


def asked(path, **more):
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.warmup = path, 512, False
    server = xllamacpp.Server(params)
    request = {"messages": [{"role": "user", "content": "Yes or no?"}], "max_tokens": 24, "temperature": 0, **more}
    answer = server.handle_chat_completions(request)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    error = answer.get("error") or ({} if "choices" in answer else answer)
    return "answered" if "choices" in answer else f"{error.get('code')} {error.get('message')}"


print("xllamacpp", version("xllamacpp"), "gguf", version("gguf"))
found = {}
for name, template in TEMPLATES.items():
    write("model.gguf", template)
    for label, more in (("as text", {}), ("as a JSON object", {"response_format": {"type": "json_object"}})):
        found[name, label] = asked("model.gguf", **more)
        print(f"the template writes {name} behind the message, the answer is wanted {label}: {found[name, label]}")
assert found["nothing", "as text"] == found["nothing", "as a JSON object"] == found["'Answer:'", "as text"] == "answered"
assert found["'Answer:'", "as a JSON object"].startswith("400 "), "it is answered now"
PYTHON
"$folder/venv/bin/python" look.py 2> "$folder/log" || { tail -5 "$folder/log" >&2; exit 1; }
