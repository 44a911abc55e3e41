"""`lftool quality` and checks of kind perplexity, on tiny-story and stories that it was not trained with."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.known_tools import give
from tests.plugins.test_join import split

from lftool.testing import ProjectFolder

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny-story"
RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:tiny-story-f16.gguf"
[model]
weights = "base"
[targets.q2]
quantize = "Q2_K"
layout = "gguf"
[targets.q8]
quantize = "Q8_0"
layout = "gguf"
[targets.plain]
layout = "gguf"
"""
# What is told beside the statement.
BESIDE = ("increase", "statement", "target", "size", "bits_per_weight")
SIGN = '[sign]\nkey = "file:release.key"\n'
CHECK = '[[checks]]\nkind = "perplexity"\ntext = "held-out.txt"\nmax_increase = {}\n'


@pytest.fixture(scope="module")
def warm(tmp_path_factory, known_tools):
    """A locked project with a key, whose cache has fingerprints and plans."""
    base = tmp_path_factory.mktemp("quality")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    give(known_tools, made.home)
    for name in ("tiny-story-f16.gguf", "held-out.txt"):
        shutil.copy(EXAMPLE / name, made.root / name)
    made.write_recipe(RECIPE + SIGN)
    made.run("lock").assert_success()
    made.run("keygen", "-o", "release").assert_success()
    made.run("build").assert_success()
    return made


@pytest.fixture
def story(warm, tmp_path):
    shutil.copytree(warm.root, tmp_path / "project", ignore=lambda *_: ["dist"])
    shutil.copytree(warm.home, tmp_path / "home")
    return ProjectFolder(root=tmp_path / "project", home=tmp_path / "home")


def measured(project, *arguments) -> dict:
    """One thread: llama.cpp's threads wait for one another by spinning, and tests run beside each other."""
    jobs = () if "--jobs" in arguments else ("--jobs", "1")
    return project.run("quality", *arguments, *jobs, "--text", "held-out.txt", "--json").assert_success().json()


ORACLE = """
import math, sys, torch
from transformers import AutoModelForCausalLM, LlamaTokenizer
folder, text, context = sys.argv[1], open(sys.argv[2]).read(), 512
tokenizer = LlamaTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
tokens, total, count = tokenizer(text)["input_ids"], 0.0, 0
for start in range(0, len(tokens) - context + 1, context):
    chunk = [tokenizer.bos_token_id, *tokens[start + 1 : start + context]]
    with torch.inference_mode():
        logits = model(torch.tensor([chunk])).logits[0]
    expected = torch.tensor(chunk[context // 2 + 1 :])
    total += float(torch.nn.functional.cross_entropy(logits[context // 2 : -1], expected, reduction="sum"))
    count += len(expected)
print(count, math.exp(total / count))
"""


@pytest.mark.slow
def test_quantising_to_eight_bits_costs_little_and_to_two_bits_more(story) -> None:
    two, eight = measured(story, "q2"), measured(story, "q8")
    assert -0.001 < float(eight["increase"]) < 0.005 < float(two["increase"])
    assert float(eight["klDivergence"]["mean"]) < 0.001 < float(two["klDivergence"]["mean"])
    assert float(two["sameTopToken"]) < float(eight["sameTopToken"]) <= 1
    assert two["reference"] == eight["reference"]
    assert two["tokens"] == eight["tokens"]


def test_the_report_says_what_was_measured_where(story) -> None:
    done = story.run("quality", "q8", "--text", "held-out.txt", "-j", "1").assert_success()
    assert "tokens of held-out.txt predicted, context 512, llama-cpp-python" in done.out
    assert "perplexity     3." in done.out
    assert "KL divergence  mean 0.000" in done.out
    assert done.out.rstrip().endswith("story-1-q8.quality.sigstore.json")


@pytest.mark.slow
def test_the_unquantised_perplexity_is_what_transformers_computes(story) -> None:
    """The same chunks, in F32 with torch: another implementation of the model and of its vocabulary."""
    found = measured(story, "q8")
    command = [sys.executable, "-c", ORACLE, EXAMPLE / "tiny-story", EXAMPLE / "held-out.txt"]
    count, perplexity = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert found["tokens"] == count
    assert math.isclose(float(found["reference"]["perplexity"]), float(perplexity), rel_tol=0.002)


@pytest.mark.slow
def test_neither_threads_nor_repetition_change_a_digit(story) -> None:
    first = measured(story, "q2", "--jobs", "1")
    shutil.rmtree(story.cache / "ac-v2")
    assert measured(story, "q2", "--jobs", "2") == first


def test_figures_are_remembered(story) -> None:
    first = story.run("quality", "q8", "--text", "held-out.txt", "-j", "1").assert_success()
    again = story.run("quality", "q8", "--text", "held-out.txt", "-j", "1").assert_success()
    assert first.out == again.out
    assert "check" in first.err
    assert "check" not in again.err


def test_the_smallest_context_is_three(story) -> None:
    (story.root / "held-out.txt").write_text("Once upon a time there was a fox.")
    assert int(measured(story, "q8", "--context", "3")["tokens"]) > 0
    assert story.run("quality", "q8", "--text", "held-out.txt", "--context", "2").status == 2


def test_a_smaller_context_is_another_measurement(story) -> None:
    assert measured(story, "q8", "--context", "64")["context"] == "64"
    assert measured(story, "q8")["context"] == "512"


def test_a_statement_is_verified_with_the_bundle_it_is_about(story) -> None:
    found = measured(story, "q8")
    statement = Path(found["statement"])
    assert statement.name == "story-1-q8.quality.sigstore.json"
    bundle = story.root / "dist" / "story-1-q8.gguf"
    arguments = ("verify", bundle, "--key", "release.pub", "--quality", statement)
    assert found["perplexity"] in story.run(*arguments).assert_success().out
    said = story.run(*arguments, "--json").assert_success().json()["quality"]
    assert said == {key: value for key, value in found.items() if key not in BESIDE}


def test_the_same_figures_make_the_same_statement(story) -> None:
    statement = Path(measured(story, "q8")["statement"])
    first = statement.read_bytes()
    statement.unlink()
    measured(story, "q8")
    assert statement.read_bytes() == first


def test_a_statement_about_another_bundle_is_not_believed(story) -> None:
    statement = measured(story, "q8")["statement"]
    story.run("build", "q2").assert_success()
    done = story.run("verify", "dist/story-1-q2.gguf", "--key", "release.pub", "--quality", statement)
    assert done.status == 5
    assert "it is about another bundle" in done.err


def test_a_statement_that_was_changed_is_not_believed(story) -> None:
    statement = Path(measured(story, "q8")["statement"])
    plain = json.loads(statement.read_text())
    plain["dsseEnvelope"]["payload"] = plain["dsseEnvelope"]["payload"][:-8] + "AAAAAAA="
    statement.write_text(json.dumps(plain, separators=(",", ":"), sort_keys=True) + "\n")
    done = story.run("verify", "dist/story-1-q8.gguf", "--key", "release.pub", "--quality", statement)
    assert done.status in {4, 5}, done.err
    statement.write_text("{}")
    done = story.run("verify", "dist/story-1-q8.gguf", "--key", "release.pub", "--quality", statement)
    assert done.status == 4, done.err


def test_a_bundle_s_own_signature_is_no_statement_of_quality(story) -> None:
    story.run("build", "q8").assert_success()
    story.run("extract", "dist/story-1-q8.gguf", "parts").assert_success()
    signature = next((story.root / "parts" / "lftool" / "sig").iterdir())
    done = story.run("verify", "dist/story-1-q8.gguf", "--key", "release.pub", "--quality", signature)
    assert done.status == 4
    assert "not the one accepted encoding of a statement of quality" in done.err


def test_a_statement_needs_somebody_to_trust(story) -> None:
    statement = measured(story, "q8")["statement"]
    done = story.run("verify", "dist/story-1-q8.gguf", "--allow-unsigned", "--quality", statement)
    assert done.status == 5
    assert "no trusted key or policy given" in done.err


@pytest.mark.parametrize(
    ("target", "text", "status", "said"),
    [
        ("plain", "held-out.txt", 2, "targets.plain is not quantised: there is nothing to compare it with"),
        ("q88", "held-out.txt", 2, "the recipe has no target 'q88'; did you mean 'q8'?"),
        ("tiny", "held-out.txt", 2, "the recipe has no target 'tiny'; it has plain, q2, q8"),
        ("q8", "missing.txt", 1, "cannot read the text missing.txt: No such file or directory"),
        ("q8", "short.txt", 2, "expected at least one context of 512"),
        ("q8", "latin.txt", 2, "latin.txt is not valid UTF-8"),
    ],
)
def test_what_cannot_be_measured_is_said(story, target, text, status, said) -> None:
    (story.root / "short.txt").write_text("Once upon a time")
    (story.root / "latin.txt").write_bytes(b"\xe9" * 4000)
    done = story.run("quality", target, "--text", text, "--no-sign")
    assert (done.status, said in done.err) == (status, True), done.err


def test_several_targets_are_compared_in_one_table_with_one_pass_of_the_reference(story) -> None:
    done = story.run("quality", "--text", "held-out.txt", "--html", "quality.html").assert_success()
    lines = done.out.splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("target"))
    assert lines[head].split("  ")[0] == "target"
    assert [line.split()[0] for line in lines[head + 1 : head + 3]] == ["q2", "q8"]
    assert len({len(line) for line in lines[head : head + 3]}) == 1, "the columns are aligned"
    for name in ("rise of perplexity, per cent", "mean KL divergence, nats"):
        at = lines.index(name)
        bars = [line.count("█") for line in lines[at + 1 : at + 3]]
        assert bars[0] == 30
        assert bars[1] < 10
    assert done.err.count("quality on held-out.txt") == 1, "one pass"
    page = (story.root / "quality.html").read_text()
    assert "<h1>story 1: 2805 tokens of held-out.txt predicted, context 512</h1>" in page
    assert page.count("<circle") == 4
    assert "default-src 'none'" in page
    assert "http:" not in page
    assert "https:" not in page
    assert len(list((story.root / "dist").glob("*.quality.sigstore.json"))) == 2


def test_targets_measured_together_have_the_figures_of_each_alone(story) -> None:
    together = story.run("quality", "q2", "q8", "--text", "held-out.txt", "--json").assert_success().json()["targets"]
    (story.home / "cache").rename(story.home / "other")
    for name, found in zip(("q2", "q8"), together, strict=True):
        assert measured(story, name) == found


def test_what_is_remembered_is_not_measured_again(story) -> None:
    measured(story, "q8")
    done = story.run("quality", "--text", "held-out.txt").assert_success()
    assert "check  q2  quality on held-out.txt" in done.err


def test_without_a_key_nothing_is_written(story) -> None:
    story.write_recipe(RECIPE)
    assert measured(story, "q8")["statement"] is None
    assert [path.name for path in (story.root / "dist").iterdir()] == ["story-1-q8.gguf"]


def test_a_check_that_holds_lets_bundles_be_built(story) -> None:
    story.write_recipe(RECIPE + CHECK.format("0.5"))
    done = story.run("build", "-j", "1").assert_success()
    assert done.err.count("check  q") == 2
    again = story.run("build", "-j", "1").assert_success()
    assert "check  q" not in again.err


def test_a_check_that_fails_ends_the_build_with_6_and_no_bundle(story) -> None:
    story.write_recipe(RECIPE + CHECK.format("0.01"))
    done = story.run("build", "-j", "1")
    assert done.status == 6
    assert "targets.q2: perplexity of held-out.txt is" in done.err
    assert "but the check allows +1.00%" in done.err
    assert not list((story.root / "dist").glob("*"))


def test_a_check_of_some_targets_leaves_the_others_alone(story) -> None:
    story.write_recipe(RECIPE + CHECK.format("0.01") + 'targets = ["q8"]\n')
    story.run("build", "-j", "1").assert_success()
    assert sorted(path.name for path in (story.root / "dist").iterdir()) == [
        "story-1-plain.gguf",
        "story-1-q2.gguf",
        "story-1-q8.gguf",
    ]


@pytest.mark.slow
def test_a_check_decides_no_byte_so_the_lock_stays_fresh(story) -> None:
    story.write_recipe(RECIPE + CHECK.format("0.5"))
    story.run("lock", "--check").assert_success()
    story.run("build", "q8", "--no-sign").assert_success()
    first = (story.root / "dist" / "story-1-q8.gguf").read_bytes()
    story.write_recipe(RECIPE)
    story.run("build", "q8", "--no-sign").assert_success()
    assert (story.root / "dist" / "story-1-q8.gguf").read_bytes() == first


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (CHECK.format("-0.1"), "max_increase"),
        (CHECK.format('"much"'), "max_increase"),
        (CHECK.format("0.1").replace("perplexity", "prompt"), "$.checks[0].max_increase: unknown key"),
        (CHECK.format("0.1").replace("held-out.txt", "../held-out.txt"), "text"),
        (CHECK.format("0.1") + 'targets = ["plain"]\n', "'plain', which the recipe does not quantise"),
        (CHECK.format("0.1") + 'targets = ["q9"]\n', "'q9', which the recipe does not have"),
        (CHECK.format("0.1") + "context = 2\n", "context"),
        (CHECK.format("0.1") + "contekst = 64\n", "did you mean 'context'?"),
    ],
)
def test_a_faulty_check_is_refused(story, check, said) -> None:
    story.write_recipe(RECIPE + check)
    done = story.run("lock", "--check")
    assert (done.status, said in done.err) == (2, True), done.err


def test_a_text_that_a_link_puts_elsewhere_is_refused(story, tmp_path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    (story.root / "link.txt").symlink_to(tmp_path / "secret.txt")
    story.write_recipe(RECIPE + CHECK.format("0.5").replace("held-out.txt", "link.txt"))
    done = story.run("build", "-j", "1")
    assert done.status == 2
    assert "link.txt is a link that points outside the recipe's folder" in done.err


def test_a_check_needs_the_unquantised_weights_so_they_are_stored(story, tmp_path) -> None:
    parts = split(EXAMPLE / "tiny-story-f16.gguf", tmp_path / "parts", 20)
    shutil.copytree(parts[0].parent, story.root / "parts")
    recipe = RECIPE.replace("file:tiny-story-f16.gguf", "file:parts").replace('[targets.plain]\nlayout = "gguf"\n', "")
    story.write_recipe(recipe + CHECK.format("0.5"))
    story.lock.unlink()
    story.run("lock").assert_success()
    stage = tomllib.loads(story.lock.read_text())["convert"]["weights"]
    assert (story.cache / "cas-v1" / stage["sha256"][:2] / stage["sha256"][2:]).stat().st_size == stage["size"]
    done = story.run("build", "-j", "1").assert_success()
    assert [line for line in done.err.splitlines() if "convert" in line and "cached" not in line] == []
