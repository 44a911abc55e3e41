#!/usr/bin/env bash
# xllamacpp: a JSON schema does not hold an answer if the vocabulary is SentencePiece's and puts a space in front of a text.
#
# xllamacpp is built with llguidance, which compiles schemas. llama.cpp gives it the text of each token, and the token of a
# space alone has none, since the space in front is taken off. So that token counts as a special one, which is sampled where
# the grammar wants `{`; then the constraint gives up, with a warning in the log and status 200. Llama 2's vocabulary and its
# descendants are such. llama.cpp's own grammars (GBNF) hold with the same model, and so does the schema once
# tokenizer.ggml.add_space_prefix is false. Fails if that changes.
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
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\\n{% endfor %}"

def write(path, template, space_in_front):
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
    writer.add_add_space_prefix(space_in_front)
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


SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
GRAMMAR = r'root ::= "{\"a\":" ("true" | "false") "}"'


def is_held(path, **constraint):
    """Return whether an answer is, or begins, what the constraint allows."""
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = path, 512, 1, False
    asked = {"prompt": "Yes or no?", "max_tokens": 40, "temperature": 0, **constraint}
    answer = xllamacpp.Server(params).handle_completions(asked)["choices"][0]["text"]
    print(f"{path}, {', '.join(constraint)}: {answer[:20]!r}")
    return answer.startswith("{")


print("xllamacpp", version("xllamacpp"), "gguf", version("gguf"))
write("space.gguf", TEMPLATE, True)
write("none.gguf", TEMPLATE, False)
assert not is_held("space.gguf", json_schema=SCHEMA), "the schema holds now"
assert is_held("space.gguf", grammar=GRAMMAR)
assert is_held("none.gguf", json_schema=SCHEMA)
PYTHON
"$folder/venv/bin/python" look.py 2> "$folder/log" || { tail -5 "$folder/log" >&2; exit 1; }
