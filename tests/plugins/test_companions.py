"""What travels beside the weights: LoRA adapters and projectors, converted or taken as they are, and used."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from tests.known_tools import give

from lftool.api.gguf import TensorData, read_gguf, write_gguf
from lftool.testing import ProjectFolder
from lftool_llamacpp.probe_files import _vision_shapes, safetensors_of, write_projector_files

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story"
RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:tiny-story"
[sources.adapter]
uri = "file:adapter"
[model]
weights = "base"
lora = "adapter"
intermediate = "f32"
[targets.run]
layout = "llamafile"
[run]
context = 128
temperature = 0.0
max_tokens = 24
"""
PLAIN = RECIPE.replace('lora = "adapter"\n', "").replace('[sources.adapter]\nuri = "file:adapter"\n', "")
MODULES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
RANK, ALPHA = 4, 8


def write_adapter(folder: Path, **more: object) -> dict:
    """Write an adapter of tiny-story as PEFT does, with more of its configuration; return module to what it adds to the weights."""
    import torch
    from safetensors.torch import load_file, save_file

    weights, generator, tensors, added = load_file(STORY / "model.safetensors"), torch.manual_seed(7), {}, {}
    for layer in range(3):
        for module in MODULES:
            name = f"model.layers.{layer}.{module}"
            rows, columns = weights[f"{name}.weight"].shape
            a = torch.randn(RANK, columns, generator=generator) * 0.1
            b = torch.randn(rows, RANK, generator=generator) * 0.1
            tensors |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
            added[f"{name}.weight"] = b @ a * (ALPHA / (RANK**0.5 if more.get("use_rslora") else RANK))
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": list(MODULES), **more}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return added


def write_merged(folder: Path, added: dict) -> None:
    """Write tiny-story with an adapter added to its weights, in F32."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(STORY, folder)
    weights = {name: tensor.to(torch.float32) for name, tensor in load_file(STORY / "model.safetensors").items()}
    for name, change in added.items():
        weights[name] += change
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory, known_tools):
    """One cache for the module: the conversion scripts are fetched and fingerprinted once."""
    home = tmp_path_factory.mktemp("home")
    give(known_tools, home)
    return home


@pytest.fixture
def story(tmp_path, shared_home):
    """A project with tiny-story's safetensors."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree(STORY, root / "tiny-story")
    return ProjectFolder(root=root, home=shared_home)


def answer(bundle: Path) -> str:
    command = [bundle, "--raw", "-p", "One day"]
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=120).stdout


def built(project, recipe: str) -> Path:
    project.write_recipe(recipe)
    project.run("lock").assert_success()
    project.run("build", "--no-sign").assert_success()
    return next((project.root / "dist").iterdir())


def members(bundle: Path) -> dict:
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("lftool/bundle.json"))
    return {member["path"]: member["role"] for member in manifest["members"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{}, pytest.param({"use_rslora": True}, marks=pytest.mark.slow)], ids=["plain", "rank-stabilised"]
)
def test_a_bundle_with_an_adapter_tells_what_merged_weights_tell(story, more) -> None:
    added = write_adapter(story.root / "adapter", **more)
    adapted = built(story, RECIPE)
    assert members(adapted)["lora.gguf"] == "adapter"
    told = answer(adapted)
    shutil.rmtree(story.root / "dist")
    assert told != answer(built(story, PLAIN))
    shutil.rmtree(story.root / "dist")
    shutil.rmtree(story.root / "tiny-story")
    write_merged(story.root / "tiny-story", added)
    story.lock.unlink()
    assert told == answer(built(story, PLAIN))


@pytest.mark.slow
def test_an_adapter_that_is_a_gguf_is_taken_as_it_is(story, tmp_path) -> None:
    write_adapter(story.root / "adapter")
    converted = built(story, RECIPE)
    with zipfile.ZipFile(converted) as archive:
        adapter = archive.read("lora.gguf")
    shutil.rmtree(story.root / "adapter")
    (story.root / "adapter").mkdir()
    (story.root / "adapter" / "any.gguf").write_bytes(adapter)
    shutil.rmtree(story.root / "dist")
    story.lock.unlink()
    taken = built(story, RECIPE)
    assert "lora" not in tomllib.loads(story.lock.read_text())["convert"]
    with zipfile.ZipFile(taken) as archive:
        assert archive.read("lora.gguf") == adapter


@pytest.mark.slow
def test_another_adapter_is_another_bundle_of_the_same_weights(story) -> None:
    write_adapter(story.root / "adapter")
    built(story, RECIPE)
    first = tomllib.loads(story.lock.read_text())
    (story.root / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 16}')
    story.run("lock", "--upgrade", "adapter").assert_success()
    other = tomllib.loads(story.lock.read_text())
    story.run("lock", "--check").assert_success()
    assert other["convert"]["lora"] != first["convert"]["lora"]
    assert other["convert"]["weights"] == first["convert"]["weights"]
    assert other["targets"]["run"]["pack"]["action"] != first["targets"]["run"]["pack"]["action"]
    story.lock.write_text(story.lock.read_text().replace(other["convert"]["lora"]["action"], "1" * 64))
    done = story.run("lock", "--check")
    assert done.status == 3
    assert "convert.lora.action" in done.err


def test_an_adapter_needs_the_configuration_of_its_model(story) -> None:
    write_adapter(story.root / "adapter")
    shutil.rmtree(story.root / "tiny-story")
    shutil.copytree(STORY.parent, story.root / "tiny-story", ignore=lambda *_: ["tiny-story", "dist", "lftool.lock"])
    story.write_recipe(RECIPE.replace('intermediate = "f32"\n', ""))
    done = story.run("lock")
    assert done.status == 2, done.err
    assert "needs the config.json of its model" in done.err


@pytest.mark.slow_cases(r"\[files(3|5)")
@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ({"adapter_config.json": "{}", "adapter_model.bin": "x"}, 4, "pickle"),
        ({"adapter_config.json": "{}"}, 2, "no adapter_model.safetensors"),
        ({"adapter_config.json": '{"peft_type": "IA3"}', "adapter_model.safetensors": None}, 2, "'IA3'"),
        ({"adapter_config.json": "[]", "adapter_model.safetensors": None}, 2, "peft_type is None"),
        (
            {"adapter_config.json": '{"peft_type": "LORA"}', "adapter_model.safetensors": None},
            2,
            "not a low-rank factor",
        ),
        ({"adapter_config.json": '{"peft_type": "LORA"}', "adapter_model.safetensors": "short"}, 4, "safetensors"),
    ],
)
def test_files_that_are_no_adapter_are_refused(story, files, status, said) -> None:
    (story.root / "adapter").mkdir()
    for name, text in files.items():
        data = safetensors_of({"w": (4, 4)}) if text is None else text.encode()
        (story.root / "adapter" / name).write_bytes(data)
    story.write_recipe(RECIPE)
    done = story.run("lock")
    assert (done.status, said in done.err) == (status, True), done.err
    assert not story.lock.exists()


def write_small_adapter(folder: Path) -> None:
    """Write an adapter of a model that is not as wide."""
    folder.mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = safetensors_of({f"{name}.lora_A.weight": (4, 64), f"{name}.lora_B.weight": (64, 4)})
    (folder / "adapter_model.safetensors").write_bytes(tensors)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')


def test_an_adapter_of_another_model_is_refused_before_anything_is_locked(story) -> None:
    write_small_adapter(story.root / "adapter")
    story.write_recipe(RECIPE)
    done = story.run("lock")
    assert done.status == 2, done.err
    assert "changes blk.0.attn_q.weight by factors of [64, 4] and [4, 64], but the weights have [256, 256]" in done.err
    assert not story.lock.exists()


def test_an_adapter_whose_scale_a_gguf_cannot_say_is_refused(story) -> None:
    write_adapter(story.root / "adapter", alpha_pattern={"q_proj": 2})
    story.write_recipe(RECIPE)
    done = story.run("lock")
    assert done.status == 2, done.err
    assert "alpha_pattern gives" in done.err


VISION = """\
[bundle]
name = "vision"
version = "1"
[sources.base]
uri = "file:tiny-story"
[sources.vision]
uri = "file:vision"
[model]
weights = "base"
mmproj = "vision"
[targets.file]
layout = "gguf"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
"""


def write_vision(folder: Path, width: int = 256) -> None:
    """Write a projector's files that fit a language model of `width`."""
    folder.mkdir()
    write_projector_files(folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] = width
    (folder / "config.json").write_text(json.dumps(config))
    shapes = _vision_shapes()
    shapes["model.connector.modality_projection.proj.weight"] = (width, 256)
    (folder / "model.safetensors").write_bytes(safetensors_of(shapes))


@pytest.mark.slow
def test_a_projector_is_converted_and_llama_cpp_loads_it_beside_the_weights(story, tmp_path) -> None:
    import llama_cpp
    from llama_cpp import mtmd_cpp

    write_vision(story.root / "vision")
    bundle = built(story, VISION)
    assert members(bundle)["mmproj.gguf"] == "projector"
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("mmproj.gguf", tmp_path)
    projector = tmp_path / "mmproj.gguf"
    with projector.open("rb") as file:
        header = read_gguf(file, projector.stat().st_size, "the projector")
    assert header.metadata["general.type"] == "mmproj"
    model = llama_cpp.Llama(model_path=str(bundle), n_ctx=64, verbose=False)
    context = mtmd_cpp.mtmd_init_from_file(str(projector).encode(), model.model, mtmd_cpp.mtmd_context_params_default())
    assert context
    assert mtmd_cpp.mtmd_support_vision(ctypes.c_void_p(context))
    mtmd_cpp.mtmd_free(ctypes.c_void_p(context))


@pytest.mark.slow
def test_weights_and_projector_may_be_ggufs_of_one_source(story, tmp_path) -> None:
    write_vision(story.root / "vision")
    bundle = built(story, VISION)
    with zipfile.ZipFile(bundle) as archive:
        projector = archive.read("mmproj.gguf")
    both = story.root / "both"
    both.mkdir()
    shutil.copy(STORY.parent / "tiny-story-f16.gguf", both / "model.gguf")
    (both / "mmproj-model.gguf").write_bytes(projector)
    recipe = VISION.replace('[sources.vision]\nuri = "file:vision"\n', "").replace("file:tiny-story", "file:both")
    shutil.rmtree(story.root / "dist")
    story.lock.unlink()
    built(story, recipe.replace('mmproj = "vision"', 'mmproj = "base"'))
    assert "convert" not in tomllib.loads(story.lock.read_text())
    for path in (story.root / "dist").iterdir():
        with zipfile.ZipFile(path) as archive:
            assert archive.read("mmproj.gguf") == projector


@pytest.mark.slow
def test_a_model_that_sees_nothing_has_no_projector(story) -> None:
    story.write_recipe(VISION.replace('mmproj = "vision"', 'mmproj = "base"'))
    (story.root / "vision").mkdir()
    (story.root / "vision" / "x").write_text("x")
    done = story.run("lock")
    assert done.status == 2, done.err
    assert "llama.cpp cannot make a projector from models of architecture LlamaForCausalLM" in done.err


def test_a_projector_that_is_no_gguf_is_refused(story) -> None:
    (story.root / "vision").mkdir()
    (story.root / "vision" / "mmproj.gguf").write_bytes(b"GGUF and then nonsense")
    story.write_recipe(VISION)
    done = story.run("lock")
    assert done.status == 4, done.err
    assert "not a sound GGUF" in done.err


def test_the_model_card_stands_in_provenance_and_bill_of_materials(story) -> None:
    card = "---\nlicense: apache-2.0\nbase_model: maker/older-model\n---\n"
    (story.root / "tiny-story" / "README.md").write_text(card)
    bundle = built(story, PLAIN)
    with zipfile.ZipFile(bundle) as archive:
        provenance = json.loads(archive.read("lftool/provenance.json"))
        component = json.loads(archive.read("lftool/sbom.cdx.json"))["metadata"]["component"]
    base = {"name": "Older Model", "organization": "Maker", "repo_url": "https://huggingface.co/maker/older-model"}
    assert provenance["buildDefinition"]["internalParameters"]["model"] == {
        "name": "Tiny Story",
        "license": "apache-2.0",
        "baseModels": [base],
    }
    assert component["licenses"] == [{"license": {"name": "apache-2.0"}}]
    assert component["pedigree"]["ancestors"] == [
        {
            "type": "machine-learning-model",
            "name": "Older Model",
            "group": "Maker",
            "externalReferences": [{"type": "distribution", "url": base["repo_url"]}],
        }
    ]


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("lora", "model.lora: the GGUF of source 'base' has general.type 'model', expected 'adapter'"),
        ("mmproj", "source 'base' holds the weights, but no GGUF with mmproj in its name"),
    ],
)
def test_a_model_is_no_companion_of_itself(story, role, said) -> None:
    shutil.rmtree(story.root / "tiny-story")
    (story.root / "tiny-story").mkdir()
    shutil.copy(STORY.parent / "tiny-story-f16.gguf", story.root / "tiny-story" / "model.gguf")
    recipe = PLAIN.replace('intermediate = "f32"\n', f'{role} = "base"\n')
    story.write_recipe(recipe)
    done = story.run("lock")
    assert (done.status, said in done.err) == (2, True), done.err


def test_a_projector_of_an_older_script_says_no_type_and_is_taken(story) -> None:
    (story.root / "vision").mkdir()
    with (story.root / "vision" / "mmproj.gguf").open("wb") as file:
        tensor = TensorData(name="v.patch_embd.weight", dimensions=(32,), type="F32", data=bytes(128))
        write_gguf(file, {"general.architecture": "clip"}, [tensor])
    assert members(built(story, VISION))["mmproj.gguf"] == "projector"


@pytest.mark.slow
def test_converting_an_adapter_fetches_no_weights(story, tmp_path) -> None:
    write_adapter(story.root / "adapter")
    recipe = RECIPE.replace('layout = "llamafile"', 'layout = "gguf"\nquantize = "Q8_0"')
    built(story, recipe)
    other = ProjectFolder(root=tmp_path / "other", home=tmp_path / "other-home")
    shutil.copytree(story.root, other.root, ignore=lambda *_: ["dist"])
    shutil.copytree(story.home, other.home)
    lock = tomllib.loads(story.lock.read_text())
    (weights,) = [f for f in lock["sources"]["base"]["files"] if f["path"].endswith(".safetensors")]
    for digest in (weights["sha256"], lock["convert"]["lora"]["sha256"]):
        (other.cache / "cas-v1" / digest[:2] / digest[2:]).unlink()
    done = other.run("build", "--locked", "--no-sign").assert_success()
    assert "convert  lora" in done.err
    fetched = [line.split() for line in done.err.splitlines() if line.split()[:2] == ["fetch", "base"]]
    assert fetched == [["fetch", "base", "cached:", "config.json"]]  # what the adapter's converter reads of its model
    assert "convert  weights" not in done.err
