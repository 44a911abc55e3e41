"""Scanners and readers of others, pinned, take the GGUF that `lftool detach` writes, and it goes back into the same bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.docs.test_check_a_model import RECIPE, STORY

from lftool.testing import ProjectFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

# With the packages that they need to start; ModelAudit names sixty more, for other formats.
SCANNERS = [
    "annotated-types==0.8.0",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.3",
    "click==8.5.1",
    "cyclonedx-python-lib==11.12.0",
    "defusedxml==0.7.1",
    "gguf==0.19.0",
    "idna==3.20",
    "modelaudit-picklescan==0.1.12",
    "modelaudit==0.2.54",
    "modelvet==0.1.1",
    "numpy==2.4.6",
    "packageurl-python==0.17.6",
    "picklescan==1.0.5",
    "platformdirs==4.14.9",
    "py-serializable==2.2.0",
    "pydantic==2.14.4",
    "pydantic_core==2.50.5",
    "PyYAML==6.0.4",
    "requests==2.34.2",
    "sortedcontainers==2.4.0",
    "termcolor==3.3.0",
    "tqdm==4.70.1",
    "typing-inspection==0.4.5",
    "typing_extensions==4.16.0",
    "urllib3==2.8.0",
    "yaspin==3.5.1",
]
TRANSFORMERS = ("transformers==5.24.0", "accelerate==1.15.0", "gguf==0.19.0", "torch==2.13.0")
NPM = ("@huggingface/gguf@0.4.6", "node-llama-cpp@3.21.1", "@node-llama-cpp/linux-x64@3.21.1")
PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> ProjectFolder:
    """A signed bundle that is a GGUF, `story.gguf`, and its parts."""
    base = tmp_path_factory.mktemp("story")
    made = ProjectFolder(root=base / "files", home=base / "home")
    made.root.mkdir()
    made.home.mkdir()
    made.write_recipe(RECIPE.replace("Q4_K_M", "Q8_0"))
    shutil.copy(STORY, made.root / "story-f16.gguf")
    for arguments in (("keygen", "-o", "release"), ("lock",), ("build",)):
        made.run(*arguments).assert_success()
    shutil.copy(next((made.root / "dist").iterdir()), made.root / "story.gguf")
    made.run("detach", "story.gguf", "-o", "parts").assert_success()
    return made


@pytest.fixture
def bare(story: ProjectFolder, tmp_path: Path):
    """The bare GGUF; after the test, it goes back into the bundle, bit for bit."""
    path = story.root / "parts" / "story.gguf"
    yield path
    story.run("attach", "parts/story.lftool", "-o", tmp_path / "again").assert_success()
    assert (tmp_path / "again").read_bytes() == (story.root / "story.gguf").read_bytes()


def environment_with(folder: Path, *arguments: str) -> Path:
    """Make a Python environment of its own, and return its programs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(install, check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    programs = environment_with(tmp_path_factory.mktemp("scanners") / "venv", "--no-deps", *SCANNERS)

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [programs / program, *map(str, arguments)]
        quiet = {**os.environ, "CI": "1", "NO_ANALYTICS": "1"}  # ModelAudit tells its makers what it scans
        return subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)

    return run


MODELVET = """\
import sys, modelvet
report = modelvet.verify_path(sys.argv[1])
print("accepted" if report.accepted else report.violation_name)
"""


def test_modelvet(scanner, story, bare):
    assert scanner("python", "-c", MODELVET, bare).stdout == "accepted\n"
    assert scanner("python", "-c", MODELVET, story.root / "story.gguf").stdout == "MVET_V_TRAILING_BYTES\n"


def test_modelaudit(scanner, story, bare):
    scan = ("modelaudit", "scan", "--no-cache", "-f", "json")
    clean = scanner(*scan, bare)
    assert (clean.returncode, json.loads(clean.stdout)["issues"]) == (0, [])
    whole = scanner(*scan, story.root / "story.gguf")
    rules = {issue.get("rule_code") for issue in json.loads(whole.stdout)["issues"]}
    assert (whole.returncode, "S908" in rules) == (1, True)


def test_picklescan(scanner, bare):
    """It is made for pickles, and finds none."""
    done = scanner("picklescan", "-p", bare)
    assert (done.returncode, "Infected files: 0" in done.stdout) == (0, True)


READER = """\
import sys
from gguf import GGUFReader
reader = GGUFReader(sys.argv[1])
end = max(item.data_offset + item.n_bytes for item in reader.tensors)
print(len(reader.tensors), reader.data.size - end)
"""


def test_gguf_py(scanner, story, bare):
    tensors, behind = map(int, scanner("python", "-c", READER, bare).stdout.split())
    assert behind < 32  # padding
    again = scanner("python", "-c", READER, story.root / "story.gguf").stdout.split()
    assert (int(again[0]), int(again[1]) > 1000) == (tensors, True)


GENERATE = """\
import sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
path = Path(sys.argv[1])
where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
tokenizer = AutoTokenizer.from_pretrained(**where)
model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
ids = tokenizer(sys.argv[2], return_tensors="pt").input_ids
out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, pad_token_id=0)
print(tokenizer.decode(out[0], skip_special_tokens=True))
"""


@pytest.fixture(scope="module")
def answer(story) -> str:
    """What llama.cpp says, by lftool's own runtime."""
    options = ("-p", PROMPT, "--raw", "--temperature", "0", "--max-tokens", "16", "--engine", "llama-cpp-python")
    return PROMPT + story.spawn("run", "story.gguf", *options).assert_success().out.rstrip("\n")


def test_transformers(story, bare, answer, tmp_path):
    programs = environment_with(tmp_path / "venv", *TRANSFORMERS)
    command = [programs / "python", "-c", GENERATE, bare, PROMPT]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.stdout.strip() == answer.strip()


HUGGING_FACE = """\
import { gguf } from "@huggingface/gguf";
const { metadata, tensorInfos } = await gguf(process.argv[2], { allowLocalFile: true });
console.log(metadata["general.architecture"], tensorInfos.length);
"""
NODE = """\
import { getLlama, LlamaCompletion, LlamaLogLevel } from "node-llama-cpp";
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, maxThreads: 2, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: process.argv[2], gpuLayers: 0 });
const context = await model.createContext({ contextSize: 256, threads: 2 });
const completion = new LlamaCompletion({ contextSequence: context.getSequence() });
const text = await completion.generateCompletion(model.tokenize(process.argv[3]), { maxTokens: 16, temperature: 0 });
console.log(`${process.argv[3]} ${text.trim()}`);
await llama.dispose();
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory):
    """Run a module of JavaScript with the packages."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    quiet = ("--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    subprocess.run(["npm", "install", *quiet, *NPM], cwd=folder, check=True, capture_output=True)

    def run(code: str, *arguments: object) -> str:
        (folder / "main.mjs").write_text(code)
        command = ["node", "main.mjs", *map(str, arguments)]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    return run


def test_hugging_face_s_reader(node, bare):
    assert node(HUGGING_FACE, bare) == "llama 30\n"


def test_node_llama_cpp(node, bare, answer):
    assert node(NODE, bare, PROMPT).strip() == answer.strip()
