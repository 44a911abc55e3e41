"""`lftool detach` and `attach`: a bundle as bare weights with a sidecar, and back, bit for bit."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lftool.api.gguf import TensorData, read_gguf, write_gguf
from lftool.bundle.bundle_files import opened
from lftool.errors import LftoolError
from lftool.ops.bundles.verify import VerifyOptions, verify_bundle
from lftool.testing import ProjectFolder

if TYPE_CHECKING:
    from pathlib import Path

SIDECAR, WEIGHTS = "parts/story.lftool", "parts/story.gguf"


@pytest.fixture(params=["gguf", "llamafile"])
def folder(request, release: ProjectFolder, plain: bytes, start: bytes, tmp_path: Path) -> ProjectFolder:
    """A folder with a signed bundle, `story` with the suffix of its layout, and the same detached below `parts`."""
    made = ProjectFolder(root=tmp_path / "files", home=release.home)
    made.root.mkdir()
    for name in ("release.pub", "release.key"):
        shutil.copy(release.root / name, made.root / name)
    (made.root / bundle(request.param)).write_bytes(plain if request.param == "gguf" else start)
    made.run("detach", bundle(request.param), "-o", "parts").assert_success()
    return made


def bundle(layout: str) -> str:
    return f"story.{layout}"


def layout_of(folder: ProjectFolder) -> str:
    return "gguf" if (folder.root / "story.gguf").exists() else "llamafile"


def original(folder: ProjectFolder) -> Path:
    return folder.root / bundle(layout_of(folder))


def test_the_bundle_comes_back_bit_for_bit(folder: ProjectFolder) -> None:
    folder.run("attach", SIDECAR, "-o", "again").assert_success()
    assert (folder.root / "again").read_bytes() == original(folder).read_bytes()
    assert ((folder.root / "again").stat().st_mode & 0o111 != 0) == (layout_of(folder) == "llamafile")


def test_the_weights_are_those_that_were_packed(folder: ProjectFolder) -> None:
    with opened(original(folder)) as whole:
        assert hashlib.sha256((folder.root / WEIGHTS).read_bytes()).hexdigest() == whole.manifest.weights.sha256.hex


def test_the_sidecar_is_an_archive_of_everything_else(folder: ProjectFolder) -> None:
    with zipfile.ZipFile(original(folder)) as whole, zipfile.ZipFile(folder.root / SIDECAR) as sidecar:
        assert sidecar.testzip() is None
        assert sidecar.namelist() == [name for name in whole.namelist() if name != "model.gguf"]
        assert {name: sidecar.read(name) for name in sidecar.namelist()} == {
            name: whole.read(name) for name in sidecar.namelist()
        }


@pytest.mark.parametrize("given_path", [SIDECAR, WEIGHTS])
def test_a_detached_bundle_is_verified_as_the_bundle(folder: ProjectFolder, given_path: str) -> None:
    whole = folder.run("verify", original(folder), "--key", "release.pub", "--full", "--json").assert_success().json()
    parts = folder.run("verify", given_path, "--key", "release.pub", "--full", "--json").assert_success().json()
    beside = {"bundle", "path", "file"}
    assert {key: value for key, value in parts.items() if key not in beside} == {
        key: value for key, value in whole.items() if key not in beside
    }


def test_what_a_bundle_says_is_read_from_its_parts(folder: ProjectFolder) -> None:
    whole = folder.run("fingerprint", original(folder)).assert_success().out.split()[0]
    assert folder.run("fingerprint", SIDECAR).assert_success().out.split()[0] == whole
    done = folder.run("diff", SIDECAR, original(folder), "--exit-code").assert_success()
    assert done.out.splitlines()[-1] == "no difference"
    assert (
        folder.run("inspect", SIDECAR).assert_success().out.splitlines()[1:3]
        == (folder.run("inspect", original(folder)).assert_success().out.splitlines()[1:3])
    )


def test_a_signature_goes_into_the_sidecar(folder: ProjectFolder) -> None:
    folder.run("keygen", "-o", "reviewer").assert_success()
    weights = (folder.root / WEIGHTS).read_bytes()
    folder.run("sign", SIDECAR, "--sign-key", "reviewer.key").assert_success()
    folder.run("sign", original(folder), "--sign-key", "reviewer.key").assert_success()
    folder.run("attach", SIDECAR, "-o", "again").assert_success()
    assert (folder.root / "again").read_bytes() == original(folder).read_bytes()
    assert (folder.root / WEIGHTS).read_bytes() == weights


class TestPartsThatDoNotBelongTogether:
    def test_weights_of_another_size(self, folder: ProjectFolder) -> None:
        weights = folder.root / WEIGHTS
        size = weights.stat().st_size
        weights.write_bytes(weights.read_bytes() + bytes(32))
        done = folder.run("attach", SIDECAR, "-o", "again")
        assert done.status == 4
        assert f"story.gguf: {size + 32} bytes, but story.lftool belongs to a file of {size} bytes" in done.err
        assert not (folder.root / "again").exists()

    def test_weights_that_a_tool_changed(self, folder: ProjectFolder) -> None:
        weights = folder.root / WEIGHTS
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        for command in (("attach", SIDECAR, "-o", "again"), ("verify", SIDECAR, "--key", "release.pub")):
            done = folder.run(*command)
            assert done.status == 4
            assert "have been changed" in done.err
        assert (
            sorted(path.name for path in folder.root.iterdir() if path.name.startswith(("again", ".", "lftool"))) == []
        )

    def test_weights_that_are_not_there(self, folder: ProjectFolder) -> None:
        weights = folder.root / WEIGHTS
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        weights.rename(folder.root / "elsewhere.gguf")
        done = folder.run("attach", SIDECAR, "-o", "again")
        assert done.status == 1, done.err
        assert f"story.lftool needs the file with sha256 {digest}" in done.err
        assert f"lftool attach {SIDECAR} --weights FILE" in done.err
        folder.run("attach", SIDECAR, "--weights", "elsewhere.gguf", "-o", "again").assert_success()
        assert (folder.root / "again").read_bytes() == original(folder).read_bytes()

    def test_a_bundle_is_no_sidecar_and_a_sidecar_no_bundle(self, folder: ProjectFolder) -> None:
        shutil.copy(original(folder), folder.root / "parts" / "other.lftool")
        assert folder.run("attach", "parts/other.lftool").status == 4
        shutil.copy(folder.root / SIDECAR, folder.root / "side.gguf")
        assert folder.run("verify", "side.gguf", "--allow-unsigned").status == 4

    def test_a_runtime_for_a_bundle_that_has_none(self, folder: ProjectFolder) -> None:
        done = folder.run("attach", SIDECAR, "--runtime", SIDECAR, "-o", "again")
        expected = {"gguf": (2, "has no runtime"), "llamafile": (4, "belongs to a file of")}[layout_of(folder)]
        assert (done.status, expected[1] in done.err) == (expected[0], True)

    def test_a_rewritten_gguf_is_refused_as_the_bundle_and_compared_as_a_gguf(self, folder: ProjectFolder) -> None:
        weights = folder.root / WEIGHTS
        with weights.open("rb") as file:
            header = read_gguf(file, weights.stat().st_size, "weights")
        data = weights.read_bytes()
        tensors = [
            TensorData(
                name=item.name,
                dimensions=item.dimensions,
                type=item.type.name,
                data=data[header.data_offset + item.offset :][: item.size],
            )
            for item in header.tensors
        ]
        with weights.open("wb") as file:
            write_gguf(file, {**header.metadata, "general.name": "another"}, tensors)
        assert folder.run("verify", WEIGHTS, "--allow-unsigned").status == 4
        done = folder.run("diff", WEIGHTS, original(folder), "--exit-code")
        assert (done.status, "general.name" in done.out) == (7, True)


def test_a_name_without_a_suffix_is_kept_whole(folder: ProjectFolder) -> None:
    shutil.copy(original(folder), folder.root / "story-1.0")
    folder.run("detach", "story-1.0", "-o", "more").assert_success()
    assert (folder.root / "more" / "story-1.0.lftool").exists()
    folder.run("verify", "more/story-1.0.lftool", "--key", "release.pub").assert_success()


@pytest.mark.parametrize("command", [("extract", ".", "out"), ("detach", ".", "-o", "out"), ("inspect", "missing.")])
def test_what_is_no_file_is_said_to_be_none(folder: ProjectFolder, command: tuple[str, ...]) -> None:
    done = folder.run(*command)
    assert (done.status, "internal" in done.err) == (1, False), done.err


def test_nothing_is_overwritten(folder: ProjectFolder) -> None:
    before = {path: path.read_bytes() for path in (folder.root / "parts").iterdir()}
    done = folder.run("detach", original(folder), "-o", "parts")
    assert done.status == 2
    assert "already exists" in done.err
    assert {path: path.read_bytes() for path in (folder.root / "parts").iterdir()} == before


def test_a_detached_bundle_is_attached_beside_weights_of_its_name(folder: ProjectFolder) -> None:
    done = folder.run("attach", SIDECAR).assert_success()
    expected = {"gguf": "parts/attached/story.gguf", "llamafile": "parts/story.llamafile"}[layout_of(folder)]
    assert done.out == f"{expected}\n"
    assert (folder.root / expected).read_bytes() == original(folder).read_bytes()


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_byte_of_a_sidecar_is_covered(folder: ProjectFolder, data: st.DataObject) -> None:
    """A changed byte is refused, unless it is in a signature: then nobody trusted has signed."""
    sidecar = folder.root / SIDECAR
    sound = sidecar.read_bytes()
    where = data.draw(st.integers(0, len(sound) - 1))
    changed = bytearray(sound)
    changed[where] ^= data.draw(st.integers(1, 255))
    sidecar.write_bytes(changed)
    try:
        with pytest.raises(LftoolError):
            verify_bundle(sidecar, VerifyOptions(policy=None, allow_unsigned=True))
    finally:
        sidecar.write_bytes(sound)
