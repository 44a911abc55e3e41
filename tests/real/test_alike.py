"""SmolLM2 with a chat template of the recipe's and published sampling settings: every runtime gives the same answer.

The settings leave one answer, `top_k = 1`, although the temperature is high: who does not apply them says something else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from tests.native.conftest import seed

from lftool.testing import ProjectFolder

pytestmark = pytest.mark.slow
QUESTION = "What is the capital of France?"
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
The answer is
{%- endif -%}
"""
RECIPE = """\
[bundle]
name = "alike"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
template = "chat.jinja"
[targets.file]
layout = "gguf"
[run]
context = 512
temperature = 2.5
top_k = 1
max_tokens = 16
seed = 11
publish = true
"""
NODE = """\
import { getLlama, LlamaCompletion, LlamaLogLevel } from "node-llama-cpp";
const [file, prompt] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, maxThreads: 2, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
const said = model.fileInfo.metadata;
const topK = said.general.sampling.top_k, temperature = said.general.sampling.temp;
const template = said.tokenizer.chat_template;
const context = await model.createContext({ contextSize: 512, threads: 2 });
const completion = new LlamaCompletion({ contextSequence: context.getSequence() });
const text = await completion.generateCompletion(model.tokenize(prompt, true), { maxTokens: 16, temperature, topK, seed: 11 });
console.log(JSON.stringify({ text, topK, temperature, template }));
await llama.dispose();
"""


@pytest.fixture(scope="module")
def project(models, tmp_path_factory) -> ProjectFolder:
    base = tmp_path_factory.mktemp("alike")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    made.home.mkdir()
    shutil.copy(next((models / "smollm2").glob("*.gguf")), made.root / "model.gguf")
    (made.root / "chat.jinja").write_text(TEMPLATE)
    made.write_recipe(RECIPE)
    made.run("lock").assert_success()
    made.run("build").assert_success()
    made.run("detach", "dist/alike-1-file.gguf", "-o", "parts").assert_success()
    return made


def said(project: ProjectFolder, *options: str) -> str:
    done = project.spawn("run", "dist/alike-1-file.gguf", "-p", QUESTION, *options, timeout=300).assert_success()
    return done.out.strip()


@pytest.fixture(scope="module")
def answer(project) -> str:
    """What llama-cpp-python says with the contract."""
    return said(project, "--engine", "llama-cpp-python")


def test_the_template_is_the_recipe_s(answer, project):
    assert "Paris" in answer
    assert said(project, "--engine", "llama-cpp-python", "--seed", "12") == answer


def test_xllamacpp(project, answer):
    assert said(project, "--engine", "xllamacpp") == answer


def test_the_native_runtime(project, answer):
    seed(project.home)
    assert said(project, "--engine", "native") == answer


OVERRULED = """\
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.cpuparams.n_threads = sys.argv[1], 512, 1, 2
params.sampling.temp, params.sampling.top_k = 2.5, 400
if sys.argv[2] == "marked":
    params.sampling.user_sampling_config |= 1 << 1  # COMMON_PARAMS_SAMPLING_CONFIG_TOP_K
server = xllamacpp.Server(params)
for seed in (1, 2, 3):
    asked = {"prompt": "The capital of France is", "max_tokens": 8, "seed": seed}
    print(repr(server.handle_completions(asked)["choices"][0]["text"]))
"""


@pytest.mark.parametrize(("marked", "answers"), [("", 1), ("marked", 3)])
def test_published_settings_overrule_a_program_s_own_unless_it_marks_them(project, marked, answers):
    """In xllamacpp 2026.10.11549, as docs/reference/recipe.md says."""
    command = [sys.executable, "-c", OVERRULED, project.root / "parts" / "alike-1-file.gguf", marked]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert len(set(done.stdout.splitlines())) == answers


def test_node_llama_cpp(project, answer, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    (tmp_path / "main.mjs").write_text(NODE)
    packages = ("node-llama-cpp@3.21.1", "@node-llama-cpp/linux-x64@3.21.1")
    quiet = ("--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    subprocess.run(["npm", "install", *quiet, *packages], cwd=tmp_path, check=True, capture_output=True)
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\nThe answer is"
    command = ["node", "main.mjs", project.root / "parts" / "alike-1-file.gguf", prompt]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["topK"], found["temperature"], found["template"]) == (1, 2.5, TEMPLATE)
    assert found["text"].strip() == answer
