"""Names and settings that users bring from other tools: taken where that is safe, else a plain sentence."""

from __future__ import annotations

import pytest

from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "{}"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
"""


@pytest.mark.parametrize("name", ["MODEL.GGUF", "Model.Gguf"])
def test_a_suffix_in_capitals_is_the_same(project, name):
    (project.root / "model").mkdir()
    (project.root / "model" / "README.md").write_text("# x\n")
    tiny_gguf(project.root / "model" / name, width=32)
    project.write_recipe(RECIPE.format("file:model"))
    project.run("lock").assert_success()
    project.run("build").assert_success()


@pytest.mark.parametrize(
    "names",
    [
        ("m.gguf.part1of2", "m.gguf.part2of2"),
        ("m.gguf-split-a", "m.gguf-split-b"),
        ("m.gguf.001", "m.gguf.002"),
        ("M.GGUF.part1", "M.GGUF.part2"),
    ],
    ids=lambda names: names[0],
)
def test_pieces_of_a_file_are_to_be_joined(project, names):
    (project.root / "model").mkdir()
    for name in names:
        (project.root / "model" / name).write_bytes(b"a piece")
    project.write_recipe(RECIPE.format("file:model"))
    done = project.run("lock")
    whole = names[0][:6]
    assert (done.status, done.err) == (
        2,
        (
            f"error: source 'base' has no file that could be the weights: {', '.join(names)}\n"
            f"  hint: these are pieces of one file; join them first: cat -- {' '.join(names)} > {whole}\n"
        ),
    )


def test_pieces_are_joined_in_the_order_of_their_numbers_and_names_are_no_commands(project):
    (project.root / "model").mkdir()
    for number in (10, 2, 1):
        (project.root / "model" / f"m; true.gguf.part{number}of10").write_bytes(b"a piece")
    project.write_recipe(RECIPE.format("file:model"))
    joined = " ".join(f"'m; true.gguf.part{number}of10'" for number in (1, 2, 10))
    assert project.run("lock").err.splitlines()[-1] == (
        f"  hint: these are pieces of one file; join them first: cat -- {joined} > 'm; true.gguf'"
    )


def test_a_download_address_of_the_hub_is_the_one_without_its_end(project):
    project.write_recipe(RECIPE.format("https://models.example/m.gguf?download=true"))
    done = project.run("lock")
    assert (done.status, done.err.splitlines()[-1]) == (
        2,
        "  hint: leave it out: https://models.example/m.gguf gives the same file",
    )


def test_the_hub_is_not_asked_where_its_library_is_told_to_be_offline(project):
    project.write_recipe(RECIPE.format("hf://org/model"))
    done = project.spawn("lock", env={"HF_HUB_OFFLINE": "1"})
    assert (done.status, done.err) == (
        8,
        (
            "error: source 'hf://org/model': HF_HUB_OFFLINE is set, so lftool does not contact the Hub\n"
            "  hint: unset it: env -u HF_HUB_OFFLINE lftool …\n"
        ),
    )


def test_an_endpoint_without_a_scheme_is_named(project):
    project.write_recipe(RECIPE.format("hf://org/model"))
    done = project.spawn("lock", env={"HF_ENDPOINT": "hub.example:8080"})
    assert (done.status, done.err) == (
        2,
        (
            "error: HF_ENDPOINT is 'hub.example:8080', which has no scheme\n"
            "  hint: write HF_ENDPOINT=https://hub.example:8080\n"
        ),
    )
