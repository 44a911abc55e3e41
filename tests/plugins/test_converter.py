"""From Hugging Face files to GGUF with llama.cpp's own scripts, which lie in a pinned archive."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import attrs
import pytest
from tests.known_tools import give
from tests.plugins.conftest import input_files

from lftool.api import ConverterType, TransformSpec
from lftool.api.gguf import read_gguf
from lftool.codec.locks import emit_lock, parse_lock
from lftool.errors import FormatError, RecipeError, UnavailableError
from lftool.host.isolated import Isolated
from lftool.host.registry import Registry
from lftool.host.workers import Workers
from lftool.testing import ProjectFolder
from lftool_llamacpp.converter import HuggingFaceConverter
from lftool_llamacpp.model_files import check_weights

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny-story"
STORY = EXAMPLE / "tiny-story"


@pytest.fixture
def files(tmp_path) -> Path:
    """A copy of the story model's files."""
    folder = tmp_path / "files"
    shutil.copytree(STORY, folder)
    return folder


def metadata(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        return dict(read_gguf(file, path.stat().st_size, "made").metadata)


def types(path: Path) -> set[str]:
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, "made")
    return {tensor.type.name for tensor in header.tensors if len(tensor.dimensions) > 1}


def test_story_model_becomes_the_gguf_that_was_made_by_hand(convert):
    """Also: nothing of this machine, of the time or of the folder is in it."""
    seen: list[tuple[str, int, int]] = []
    made = convert(STORY, "f16", seen=seen)
    assert made.read_bytes() == (EXAMPLE / "tiny-story-f16.gguf").read_bytes()
    with made.open("rb") as file:
        names = [tensor.name for tensor in read_gguf(file, made.stat().st_size, "made").tensors]
    assert seen == [(name, index, len(names)) for index, name in enumerate(names, 1)]


@pytest.mark.slow_cases(r"\[(f32|bf16)-")
@pytest.mark.parametrize(("produces", "kind"), [("source", "BF16"), ("f32", "F32"), ("bf16", "BF16")])
def test_matrices_get_the_wanted_type_or_keep_theirs(convert, produces, kind):
    assert types(convert(STORY, produces)) == {kind}


def test_model_card_becomes_metadata(convert, files):
    card = (
        "---\nlicense: mit\nbase_model: org/base-1B\nmodel_name: Stories\nlanguage:\n- en\ntags:\n- tales\n---\n# x\n"
    )
    (files / "README.md").write_text(card)
    found = metadata(convert(files, "f16", "some-name"))
    assert {key: found.get(key) for key in ("general.name", "general.license", "general.base_model.0.name")} == {
        "general.name": "Stories",
        "general.license": "mit",
        "general.base_model.0.name": "Base 1B",
    }


def test_without_a_name_on_the_card_the_address_names_the_model(convert):
    found = metadata(convert(STORY, "f16", "Tiny-Story-2M-Chat"))
    assert (found["general.name"], found["general.finetune"]) == ("Tiny Story 2M Chat", "Chat")


def rewrite(path: Path, **changed: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


# tests/hostile/test_projects.py has one that brings the code as well.
@pytest.mark.slow
def test_model_that_asks_for_code_is_converted_without_it(convert, files, tmp_path):
    """Neither the code beside it nor code elsewhere on the machine is imported; nobody is asked, and nothing waits."""
    marker, elsewhere = tmp_path / "executed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (files, elsewhere):
        (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    rewrite(
        files / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": f"{elsewhere}--evil.Evil"}
    )
    rewrite(files / "tokenizer_config.json", auto_map={"AutoTokenizer": [f"{elsewhere}--evil.Evil", None]})
    made = convert(files, "f16")
    assert made.read_bytes() == (EXAMPLE / "tiny-story-f16.gguf").read_bytes()
    (files / "tokenizer.model").unlink()  # so that the scripts try transformers' tokenizers
    with pytest.raises(FormatError, match=r"^llama.cpp's scripts cannot convert the model: "):
        convert(files, "f16")
    assert not marker.exists()


def test_architecture_whose_script_trusts_remote_code_imports_none(convert, files, tmp_path):
    marker, elsewhere = tmp_path / "executed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    rewrite(files / "config.json", architectures=["DreamModel"], model_type="Dream")
    rewrite(files / "tokenizer_config.json", auto_map={"AutoTokenizer": [f"{elsewhere}--evil.Evil", None]})
    assert metadata(convert(files, "f16"))["general.architecture"] == "dream"
    assert not marker.exists()


FOREIGN = ["/etc/private.safetensors", "../private.safetensors", "other.safetensors"]


@pytest.mark.parametrize("name", FOREIGN)
def test_index_that_names_a_file_elsewhere_is_refused(convert, files, name):
    index = {"weight_map": {"model.norm.weight": name, "lm_head.weight": "model.safetensors"}}
    (files / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FormatError) as caught:
        convert(files)
    assert str(caught.value) == f"model.safetensors.index.json names {name!r}, which the source does not have"


def test_weights_that_would_not_be_read_are_refused(convert, files):
    (files / "model.safetensors").rename(files / "weights.safetensors")
    with pytest.raises(RecipeError) as caught:
        convert(files)
    assert str(caught.value).startswith("weights.safetensors would be ignored: ")


SAFETENSORS = b"\x02\0\0\0\0\0\0\0{}"
AMBIGUOUS = {
    "an old one beside it": ("model.safetensors", "model_old.safetensors"),
    "another precision": ("model.safetensors", "model.fp16.safetensors"),
    "whole beside shards": (
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ),
    "two sets": (
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"),
    ),
    "the original beside it": ("model.safetensors", "consolidated.safetensors"),
}


def empty_files(folder: Path, *names: str) -> dict[str, Path]:
    for name in names:
        (folder / name).write_bytes(SAFETENSORS)
    return {name: folder / name for name in names}


@pytest.mark.parametrize("names", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_more_than_one_model_is_refused_with_what_is_there(tmp_path, names):
    with pytest.raises(RecipeError, match="the source holds more than one model") as caught:
        check_weights(empty_files(tmp_path, *names))
    assert all(name in str(caught.value) for name in names[:2])
    assert caught.value.hints[0].startswith("leave one out: exclude")


def test_a_missing_shard_is_named(tmp_path):
    names = ("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")
    with pytest.raises(RecipeError, match="3 safetensors files, and number 2 is missing"):
        check_weights(empty_files(tmp_path, *names))


@pytest.mark.parametrize(
    "names",
    [
        ("model.safetensors",),
        ("model.fp16.safetensors",),
        ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ("model.safetensors", "2_Dense/model.safetensors"),
    ],
)
def test_one_model_is_taken(tmp_path, names):
    (tmp_path / "2_Dense").mkdir()
    check_weights(empty_files(tmp_path, *names))


DAMAGED = {
    "no architectures": ("config.json", "{}"),
    "no JSON": ("config.json", "{"),
    "a list as configuration": ("config.json", "[]"),
}


@pytest.mark.slow_cases(r"\[(no architectures|a list)")
@pytest.mark.parametrize(("name", "text"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_model_is_an_error_of_its_format(convert, files, name, text):
    (files / name).write_text(text)
    with pytest.raises(FormatError):
        convert(files)


def test_card_that_begins_like_a_gguf_is_only_a_card(project):
    (project.root / "tiny-story" / "README.md").write_text("GGUF files of this model are elsewhere.\n")
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    project.run("lock").assert_success()


def test_architecture_that_llama_cpp_does_not_know_is_refused(convert, files):
    config = json.loads((files / "config.json").read_text()) | {"architectures": ["NoSuchForCausalLM"]}
    (files / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError) as caught:
        convert(files)
    assert str(caught.value) == "llama.cpp does not convert models of architecture NoSuchForCausalLM"


def test_model_without_a_tokenizer_is_refused_with_the_scripts_own_words(convert, files):
    (files / "tokenizer.model").unlink()
    with pytest.raises(FormatError) as caught:
        convert(files)
    assert str(caught.value).startswith("llama.cpp's scripts cannot convert the model: ")


def test_transformers_of_another_line_is_refused(monkeypatch):
    versions = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "5.24.0" if name == "transformers" else versions(name)
    )
    with pytest.raises(UnavailableError) as caught:
        HuggingFaceConverter().tool()
    assert (str(caught.value), caught.value.hints) == (
        "llama.cpp's conversion scripts need transformers 4.57.x, but 5.24.0 is installed: some models would convert differently",
        ("pip install 'lftool[convert]'",),
    )


def test_the_fingerprint_is_made_of_three_models_and_what_two_tokenizers_make_of_digits(archive, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "probe").mkdir()
    isolated = Isolated(tmp_path / "scratch", Workers())
    registered = Registry.discovered().get(ConverterType, "llama.cpp")
    inputs = input_files(isolated.probe_inputs(registered, "f16", tmp_path / "probe"))
    spec = TransformSpec(produces="f16", name="fingerprint", archive=archive)
    isolated.run(registered, spec, {}, inputs, tmp_path / "made", 1, lambda *_: None)
    made = (tmp_path / "made").read_bytes()
    names = [made[place : place + 200] for place in (match.start() for match in re.finditer(b"GGUF\3", made))]
    assert [next(name for name in ("llama", "qwen2", "gptneox") if name.encode() in text) for text in names] == [
        "llama",
        "qwen2",
        "gptneox",
    ]
    encodings = [json.loads(text) for text in re.findall(rb"\[[0-9, ]+\]", made)]
    assert len(encodings) == 2
    assert encodings[0] == encodings[1]
    digits = range(ord("0"), ord("9") + 1)  # words are bytes first
    assert [word for word in encodings[0] if word in digits] == [ord(digit) for digit in "31212345672026"]


def test_an_unknown_pre_tokenizer_is_named_with_the_way_on(convert, tmp_path):
    from lftool_llamacpp.probe_files import write_probe_files

    (tmp_path / "probe").mkdir()
    write_probe_files(tmp_path / "probe")
    with pytest.raises(FormatError) as caught:
        convert(tmp_path / "probe" / "qwen2", "f16")
    found = re.fullmatch(
        r"llama.cpp's scripts do not know the pre-tokenizer of the model's tokenizer.json \(chkhsh [0-9a-f]{64}\)",
        str(caught.value),
    )
    assert found
    assert caught.value.hints == (
        "a newer llama-cpp-python may know it; or start from a GGUF of the model",
        "if the model's files were changed, start from the original ones",
    )


def test_what_the_scripts_warn_of_reaches_the_user(project):
    rewrite(project.root / "tiny-story" / "config.json", bos_token_id=9000)
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    done = project.run("lock").assert_success()
    assert "warning  llama.cpp's scripts: Special token type bos, id 9000 out of range, must be under " in done.err


def test_no_message_shows_where_the_scripts_work(project):
    (project.root / "tiny-story" / "tokenizer.model").unlink()
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    done = project.run("lock")
    assert done.status == 4
    assert "/tmp" not in done.err
    assert str(project.home) not in done.err


def test_without_llama_cpp_python_the_scripts_are_those_of_the_newest_known_release(monkeypatch):
    versions = importlib.metadata.version

    def without(name):
        if name == "llama-cpp-python":
            raise importlib.metadata.PackageNotFoundError(name)
        return versions(name)

    with_it = HuggingFaceConverter().tool()
    monkeypatch.setattr(importlib.metadata, "version", without)
    assert HuggingFaceConverter().tool() == with_it


def test_without_torch_it_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(UnavailableError) as caught:
        HuggingFaceConverter().tool()
    assert str(caught.value) == "converting safetensors needs torch"
    assert caught.value.hints == ("pip install 'lftool[convert]', or point the source at a GGUF file",)


def test_files_without_a_configuration_are_refused(tmp_path):
    (path,) = empty_files(tmp_path, "model.safetensors").values()
    with pytest.raises(RecipeError) as caught:
        HuggingFaceConverter().plan(TransformSpec(produces="source"), input_files({path.name: path}))
    assert str(caught.value) == "the safetensors files have no config.json beside them: the architecture is unknown"


def test_archive_keeps_the_scripts_and_nothing_else(archive):
    with zipfile.ZipFile(archive) as members:
        names = members.namelist()
    assert {name.rpartition(".")[2] for name in names} == {"py", "jinja"}
    assert all(name.startswith("vendor/llama.cpp/") for name in names)
    assert "vendor/llama.cpp/conversion/llama.py" in names


@pytest.mark.slow
def test_it_is_what_the_script_itself_makes(sdist, convert, tmp_path):
    """`convert_hf_to_gguf.py` as a person would run it."""
    filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python before 3.11.4 has none
    shutil.unpack_archive(sdist, tmp_path / "unpacked", **filtered)
    script = next((tmp_path / "unpacked").glob("*/vendor/llama.cpp/convert_hf_to_gguf.py"))
    out = tmp_path / "theirs.gguf"
    command = [sys.executable, script, STORY, "--outtype", "bf16", "--outfile", out]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert convert(STORY, "bf16").read_bytes() == out.read_bytes()


RECIPE = """\
[bundle]
name = "story"
version = "1"

[sources.base]
uri = "file:tiny-story"

[model]
weights = "base"
{more}

[targets.whole]
layout = "gguf"
"""


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory, known_tools):
    home = tmp_path_factory.mktemp("home")
    give(known_tools, home)
    return home


@pytest.fixture
def project(tmp_path, shared_home) -> ProjectFolder:
    """A project with the story model's files; the cache, with the archive in it, is that of all tests here."""
    made = ProjectFolder(root=tmp_path / "project", home=shared_home)
    made.root.mkdir()
    shutil.copytree(STORY, made.root / "tiny-story")
    return made


def test_lock_pins_the_archive_and_the_intermediate_type(project):
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    project.run("lock").assert_success()
    lock = tomllib.loads(project.lock.read_text())
    stage, tool = lock["convert"]["weights"], lock["tools"]["hf-gguf/1"]
    assert (stage["converter"], stage["uses"]) == ("llama.cpp", "f16")
    assert stage["sha256"] == hashlib.sha256((EXAMPLE / "tiny-story-f16.gguf").read_bytes()).hexdigest()
    assert [file["path"] for file in tool["archive"]["files"]] == [
        f"llama_cpp_python-{tool['archive']['revision']}.tar.gz"
    ]
    project.run("lock", "--check").assert_success()


def test_build_from_safetensors_makes_a_bundle_that_verifies(project):
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    project.run("lock").assert_success()
    (built,) = project.run("build", "--json").assert_success().json()["bundles"]
    project.run("verify", "--allow-unsigned", "--full", built["path"]).assert_success()
    locked = project.lock.read_bytes()
    assert project.run("build", "--locked").assert_success().status == 0
    assert project.lock.read_bytes() == locked


def test_another_intermediate_type_makes_the_lock_stale(project):
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    project.run("lock").assert_success()
    project.write_recipe(RECIPE.format(more='intermediate = "bf16"'))
    assert project.run("lock", "--check").status == 3


BAD = {
    "unknown type": (
        'intermediate = "q8_0"',
        2,
        "error: lftool.toml: $.model.intermediate: ",
    ),
}


@pytest.mark.parametrize(("more", "status", "message"), BAD.values(), ids=BAD.keys())
def test_wrong_intermediate_type_is_refused(project, more, status, message):
    project.write_recipe(RECIPE.format(more=more))
    done = project.run("lock")
    assert (done.status, done.err[: len(message)]) == (status, message)


def test_intermediate_type_of_a_gguf_is_refused(project):
    shutil.rmtree(project.root / "tiny-story")
    (project.root / "tiny-story").mkdir()
    shutil.copy(EXAMPLE / "tiny-story-f16.gguf", project.root / "tiny-story")
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    done = project.run("lock")
    assert (done.status, done.err.splitlines()[0]) == (
        2,
        "error: model.intermediate: source 'base' is a GGUF, so nothing is converted",
    )


def test_damaged_safetensors_are_refused_before_anything_reads_them(project):
    path = project.root / "tiny-story" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    project.write_recipe(RECIPE.format(more=""))
    done = project.run("lock")
    assert done.status == 4
    assert "is not a sound safetensors file: header and tensors take" in done.err


@pytest.mark.slow
def test_vendored_project_converts_without_a_network(project, tmp_path):
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    project.run("lock").assert_success()
    project.run("build").assert_success()
    project.run("vendor", tmp_path / "vendored").assert_success()
    elsewhere = ProjectFolder(root=project.root, home=tmp_path / "elsewhere")
    elsewhere.home.mkdir()
    elsewhere.run("build", "--frozen", "--vendor", tmp_path / "vendored").assert_success()


def test_another_archive_than_the_tools_own_is_put_right(project):
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    project.run("lock").assert_success()
    fresh = project.lock.read_bytes()
    lock = parse_lock(fresh, "lock")
    tool = lock.tools["hf-gguf/1"]
    older = attrs.evolve(tool, archive=attrs.evolve(tool.archive, uri="pypi:llama-cpp-python==0.3.0"))
    project.lock.write_bytes(emit_lock(attrs.evolve(lock, tools={**lock.tools, "hf-gguf/1": older})))
    project.run("lock").assert_success()
    assert project.lock.read_bytes() == fresh


def test_action_of_the_conversion_covers_the_archive(project):
    project.write_recipe(RECIPE.format(more='intermediate = "f16"'))
    project.run("lock").assert_success()
    text = project.lock.read_text()
    digest = tomllib.loads(text)["tools"]["hf-gguf/1"]["archive"]["files"][0]["sha256"]
    project.lock.write_text(text.replace(digest, "0" * 64))
    done = project.run("lock", "--check")
    assert (done.status, "convert.weights.action" in done.err + done.out) == (3, True)
