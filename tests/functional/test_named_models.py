"""`lftool run X` and `lftool pack X`: a model that is named, and no recipe."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from lftool.testing import tiny_gguf
from lftool.testing.hub import HubServer

STORY = Path(__file__).parents[2] / "examples" / "tiny-story"
PROMPT = "Tell me a story about a fox."
UNPACKED = "a GGUF, not a bundle: no signature, no digest to compare with, no run contract"


@pytest.fixture
def story(project) -> Path:
    return Path(shutil.copyfile(STORY / "tiny-story-f16.gguf", project.root / "story.gguf"))


@pytest.fixture
def hub(tmp_path):
    """A Hub with a repository of three quantisations, one with a split GGUF, and one with one GGUF."""
    data = tiny_gguf(tmp_path / "model.gguf", width=32).read_bytes()
    story = (STORY / "tiny-story-f16.gguf").read_bytes()
    with HubServer() as server:
        server.repository("org/many").commit(
            {
                "README.md": b"",
                "m-Q8_0.gguf": data,
                "m-Q4_K_M.gguf": story,
                "m-Q2_K.gguf": data,
                "mmproj-m-Q4_K_M.gguf": data,
            }
        )
        server.repository("org/others").commit({"m-Q8_0.gguf": data, "m-Q2_K.gguf": data})
        server.repository("org/one").commit({"README.md": b"", "m-f16.gguf": story})
        yield server


def lftool(project, hub, *arguments: str):
    return project.spawn(*arguments, env={"HF_ENDPOINT": hub.url, "LFTOOL_FETCH_ATTEMPTS": "1"})


# --- run


def test_a_gguf_runs_and_is_said_to_have_no_signature(project, story):
    done = project.spawn("run", story, "-p", PROMPT, "--max-tokens", "8", "--temperature", "0").assert_success()
    assert done.out.startswith("Once upon a time")
    assert done.err.splitlines()[0] == f"story.gguf: {UNPACKED}"


def test_a_gguf_is_not_run_where_a_key_is_asked_for(project, story):
    project.run("keygen", "-o", "release").assert_success()
    done = project.spawn("run", story, "-p", PROMPT, "--key", "release.pub")
    assert (done.status, done.out) == (4, "")
    assert "story.gguf: a plain GGUF, not a bundle" in done.err


def test_a_damaged_gguf_is_not_run(project, story):
    story.write_bytes(story.read_bytes()[:-1])
    done = project.spawn("run", story, "-p", PROMPT)
    assert (done.status, done.out) == (4, "")


def test_options_take_the_place_of_the_run_contract(project, story):
    def told(*options: str) -> str:
        return project.spawn("run", story, "-p", PROMPT, "--max-tokens", "12", *options).assert_success().out

    assert told("--temperature", "5", "--seed", "1") == told("--temperature", "5", "--seed", "1")
    assert told("--temperature", "5", "--seed", "1") != told("--temperature", "5", "--seed", "2")
    assert told("--temperature", "0", "--threads", "1", "--ctx", "256") == told("--temperature", "0")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--temperature", "101"), "101.0 is not in the range 0<=x<=100"),
        (("--top-p", "2"), "2.0 is not in the range 0<=x<=1"),
        (("--ctx", "0"), "0 is not in the range 1<=x<=2147483647"),
    ],
)
def test_an_option_out_of_range_is_refused_before_anything_is_loaded(project, option, message):
    done = project.run("run", "story.gguf", *option)
    assert done.status == 2
    assert message in done.err


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("hf://org/one", ""),
        ("hf://org/many", "picked m-Q4_K_M.gguf of 3 models\n"),
        ("hf://org/many:q4_k_m", "picked m-Q4_K_M.gguf of 3 models\n"),
    ],
)
def test_a_repository_runs_by_its_name(project, hub, uri, told):
    arguments = ("run", uri, "-p", PROMPT, "--max-tokens", "8", "--temperature", "0")
    done = lftool(project, hub, *arguments).assert_success()
    assert done.out.startswith("Once upon a time")
    assert told in done.err


def test_a_uri_stays_what_it_was_until_it_is_upgraded(project, hub, tmp_path):
    arguments = ("run", "hf://org/one", "-p", PROMPT, "--max-tokens", "8", "--temperature", "0")
    told = lftool(project, hub, *arguments).assert_success().out
    hub.repository("org/one").commit({"m-f16.gguf": tiny_gguf(tmp_path / "other.gguf", width=32).read_bytes()})
    assert lftool(project, hub, *arguments).assert_success().out == told
    assert lftool(project, hub, *arguments, "--upgrade").out != told


def test_a_path_means_the_file_that_is_there_now(project, story):
    project.run("pack", story, "-o", "one.gguf").assert_success()
    tiny_gguf(story, width=32)
    project.run("pack", story, "-o", "two.gguf").assert_success()
    assert (project.root / "two.gguf").read_bytes().startswith(story.read_bytes())


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("hf://org/others", "hf://org/others has several models; it has m-Q2_K.gguf, m-Q8_0.gguf"),
        ("hf://org/many:Q6_K", "hf://org/many has no GGUF for Q6_K; it has m-Q2_K.gguf, m-Q4_K_M.gguf, m-Q8_0.gguf"),
    ],
)
def test_what_names_no_single_model_lists_what_there_is(project, hub, uri, message):
    done = lftool(project, hub, "run", uri, "-p", PROMPT)
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[0] == f"error: {message}"


# --- pack


def test_a_gguf_is_packed_without_a_recipe(project, story):
    done = project.run("pack", story).assert_success()
    (bundle,) = project.root.glob("*-0.1.0-whole.gguf")
    assert bundle.read_bytes().startswith(story.read_bytes())
    project.run("verify", bundle, "--allow-unsigned").assert_success()
    assert not project.recipe.exists()
    assert done.out.startswith(bundle.name)


def test_the_same_command_makes_the_same_bundle(project, story):
    for name in ("one.gguf", "two.gguf"):
        project.run("pack", story, "-o", name).assert_success()
    assert (project.root / "one.gguf").read_bytes() == (project.root / "two.gguf").read_bytes()


def test_several_types_are_several_bundles(project, story):
    project.run("pack", story, "--quantize", "Q4_K_M", "--quantize", "Q8_0").assert_success()
    assert len([*project.root.glob("*-q4_k_m.gguf"), *project.root.glob("*-q8_0.gguf")]) == 2


def test_recipe_and_lock_can_be_kept(project, story):
    project.run("pack", story, "--init", "-o", "packed.gguf").assert_success()
    assert tomllib.loads(project.recipe.read_text())["model"] == {"weights": "base"}
    assert project.lock.exists()
    done = project.run("pack", story, "--init", "-o", "packed.gguf")
    assert (done.status, done.err) == (2, "error: lftool.toml already exists\n")


def test_a_kept_recipe_builds_the_same_bundle(project, story):
    made = project.run("pack", story, "--init", "-o", "packed.gguf").assert_success()
    assert made.out.startswith("packed.gguf")
    assert tomllib.loads(project.recipe.read_text())["sources"]["base"]["uri"].startswith("file:")
    project.run("build", "--locked").assert_success()
    (built,) = (project.root / "dist").iterdir()
    assert built.read_bytes() == (project.root / "packed.gguf").read_bytes()


def test_a_kept_recipe_of_a_model_elsewhere_says_what_to_do_and_leaves_nothing(project, story, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "story.gguf").write_bytes((project.root / story).read_bytes())
    before = sorted(path.name for path in project.root.iterdir())
    done = project.run("pack", elsewhere / "story.gguf", "--init")
    assert (done.status, "lies outside the project" in done.err) == (2, True)
    assert sorted(path.name for path in project.root.iterdir()) == before


def test_a_place_without_a_suffix_is_a_folder(project, story):
    project.run("pack", story, "-o", "made/here").assert_success()
    assert [path.suffix for path in (project.root / "made" / "here").iterdir()] == [".gguf"]


def test_two_bundles_in_one_file_are_refused_before_anything_is_made(project, story):
    (project.root / "taken.gguf").write_text("mine")
    done = project.run("pack", story, "--quantize", "Q4_K_M", "--quantize", "Q8_0", "-o", "taken.gguf")
    assert (done.status, done.err) == (
        2,
        "error: taken.gguf is a file, but there are 2 bundles to write\n  hint: name a folder: -o DIRECTORY\n",
    )


def test_a_bundle_is_not_packed_again(project, story):
    project.run("pack", story, "-o", "packed.gguf").assert_success()
    done = project.run("pack", "packed.gguf")
    assert (done.status, done.err.splitlines()[0].startswith("error: packed.gguf is the bundle ")) == (2, True)


def test_what_is_no_model_is_named(project):
    (project.root / "notes.txt").write_text("hello, this is no model at all")
    done = project.run("pack", "notes.txt")
    assert done.status == 4
    assert "notes.txt" in done.err


def test_what_is_not_there_is_named(project):
    done = project.run("pack", "missing.gguf")
    assert (done.status, done.err) == (1, "error: cannot read missing.gguf: No such file or directory\n")


def test_a_key_signs_what_has_no_recipe(project, story):
    project.run("keygen", "-o", "mine").assert_success()
    project.run("pack", story, "-o", "packed.gguf", "--sign-key", "mine.key").assert_success()
    project.run("verify", "packed.gguf", "--key", "mine.pub").assert_success()
