"""What a recipe can ask of the llama.cpp quantizer, and how a wrong wish is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from lftool.api.gguf import FILE_TYPES
from lftool.errors import RecipeError
from lftool.testing import Outcome, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"
{sources}

[model]
weights = "base"
{model}

[targets.q]
quantize = "{quantize}"
layout = "gguf"
{target}
"""
IMATRIX = {"sources": '[sources.importance]\nuri = "file:calibration.imatrix"', "model": 'imatrix = "importance"'}


@pytest.fixture
def ask(project):
    """Write a recipe and a model, and lock."""
    tiny_gguf(project.root / "model.gguf", layers=2)

    def run(quantize: str = "Q8_0", target: str = "", *arguments: str, sources: str = "", model: str = "") -> Outcome:
        project.write_recipe(RECIPE.format(quantize=quantize, target=target, sources=sources, model=model))
        return project.run("lock", *arguments)

    return run


@pytest.fixture
def types(project):
    """Build, and return the types of the tensors that are not Q8_0 or a norm."""

    def run() -> dict[str, str]:
        (made,) = project.run("build", "--json").assert_success().json()["bundles"]
        tensors = project.run("inspect", "--json", made["path"]).assert_success().json()["weights"]["tensors"]
        return {t["name"]: t["type"] for t in tensors if t["type"] not in {"Q8_0", "F32"}}

    return run


def test_exact_override_changes_one_tensor(ask, types):
    ask(target='overrides = { "blk.1.attn_v.weight" = "Q4_K" }').assert_success()
    assert types() == {"blk.1.attn_v.weight": "Q4_K"}


def test_override_of_output_does_not_touch_attn_output(ask, types):
    """llama.cpp's own patterns are searched for: `output.weight` would also hit every `attn_output.weight`."""
    ask(target='overrides = { "output.weight" = "Q6_K" }').assert_success()
    assert types() == {"output.weight": "Q6_K"}


def test_dots_in_an_override_are_dots(ask, project):
    """`blk.1.attn_v.weight` as a regular expression would match `blk_1_attn_v_weight` too."""
    assert ask(target='overrides = { "blk.1.attn_vxweight" = "Q4_K" }') == Outcome(
        status=2,
        out="",
        err=(
            "error: targets.q.overrides: 'blk.1.attn_vxweight' matches no tensor; did you mean 'blk.1.attn_v.weight'?\n"
        ),
    )
    assert not project.lock.exists()


def test_glob_override_changes_every_tensor_that_it_matches(ask, types):
    ask(target='overrides = { "blk.*.attn_[qk].weight" = "Q5_K", "output.weight" = "F16" }').assert_success()
    assert types() == {
        "blk.0.attn_q.weight": "Q5_K",
        "blk.0.attn_k.weight": "Q5_K",
        "blk.1.attn_q.weight": "Q5_K",
        "blk.1.attn_k.weight": "Q5_K",
        "output.weight": "F16",
    }


def test_two_keys_that_agree_are_fine(ask, types):
    ask(target='overrides = { "blk.1.*_v.weight" = "Q5_K", "blk.1.attn_v.weight" = "Q5_K" }').assert_success()
    assert types() == {"blk.1.attn_v.weight": "Q5_K"}


REFUSED = {
    "key that matches nothing": (
        {"target": 'overrides = { "blk.1.atn_v.weight" = "Q4_K" }'},
        "targets.q.overrides: 'blk.1.atn_v.weight' matches no tensor; did you mean 'blk.1.attn_v.weight'?\n",
    ),
    "keys that disagree": (
        {"target": 'overrides = { "blk.*.attn_v.weight" = "Q5_K", "blk.1.attn_v.weight" = "Q6_K" }'},
        (
            "targets.q.overrides: 'blk.1.attn_v.weight' makes blk.1.attn_v.weight Q6_K,"
            " but 'blk.*.attn_v.weight' makes it Q5_K\n"
        ),
    ),
    "unknown tensor type": (
        {"target": 'overrides = { "output.weight" = "Q6_k" }'},
        "targets.q.overrides: 'output.weight': unknown tensor type 'Q6_k'; did you mean 'Q6_K'?\n",
    ),
    "override that llama.cpp does not honour": (
        {"target": 'overrides = { "blk.0.attn_norm.weight" = "Q4_K" }'},
        (
            "targets.q.overrides: the quantizer makes blk.0.attn_norm.weight F32, not Q4_K\n"
            "  hint: the tensor's shape or the file type does not allow it; drop the override\n"
        ),
    ),
    "unknown file type": ({"quantize": "Q4_KM"}, "unknown quantisation 'Q4_KM'; did you mean 'Q4_K_M'?\n"),
    "file type in lower case": ({"quantize": "q4_k_m"}, "unknown quantisation 'q4_k_m'; did you mean 'Q4_K_M'?\n"),
    "file type like no other": (
        {"quantize": "@@"},
        f"unknown quantisation '@@'; valid: {', '.join(sorted(FILE_TYPES))}\n",
    ),
    "unknown option": (
        {"target": "options = { allow_requantise = true }"},
        "lftool.toml: $.targets.q.options.allow_requantise: unknown key; valid: leave_output_tensor, output_tensor_type, pure, token_embedding_type\n",
    ),
    "option of the other quantizer": (
        {"target": "options = { allow_requantize = true }"},
        (
            "lftool.toml: $.targets.q.options.allow_requantize: unknown key; valid: leave_output_tensor, output_tensor_type, pure, token_embedding_type\n"
            "  hint: the quantizer 'llama.cpp' has the option allow_requantize: quantizer = \"llama.cpp\"\n"
        ),
    ),
    "option of another type": (
        {"target": "options = { pure = 1 }"},
        "lftool.toml: $.targets.q.options.pure: expected true or false, got an integer\n",
    ),
    "unknown quantizer": (
        {"target": 'quantizer = "llamacpp"'},
        "unknown quantizer 'llamacpp'; did you mean 'llama.cpp'?\n",
    ),
    "file type that needs an importance matrix": (
        {"quantize": "IQ2_XXS"},
        (
            "targets.q: IQ2_XXS needs an importance matrix, for blk.{0-1}.attn_k.weight, blk.{0-1}.attn_output.weight,"
            " blk.{0-1}.attn_q.weight, blk.{0-1}.ffn_down.weight, blk.{0-1}.ffn_gate.weight, blk.{0-1}.ffn_up.weight\n"
            "  hint: name one under [model] imatrix, or choose another file type\n"
        ),
    ),
}


@pytest.mark.parametrize(("wish", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_wish_is_exit_2_and_writes_no_lock(ask, project, wish, error):
    assert ask(**wish) == Outcome(status=2, out="", err=f"error: {error}")
    assert not project.lock.exists()


REQUANTIZE_HINTS = (
    "pack them as they are: leave out `quantize` in the target",
    "or start from F16, BF16 or F32 weights",
    'or quantise them again: quantizer = "llama.cpp" and options = { allow_requantize = true }',
)
REQUANTIZE_HINT = "".join(f"  hint: {hint}\n" for hint in REQUANTIZE_HINTS)


@pytest.fixture
def quantised_source(project, quantize_directly):
    """`ask` writes the model first, then this one replaces it."""
    source = tiny_gguf(project.home / "f16.gguf")
    quantize_directly(source, project.home / "q8.gguf", FILE_TYPES["Q8_0"])
    return project.home / "q8.gguf"


def test_quantised_weights_are_refused_with_a_hint_while_locking(ask, project, quantised_source):
    """A lock of what cannot be built is no help: `plan` sees the types of the source."""
    (project.root / "model.gguf").write_bytes(quantised_source.read_bytes())
    done = ask("Q4_K_M")
    assert (done.status, done.err.partition(":")[0], done.err.endswith(REQUANTIZE_HINT)) == (2, "error", True)
    assert done.err.startswith("error: targets.q: the weights are quantised already: ")
    assert not project.lock.exists()


def test_quantised_weights_are_refused_by_the_quantizer_itself(plugin, quantised_source, tmp_path):
    with pytest.raises(RecipeError) as caught:
        plugin.run("Q4_K_M", tmp_path / "out.gguf", weights=quantised_source)
    assert str(caught.value) == (
        "the weights are quantised already: llama_model_quantize: failed to quantize: requantizing from type q8_0 is disabled"
    )
    assert caught.value.hints == REQUANTIZE_HINTS


def test_quantised_weights_are_taken_when_the_recipe_says_so(ask, project, types, quantised_source):
    (project.root / "model.gguf").write_bytes(quantised_source.read_bytes())
    ask("Q4_0", 'quantizer = "llama.cpp"\noptions = { allow_requantize = true, pure = true }').assert_success()
    assert set(types().values()) == {"Q4_0"}


@pytest.fixture
def calibration(project, imatrix_tools):
    importance_of, write_gguf_imatrix, _ = imatrix_tools
    return write_gguf_imatrix(project.root / "calibration.imatrix", importance_of(layers=2))


def test_imatrix_is_a_pinned_input_with_a_fingerprint_of_its_own(ask, project, calibration):
    ask("Q4_0", **IMATRIX).assert_success()
    lock = tomllib.loads(project.lock.read_text())
    assert lock["targets"]["q"]["quantize"]["uses"] == "Q4_0+imatrix"
    assert list(lock["tools"]["ggml-q/1"]["fingerprints"]) == ["Q4_0+imatrix"]
    (file,) = lock["sources"]["importance"]["files"]
    assert (file["path"], file["size"]) == ("calibration.imatrix", calibration.stat().st_size)


def test_imatrix_that_changes_makes_other_weights(ask, project, calibration, imatrix_tools):
    importance_of, write_gguf_imatrix, _ = imatrix_tools
    seen = set()
    for factor in (1, 2):
        entries = {
            name: ([value**factor for value in sums], count) for name, (sums, count) in importance_of(layers=2).items()
        }
        write_gguf_imatrix(calibration, entries)
        ask("Q4_0", "", "--upgrade", **IMATRIX).assert_success()
        project.run("build").assert_success()
        seen.add(tomllib.loads(project.lock.read_text())["targets"]["q"]["quantize"]["sha256"])
    assert len(seen) == 2


def test_bad_imatrix_is_exit_4(ask, project):
    (project.root / "calibration.imatrix").write_bytes(b"\x07\x00\x00\x00bad")
    assert ask("Q4_0", **IMATRIX) == Outcome(
        status=4,
        out="",
        err="error: targets.q: the importance matrix is neither a GGUF nor a legacy file: it is truncated\n",
    )
    assert not project.lock.exists()


@pytest.fixture
def no_worker(project, monkeypatch):
    """From now on a worker cannot be started; the parent needs none that is remembered."""

    def refuse(self, scratch):
        raise AssertionError("a worker was started")

    def switch_on():
        monkeypatch.setattr("lftool.host.isolated.Workers.start", refuse)

    return switch_on


def test_second_lock_starts_no_worker(ask, project, no_worker):
    ask("Q4_K_M").assert_success()
    first = project.lock.read_bytes()
    project.lock.unlink()
    no_worker()
    ask("Q4_K_M").assert_success()
    assert project.lock.read_bytes() == first


def test_lock_of_another_cache_is_the_same(ask, project):
    ask("Q4_K_M").assert_success()
    first = project.lock.read_bytes()
    project.lock.unlink()
    project.cache.rename(project.cache.with_name("away"))
    ask("Q4_K_M").assert_success()
    assert project.lock.read_bytes() == first


def test_build_from_the_cache_starts_no_worker(ask, project, no_worker):
    ask("Q4_K_M").assert_success()
    project.run("build").assert_success()
    no_worker()
    project.run("build", "--locked").assert_success()


def test_locked_fingerprint_that_this_tool_does_not_make_is_exit_8(ask, project):
    ask("Q8_0").assert_success()
    lock = tomllib.loads(project.lock.read_text())
    ours = lock["tools"]["ggml-q/1"]["fingerprints"]["Q8_0"]
    text = project.lock.read_text().replace(ours, "0" * 64)
    project.lock.write_text(text)
    ask("Q8_0").assert_success()  # the pin is kept, the actions follow it
    assert project.run("build") == Outcome(
        status=8,
        out="",
        err=(
            "    fetch  base  cached: model.gguf\n"
            f"error: strict {lock['tools']['ggml-q/1']['providers']['strict']} does not reproduce ggml-q/1 for Q8_0:"
            f" the lock pins fingerprint {'0' * 64}, this machine's is {ours}\n"
            f"  hint: the lock was made with strict {lock['tools']['ggml-q/1']['providers']['strict']};"
            " what changes bits: lftool help determinism\n"
            "  hint: or accept this tool's bits: lftool lock --upgrade tool:ggml-q/1\n"
        ),
    )


def test_upgrade_of_the_tool_accepts_its_bits(ask, project):
    ask("Q8_0").assert_success()
    first = project.lock.read_bytes()
    ours = tomllib.loads(project.lock.read_text())["tools"]["ggml-q/1"]["fingerprints"]["Q8_0"]
    project.lock.write_text(project.lock.read_text().replace(ours, "0" * 64))
    ask("Q8_0", "", "--upgrade", "tool:ggml-q/1").assert_success()
    assert project.lock.read_bytes() == first


def test_hint_of_a_wrong_fingerprint_names_a_page_that_exists(repository):
    assert (repository / "docs" / "explanation" / "determinism.md").is_file()


def test_parent_process_never_imports_llama_cpp(ask, project):
    """Locking and building load it in workers only."""
    ask("Q4_0").assert_success()
    code = (
        "import sys; from lftool.cli.main import run; status = run(['build']);"
        " print(sorted({'llama_cpp', 'numpy'} & set(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.root,
        env={**project.environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
