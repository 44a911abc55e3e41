"""Something else than weights or a bundle, named by what it is, with the way on."""

from __future__ import annotations

import shutil

import pytest

from lftool.testing import tiny_gguf

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
PAGE = "\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"
RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:{source}"
[sources.extra]
uri = "file:{extra}"
[model]
weights = "base"
{role}
[targets.plain]
layout = "gguf"
{more}
"""
PULL = "  hint: fetch the file: git lfs pull\n"


def refusal(source: str, path: str, hint: str = PULL) -> str:
    return f"error: source '{source}', file {path}: this is a Git LFS pointer, not the file itself\n{hint}"


@pytest.mark.parametrize(
    ("role", "extra", "more"),
    [
        ("", "model.gguf", ""),
        ('lora = "extra"', "adapter.gguf", ""),
        ('mmproj = "extra"', "mmproj.gguf", ""),
        ('imatrix = "extra"', "model.imatrix", 'quantize = "Q8_0"'),
    ],
    ids=["weights", "lora", "mmproj", "imatrix"],
)
def test_a_git_lfs_pointer_is_named_in_every_role(project, role, extra, more):
    tiny_gguf(project.root / "model.gguf", width=32)
    (project.root / extra).write_text(POINTER)
    project.write_recipe(RECIPE.format(source="model.gguf", extra=extra, role=role, more=more))
    done = project.run("lock")
    assert (done.status, done.err) == (4, refusal("extra" if role else "base", extra))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model", "tokenizer_config.json"])
def test_and_in_every_file_of_a_model(project, repository, name):
    shutil.copytree(repository / "examples" / "tiny-story" / "tiny-story", project.root / "model")
    (project.root / "model" / name).write_text(POINTER)
    project.write_recipe(RECIPE.format(source="model", extra="model", role="", more=""))
    done = project.run("lock")
    assert (done.status, done.err) == (4, refusal("base", name))


def test_a_web_page_is_named(project):
    (project.root / "model.gguf").write_text(PAGE)
    project.write_recipe(RECIPE.format(source="model.gguf", extra="model.gguf", role="", more=""))
    done = project.run("lock")
    assert (done.status, done.err) == (
        4,
        (
            "error: source 'base', file model.gguf: this is a web page, not the file itself\n"
            "  hint: open the address in a browser: it may show a login or an error\n"
        ),
    )


@pytest.mark.parametrize("layout", ["gguf", "llamafile"])
def test_a_bundle_as_a_source_is_named_and_so_is_extract(plain_project, layout):
    plain_project.write_recipe(plain_project.recipe.read_text().replace('"gguf"', f'"{layout}"'))
    plain_project.run("lock").assert_success()
    (made,) = plain_project.run("build", "--json").assert_success().json()["bundles"]
    shutil.copyfile(made["path"], plain_project.root / "model.gguf")
    plain_project.lock.unlink()
    done = plain_project.run("lock")
    assert (done.status, done.err) == (
        4,
        (
            "error: source 'base', file model.gguf: this is the bundle tiny-1-plain, not weights\n"
            "  hint: extract its weights and use those: lftool extract BUNDLE DIRECTORY\n"
            "  hint: their sha256 is in its manifest: lftool inspect BUNDLE\n"
        ),
    )


def test_a_llamafile_of_mozillas_is_named(project):
    (project.root / "model.llamafile").write_bytes(b"MZqFpD='\n" + bytes(4096))
    project.write_recipe(RECIPE.format(source="model.llamafile", extra="model.llamafile", role="", more=""))
    done = project.run("lock")
    assert (done.status, done.err.splitlines()[0]) == (
        4,
        "error: source 'base', file model.llamafile: this is a Mozilla llamafile",
    )


@pytest.mark.parametrize("command", [("verify", "--allow-unsigned"), ("inspect",)])
def test_a_plain_gguf_is_a_gguf_without_a_bundle(project, command):
    tiny_gguf(project.root / "model.gguf", width=32)
    done = project.run(command[0], "model.gguf", *command[1:])
    assert (done.status, done.err) == (
        4,
        (
            "error: model.gguf: a plain GGUF, not a bundle: nothing in it says who made it or from what\n"
            "  hint: make a bundle of it: lftool pack model.gguf\n"
        ),
    )


def test_a_git_lfs_pointer_in_place_of_a_bundle_is_named(project):
    (project.root / "model.llamafile").write_text(POINTER)
    done = project.run("verify", "model.llamafile")
    assert (done.status, done.err) == (4, f"error: model.llamafile: a Git LFS pointer, not the file itself\n{PULL}")
