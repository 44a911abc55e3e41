"""`lftool rebuild`: a bundle made again from its own lock, and what is said if it cannot be, or comes out otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
from tests.forging import forge
from tests.functional.conftest import QUANTIZED_RECIPE

from lftool.codec.locks import parse_lock
from lftool.models.digest import Digest
from lftool.ops.project import open_ports
from lftool.ops.rebuild.base_lock import stored
from lftool.store.store import Store
from lftool.testing import ProjectFolder, rewrite_bundle

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny-story"
BUNDLE = "dist/tiny-1-q8.gguf"


@pytest.fixture
def built(quantized_project: ProjectFolder) -> ProjectFolder:
    """A project with its bundle, signed."""
    quantized_project.write_recipe(QUANTIZED_RECIPE + '[sign]\nkey = "file:release.key"\n')
    for command in (("keygen", "-o", "release"), ("lock",), ("build",)):
        quantized_project.run(*command).assert_success()
    return quantized_project


@pytest.fixture
def stranger(built: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """Someone who has the bundle, and neither the project nor its cache, but knows the tool's fingerprint."""
    made = ProjectFolder(root=tmp_path / "stranger", home=tmp_path / "stranger-home")
    (made.root / "dist").mkdir(parents=True)
    shutil.copytree(built.home, made.home)
    shutil.rmtree(made.cache / "cas-v1")
    shutil.copy(built.root / BUNDLE, made.root / BUNDLE)
    return made


def tampered(project: ProjectFolder) -> Path:
    """Build the bundle of a machine whose records lie: its weights are not what its lock's actions make."""
    lock = parse_lock(project.lock.read_bytes(), "lftool.lock")
    stage = lock.targets["q8"].quantize
    assert stage is not None
    assert stage.output is not None
    store = Store(project.cache)
    data = bytearray(store.blobs.require(stage.output, "the weights").read_bytes())
    data[-100] ^= 1
    store.actions.put(stage.action, {"weights": store.blobs.put_bytes(bytes(data), "forged")})
    text = project.lock.read_text()
    for line in ("sha256", "size", "manifest"):
        text = "\n".join(
            item for item in text.split("\n") if not (item.startswith(f"{line} =") and _of_target(text, item))
        )
    project.lock.write_text(text)
    project.run("build").assert_success()
    return project.root / BUNDLE


def _of_target(text: str, line: str) -> bool:
    """Whether a line is in a table of the target."""
    before = text[: text.index(line)]
    return before.rpartition("\n[")[2].startswith("targets.q8.")


def test_a_bundle_rebuilds_to_the_same_bytes_from_its_own_lock(built: ProjectFolder) -> None:
    done = built.run("rebuild", BUNDLE, "--json").assert_success()
    found = done.json()
    assert found["result"] == "identical"
    assert [(part["part"], part["result"]) for part in found["parts"]] == [
        ("weights", "identical"),
        ("bundle", "identical"),
    ]
    assert found["rebuilt"] is None
    assert found["rebuilder"]["tools"][0]["semantics"] == "ggml-q/1"


def test_every_stage_runs_again_whatever_the_cache_holds(built: ProjectFolder) -> None:
    done = built.run("rebuild", BUNDLE)
    assert "quantize  q8" in done.err
    assert "cached: weights" not in done.err


def test_a_local_source_that_is_not_here_cannot_be_checked(stranger: ProjectFolder) -> None:
    done = stranger.run("rebuild", BUNDLE)
    assert done.status == 8
    assert "cannot check here" in done.out
    assert "model.gguf" in done.out


def test_a_local_source_comes_from_the_folder_that_the_user_names(
    stranger: ProjectFolder, built: ProjectFolder
) -> None:
    assert "identical" in stranger.run("rebuild", BUNDLE, "--project", str(built.root)).assert_success().out


def test_a_local_source_that_has_changed_cannot_be_checked(stranger: ProjectFolder, built: ProjectFolder) -> None:
    data = bytearray((built.root / "model.gguf").read_bytes())
    data[-1] ^= 1
    (built.root / "model.gguf").write_bytes(data)
    done = stranger.run("rebuild", BUNDLE, "--project", str(built.root))
    assert done.status == 8
    assert "sha256" in done.out


@pytest.mark.parametrize("name", ["vendored", "vendored.tar.zst"])
def test_a_local_source_comes_from_what_was_vendored(stranger: ProjectFolder, built: ProjectFolder, name: str) -> None:
    built.run("vendor", name).assert_success()
    done = stranger.run("rebuild", BUNDLE, "--vendor", str(built.root / name), "--offline").assert_success()
    assert "identical" in done.out


def test_a_bundle_with_other_weights_is_different_and_both_are_kept(built: ProjectFolder) -> None:
    tampered(built)
    done = built.run("rebuild", BUNDLE, "-o", "dist")
    assert done.status == 7
    assert "weights   different" in done.out
    assert "requantised" in done.out
    assert "1 of" in done.out
    (kept,) = (built.root / "dist").glob("*.rebuilt.gguf")
    assert kept.read_bytes() != (built.root / BUNDLE).read_bytes()


def test_a_tool_with_another_fingerprint_is_not_one_to_check_with(built: ProjectFolder) -> None:
    """A slice of another quantizer with the same semantics: what it made counts as made, its fingerprint is nobody's."""
    before = parse_lock(built.lock.read_bytes(), "lftool.lock")
    made, tool = before.targets["q8"].quantize, before.tools["ggml-q/1"]
    assert made is not None
    assert made.output is not None
    nobodys = attrs.evolve(tool, fingerprints={**tool.fingerprints, "Q8_0": Digest("0" * 64)})
    forged = forge(built, lambda lock: attrs.evolve(lock, tools={**lock.tools, "ggml-q/1": nobodys}))
    stage = forged.targets["q8"].quantize
    assert stage is not None
    Store(built.cache).actions.put(stage.action, {"weights": made.output})
    built.run("build").assert_success()
    done = built.run("rebuild", BUNDLE)
    assert done.status == 8
    assert "does not reproduce ggml-q/1" in done.out
    assert tool.fingerprints["Q8_0"].hex in done.out


def test_a_damaged_bundle_is_refused_before_anything_is_fetched(built: ProjectFolder) -> None:
    path = built.root / BUNDLE
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    assert built.run("rebuild", BUNDLE).status == 4


def test_a_recipe_that_was_changed_inside_is_refused(built: ProjectFolder) -> None:
    rewrite_bundle(
        built.root / BUNDLE, built.root / "other.gguf", contents={"lftool/recipe.toml": b"[bundle]\nname = 1\n"}
    )
    assert built.run("rebuild", "other.gguf").status == 4


class TestStatement:
    @pytest.fixture
    def rebuilt(self, built: ProjectFolder) -> ProjectFolder:
        built.run("keygen", "-o", "rebuilder").assert_success()
        built.run("rebuild", BUNDLE, "--statement", "s.json", "--sign-key", "rebuilder.key").assert_success()
        return built

    def test_a_verifier_who_trusts_the_rebuilder_accepts_it(self, rebuilt: ProjectFolder) -> None:
        keys = ("--key", "release.pub", "--key", "rebuilder.pub")
        done = rebuilt.run("verify", *keys, "--rebuilt", "s.json", "--full", BUNDLE).assert_success()
        assert "rebuilt, byte for byte, by rebuilder.pub" in done.out

    def test_the_same_rebuild_and_key_give_the_same_statement(self, rebuilt: ProjectFolder) -> None:
        rebuilt.run("rebuild", BUNDLE, "--statement", "t.json", "--sign-key", "rebuilder.key").assert_success()
        assert (rebuilt.root / "t.json").read_bytes() == (rebuilt.root / "s.json").read_bytes()

    def test_a_rebuilder_whom_nobody_trusts_counts_for_nothing(self, rebuilt: ProjectFolder) -> None:
        done = rebuilt.run("verify", "--key", "release.pub", "--rebuilt", "s.json", BUNDLE)
        assert done.status == 5
        assert "no trusted key verifies it" in done.err
        assert "trust the signer's public key" in done.err

    def test_a_statement_about_another_bundle_is_refused(self, rebuilt: ProjectFolder) -> None:
        rebuilt.write_recipe(rebuilt.recipe.read_text().replace('version = "1"', 'version = "2"'))
        rebuilt.run("lock").assert_success()
        rebuilt.run("build").assert_success()
        keys = ("--key", "release.pub", "--key", "rebuilder.pub")
        done = rebuilt.run("verify", *keys, "--rebuilt", "s.json", "dist/tiny-2-q8.gguf")
        assert done.status == 5
        assert "it is about another bundle" in done.err

    def test_a_rebuild_that_came_out_otherwise_vouches_for_nothing(self, rebuilt: ProjectFolder) -> None:
        tampered(rebuilt)
        done = rebuilt.run("rebuild", BUNDLE, "--statement", "t.json", "--sign-key", "rebuilder.key", "-o", "dist")
        assert done.status == 7
        keys = ("--key", "release.pub", "--key", "rebuilder.pub")
        done = rebuilt.run("verify", *keys, "--rebuilt", "t.json", BUNDLE)
        assert done.status == 6
        assert "came to 'different'" in done.err

    def test_another_kind_of_statement_is_refused(self, rebuilt: ProjectFolder) -> None:
        rebuilt.run("extract", BUNDLE, "out").assert_success()
        (signature,) = (rebuilt.root / "out" / "lftool" / "sig").iterdir()
        done = rebuilt.run("verify", "--key", "release.pub", "--rebuilt", str(signature), BUNDLE)
        assert done.status == 4
        assert "a statement of a rebuild" in done.err

    def test_a_statement_needs_a_key(self, built: ProjectFolder) -> None:
        done = built.run("rebuild", BUNDLE, "--statement", "s.json")
        assert done.status == 2
        assert "--statement needs a key" in done.err


def test_an_archive_of_a_tool_that_the_store_has_is_not_asked_for(tmp_path: Path, monkeypatch) -> None:
    """Else a rebuild would need the package index each time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ports = open_ports(None, online=False)
    lock = parse_lock((EXAMPLE / "lftool.lock").read_bytes(), "lftool.lock")
    pinned = lock.tools["hf-gguf/1"]
    assert pinned.archive is not None
    (file,) = pinned.archive.files
    bare = attrs.evolve(lock, tools={**lock.tools, "hf-gguf/1": attrs.evolve(pinned, archive=None)})
    assert stored(bare, ports).tools["hf-gguf/1"].archive is None
    path = ports.store.blobs.path(file.artifact)
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(1000))  # not its content: that is checked before use
    (found,) = stored(bare, ports).tools["hf-gguf/1"].archive.files
    assert (found.sha256, found.size) == (file.sha256, 1000)


def test_a_damaged_bundle_is_not_called_a_gguf_to_mend(built: ProjectFolder) -> None:
    """Mending would drop what makes it a bundle."""
    data = (built.root / BUNDLE).read_bytes()
    for name, damaged in (("cut.gguf", data[:-500]), ("longer.gguf", data + bytes(100))):
        (built.root / name).write_bytes(damaged)
        for command in (("diff", name, BUNDLE), ("prove", name, "--base", "model.gguf")):
            done = built.run(*command)
            assert (done.status, "gguf repair" in done.err) == (4, False), done.err


def test_a_description_is_compared(built: ProjectFolder) -> None:
    shutil.copy(built.root / BUNDLE, built.root / "first.gguf")
    recipe = built.recipe.read_text()
    built.write_recipe(recipe.replace('version = "1"', 'version = "1"\ndescription = "another"', 1))
    for command in (("lock",), ("build",)):
        built.run(*command).assert_success()
    done = built.run("diff", "first.gguf", BUNDLE, "--exit-code")
    assert (done.status, "description: None → 'another'" in done.out) == (7, True), done.out
