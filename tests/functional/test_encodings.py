"""Files in another encoding than UTF-8, or damaged: the message names the file and the cause, and never advises to lose pins."""

from __future__ import annotations

import shutil

import pytest

SAVE = "  hint: save it as UTF-8 without a byte order mark\n"
ENCODINGS = {
    "utf-8-sig": "it begins with a byte order mark (BOM)",
    "utf-16": "it is UTF-16, and UTF-8 is expected",
    "utf-16-le": "it is UTF-16, and UTF-8 is expected",
    "utf-16-be": "it is UTF-16, and UTF-8 is expected",
    "latin-1": "byte 0xe9 in line 2 is not UTF-8; the file may be Latin-1 or Windows-1252",
}


@pytest.mark.parametrize(("encoding", "cause"), ENCODINGS.items(), ids=ENCODINGS.keys())
@pytest.mark.parametrize("name", ["lftool.toml", "lftool.lock"])
def test_recipe_and_lock(locked_project, name, encoding, cause):
    path = locked_project.root / name
    path.write_bytes(f"# one\n# caf\xe9\n{path.read_text()}".encode(encoding))
    done = locked_project.run("lock", "--check")
    assert (done.status, done.err) == (2 if name == "lftool.toml" else 3, f"error: {name}: {cause}\n{SAVE}")


@pytest.mark.parametrize(("encoding", "cause"), ENCODINGS.items(), ids=ENCODINGS.keys())
def test_configuration(plain_project, encoding, cause):
    plain_project.write_configuration("")
    path = plain_project.home / "config" / "lftool" / "config.toml"
    path.write_bytes("# one\n# caf\xe9\n".encode(encoding))
    done = plain_project.run("lock")
    assert (done.status, done.err) == (2, f"error: config.toml: {cause}\n{SAVE}")


@pytest.mark.slow_cases(r"-utf-(8-sig|16-le|16-be)\]")
@pytest.mark.parametrize(("encoding", "cause"), ENCODINGS.items(), ids=ENCODINGS.keys())
@pytest.mark.parametrize("name", ["config.json", pytest.param("tokenizer_config.json", marks=pytest.mark.slow)])
def test_files_of_a_model(project, repository, name, encoding, cause):
    shutil.copytree(repository / "examples" / "tiny-story" / "tiny-story", project.root / "model")
    path = project.root / "model" / name
    path.write_bytes(path.read_text().replace("{", '{\n"caf\xe9": 1,', 1).encode(encoding))
    project.write_recipe(
        '[bundle]\nname = "t"\nversion = "1"\n[sources.base]\nuri = "file:model"\n[model]\nweights = "base"\n'
        '[targets.plain]\nlayout = "gguf"\n'
    )
    done = project.run("lock")
    assert (done.status, done.err) == (4, f"error: {name}: {cause}\n{SAVE}")


def test_a_model_card_whose_front_matter_is_damaged_is_left_out_with_the_cause(project, repository):
    shutil.copytree(repository / "examples" / "tiny-story" / "tiny-story", project.root / "model")
    (project.root / "model" / "README.md").write_text("---\nlicense: mit\ntags: [a, b\n---\n# x\n")
    project.write_recipe(
        '[bundle]\nname = "t"\nversion = "1"\n[sources.base]\nuri = "file:model"\n[model]\nweights = "base"\n'
        '[targets.plain]\nlayout = "gguf"\n'
    )
    done = project.run("lock").assert_success()
    assert (
        "  warning  README.md is left out: its front matter cannot be read as YAML: expected ',' or ']', but got"
        in done.err
    )
    assert " in line 4" in done.err
