"""`lftool prove`: what fits, what does not, and what is said of it."""

from __future__ import annotations

import json
import shutil
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.prove.conftest import CLANG, GCC, STORY, changed, make, tensor_place, write_matrix

from lftool.api.gguf import TensorData, write_gguf
from lftool.testing import tiny_gguf
from lftool_strict.arithmetics import PLAIN

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.testing import Outcome, ProjectFolder

TENSOR = "blk.1.ffn_down.weight"


def proof(folder: ProjectFolder, *arguments: str) -> tuple[int, dict]:
    done = folder.run("prove", *arguments, "--json")
    return done.status, done.json()


@pytest.fixture
def made(folder: ProjectFolder) -> ProjectFolder:
    """The folder, with an honest file."""
    make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M")
    return folder


class TestHonestFiles:
    def test_a_file_of_the_plain_arithmetic_is_identical(self, made: ProjectFolder) -> None:
        done = made.run("prove", "made.gguf", "--base", "base.gguf").assert_success()
        assert done.out.splitlines()[0] == f"made.gguf: identical file under {PLAIN}"
        assert "made as Q4_K_M" in done.out
        assert "tensors: 30 of 30 are what the base becomes" in done.out

    @pytest.mark.parametrize("arithmetic", [GCC, CLANG, f"{PLAIN}+fma/gcc-znver4", f"{PLAIN}+fma/clang19-arm64"])
    @pytest.mark.parametrize("file_type", ["Q4_K_M", "Q5_K_M", "Q2_K"])
    def test_the_arithmetic_is_found_and_the_plain_one_is_not_named(
        self, folder: ProjectFolder, arithmetic: str, file_type: str
    ) -> None:
        make(folder.root / "base.gguf", folder.root / "made.gguf", file_type, arithmetic)
        status, found = proof(folder, "made.gguf", "--base", "base.gguf")
        assert (status, found["verdict"]) == (0, "identical file")
        assert arithmetic in found["arithmetics"]
        assert PLAIN not in found["arithmetics"]

    def test_an_importance_matrix_is_used_where_it_is_given(self, folder: ProjectFolder) -> None:
        matrix = write_matrix(folder.root / "m.gguf", STORY)
        make(folder.root / "base.gguf", folder.root / "made.gguf", "IQ3_XXS", GCC, matrix)
        status, found = proof(folder, "made.gguf", "--base", "base.gguf", "--imatrix", "m.gguf")
        assert (status, found["verdict"]) == (0, "identical file")
        assert GCC in found["arithmetics"]
        assert found["guess"]["matrix_used"] is True
        assert found["imatrix"]["name"] == "m.gguf"

    def test_a_matrix_that_was_not_used_is_found_out(self, made: ProjectFolder) -> None:
        write_matrix(made.root / "m.gguf", STORY)
        status, found = proof(made, "made.gguf", "--base", "base.gguf", "--imatrix", "m.gguf")
        assert (status, found["verdict"], found["guess"]["matrix_used"]) == (0, "identical file", False)
        assert [item["imatrix"] for item in found["hypotheses"]] == [True, False]

    def test_older_code_is_found(self, folder: ProjectFolder) -> None:
        make(folder.root / "base.gguf", folder.root / "made.gguf", "IQ4_NL", f"{PLAIN}/before-0becb22ac")
        status, found = proof(folder, "made.gguf", "--base", "base.gguf")
        assert (status, found["arithmetics"]) == (0, [f"{PLAIN}/before-0becb22ac"])

    def test_types_that_fuse_nothing_fit_all(self, folder: ProjectFolder) -> None:
        make(folder.root / "base.gguf", folder.root / "made.gguf", "Q8_0")
        _, found = proof(folder, "made.gguf", "--base", "base.gguf")
        assert len(found["arithmetics"]) == 10

    def test_other_types_than_the_file_types_are_named(self, folder: ProjectFolder) -> None:
        make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M", overrides={TENSOR: "Q8_0"})
        done = folder.run("prove", "made.gguf", "--base", "base.gguf").assert_success()
        assert f"of other types: {TENSOR} Q8_0" in done.out

    def test_a_header_that_was_rewritten_is_told_from_tensors_that_were(self, made: ProjectFolder) -> None:
        data = (made.root / "made.gguf").read_bytes()
        (made.root / "made.gguf").write_bytes(data.replace(b"general.name", b"general.nane", 1))
        done = made.run("prove", "made.gguf", "--base", "base.gguf").assert_success()
        assert done.out.startswith("made.gguf: identical tensors under")
        assert "- general.name" in done.out
        assert "+ general.nane" in done.out

    def test_the_weights_of_a_bundle_are_judged(self, made: ProjectFolder) -> None:
        made.run("pack", "made.gguf", "-o", "out").assert_success()
        (bundle,) = (made.root / "out").iterdir()
        done = made.run("prove", str(bundle), "--base", "base.gguf").assert_success()
        assert "identical file under" in done.out

    def test_a_base_in_more_bits_was_rounded_first(self, folder: ProjectFolder) -> None:
        wide = folder.root / "wide.gguf"
        half = folder.root / "half.gguf"
        for path, kind in ((wide, "F32"), (half, "F16")):
            _write(path, kind)
        make(half, folder.root / "made.gguf", "Q4_K_S")
        status, found = proof(folder, "made.gguf", "--base", "wide.gguf")
        assert (status, found["verdict"]) == (0, "identical file")
        assert found["guess"]["through"] == "F16"
        assert found["hypotheses"][0]["differing"] > 0

    def test_another_arithmetic_first_gives_the_same_verdict(self, made: ProjectFolder) -> None:
        _, found = proof(made, "made.gguf", "--base", "base.gguf", "--arithmetic", CLANG)
        assert found["arithmetics"] == [PLAIN]
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--arithmetic", "none")
        assert done.status == 2
        assert PLAIN in done.err

    def test_the_number_of_threads_changes_no_figure(self, folder: ProjectFolder) -> None:
        make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M", GCC)
        changed(folder.root / "made.gguf", TENSOR, lambda part: part.__setitem__(slice(0, 4000, 7), bytes(572)))
        found = [proof(folder, "made.gguf", "--base", "base.gguf", "-j", jobs) for jobs in ("1", "3")]
        assert found[0] == found[1]


def _write(path: Path, kind: str) -> None:
    """Write a model whose F32 weights are no F16."""
    wide = tiny_gguf(path.with_suffix(".tmp"), kind="F32")
    data = bytearray(wide.read_bytes())
    wide.unlink()
    start, _, _ = _first(data, path)
    values = [x * 1.0000301 for (x,) in struct.iter_unpack("<f", data[start:])]
    if kind == "F32":
        data[start:] = struct.pack(f"<{len(values)}f", *values)
        path.write_bytes(data)
        return
    path.with_suffix(".tmp").write_bytes(data[:start] + struct.pack(f"<{len(values)}f", *values))
    from tests.prove.conftest import _input

    from lftool.api import TransformSpec
    from lftool_strict.quantizer import StrictQuantizer

    StrictQuantizer().run(
        TransformSpec(produces="F16"), {"weights": _input(path.with_suffix(".tmp"))}, path, 1, lambda *_: None
    )
    path.with_suffix(".tmp").unlink()


def _first(data: bytearray, path: Path) -> tuple[int, int, str]:
    path.write_bytes(data)
    start, size, kind = tensor_place(path, "token_embd.weight")
    return start, size, kind


def sign_of_a_scale(part: bytearray) -> None:
    part[17 * 144 + 1] ^= 0x80


def a_minimum_by_one(part: bytearray) -> None:
    part[17 * 144 + 8] ^= 1


class TestPoison:
    def test_one_flipped_scale_is_found_and_named(self, made: ProjectFolder) -> None:
        assert tensor_place(made.root / "made.gguf", TENSOR)[2] == "Q4_K"
        changed(made.root / "made.gguf", TENSOR, sign_of_a_scale)
        done = made.run("prove", "made.gguf", "--base", "base.gguf")
        assert done.status == 7
        assert done.out.startswith("made.gguf: differs by more than rounding")
        assert f"{TENSOR} (Q4_K): 1 of 512 blocks differ, the first is 17" in done.out
        assert "every other tensor is exactly what ggml-q/1 makes" in done.out
        assert "does not mean that somebody tampered" in done.out

    def test_a_minimum_nudged_by_one_is_found_and_named(self, made: ProjectFolder) -> None:
        changed(made.root / "made.gguf", TENSOR, a_minimum_by_one)
        status, found = proof(made, "made.gguf", "--base", "base.gguf")
        assert (status, found["verdict"]) == (7, "consistent with rounding")
        (wrong,) = [item for item in found["tensors"] if not item["equal"]]
        assert (wrong["name"], wrong["fits"][0]["first"], wrong["fits"][0]["differing"]) == (TENSOR, 17, 1)
        assert found["by_arithmetic"][PLAIN] == 29

    def test_a_tensor_of_another_model_is_found_and_named(self, made: ProjectFolder) -> None:
        path = made.root / "made.gguf"
        start, size, _ = tensor_place(path, "blk.2.attn_k.weight")
        other = path.read_bytes()[start : start + size]
        changed(path, "blk.1.attn_k.weight", lambda part: part.__setitem__(slice(None), other))
        status, found = proof(made, "made.gguf", "--base", "base.gguf")
        assert (status, found["verdict"]) == (7, "not consistent with rounding")
        (wrong,) = [item for item in found["tensors"] if not item["equal"]]
        assert wrong["name"] == "blk.1.attn_k.weight"
        assert wrong["distance"]["from_base"] > 0.7

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_changed_byte_of_a_tensor_is_found(self, made: ProjectFolder, data: st.DataObject) -> None:
        """Whatever tensor, whatever byte: it is named, with its block."""
        whole = (made.root / "made.gguf").read_bytes()
        name = data.draw(st.sampled_from([TENSOR, "blk.0.attn_v.weight", "output.weight", "blk.2.attn_norm.weight"]))
        start, size, kind = tensor_place(made.root / "made.gguf", name)
        place = data.draw(st.integers(0, size - 1))
        flipped = data.draw(st.integers(1, 255))
        poisoned = bytearray(whole)
        poisoned[start + place] ^= flipped
        (made.root / "poisoned.gguf").write_bytes(poisoned)
        status, found = proof(made, "poisoned.gguf", "--base", "base.gguf")
        assert status == 7
        (wrong,) = [item for item in found["tensors"] if not item["equal"]]
        block = {"Q4_K": 144, "Q6_K": 210, "F32": 4}[kind]
        assert (wrong["name"], wrong["fits"][0]["first"]) == (name, place // block)

    def test_contraction_that_is_not_known_is_consistent_with_rounding(self, folder: ProjectFolder) -> None:
        """An arithmetic of nobody, which fuses nothing but what is rounded to a level."""
        from tests.prove import conftest

        places = frozenset({"kx.next.round", "kx.kept.round"})

        class Nobodys(conftest.Fusing):
            def get(self, name, kind, *, important=False, exact=False):
                return conftest._kernels(places).get(name, kind, important=important, exact=exact)

        spec = conftest.TransformSpec(produces="Q4_K_S")
        inputs = {"weights": conftest._input(folder.root / "base.gguf")}
        conftest.StrictQuantizer().quantise(
            spec, inputs, folder.root / "made.gguf", 1, lambda *_: None, Nobodys(GCC, "Q4_K")
        )
        status, found = proof(folder, "made.gguf", "--base", "base.gguf")
        assert (status, found["verdict"]) == (7, "consistent with rounding")


class TestWhatCannotBeTold:
    def test_a_base_that_is_quantised_already(self, made: ProjectFolder) -> None:
        make(made.root / "base.gguf", made.root / "small.gguf", "Q8_0")
        done = made.run("prove", "made.gguf", "--base", "small.gguf")
        assert done.status == 8
        assert "which is quantised already" in done.out

    def test_a_matrix_that_was_not_published(self, folder: ProjectFolder) -> None:
        matrix = write_matrix(folder.root / "m.gguf", STORY)
        make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M", PLAIN, matrix)
        _with_keys(folder.root / "made.gguf")
        (folder.root / "m.gguf").unlink()
        done = folder.run("prove", "made.gguf", "--base", "base.gguf")
        assert done.status == 8
        assert done.out.startswith("made.gguf: cannot be told")
        assert "an importance matrix was used (/data/imatrix.gguf), and none was given" in done.out
        assert "7 of 7 tensors that do not depend on it" in done.out
        assert "tamper" not in done.out

    def test_the_keys_that_llama_quantize_adds_are_explained(self, folder: ProjectFolder) -> None:
        matrix = write_matrix(folder.root / "m.gguf", STORY)
        make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M", PLAIN, matrix)
        _with_keys(folder.root / "made.gguf")
        done = folder.run("prove", "made.gguf", "--base", "base.gguf", "--imatrix", "m.gguf").assert_success()
        assert "identical tensors" in done.out
        assert "`file` is the path as its user typed it" in done.out


def _with_keys(path: Path) -> None:
    """Add what llama-quantize adds when it has an importance matrix."""
    from lftool.api.gguf import copied_header, metadata_entry, read_gguf

    data = path.read_bytes()
    with path.open("rb") as file:
        header = read_gguf(file, len(data), path.name)
    entries = [data[begin:end] for begin, end in header.extents.values()]
    entries += [
        metadata_entry("quantize.imatrix.file", "/data/imatrix.gguf"),
        metadata_entry("quantize.imatrix.entries_count", 23),
    ]
    head = copied_header(entries, header.tensors, header.alignment)
    path.write_bytes(head + data[header.data_offset :])


class TestBadInput:
    @pytest.mark.parametrize("which", ["made.gguf", "base.gguf"])
    def test_a_truncated_file_is_damaged(self, made: ProjectFolder, which: str) -> None:
        path = made.root / which
        path.write_bytes(path.read_bytes()[:-1000])
        done = made.run("prove", "made.gguf", "--base", "base.gguf")
        assert done.status == 4
        assert which in done.err

    def test_types_that_no_file_type_explains(self, made: ProjectFolder) -> None:
        """The tensors are judged all the same; only a recipe needs the file type."""
        weights = struct.pack("<32f", *range(32))
        tensors = [TensorData(name="a", dimensions=(32,), type="F32", data=weights)]
        for name, number in (("base", 0), ("odd", 9999)):
            with (made.root / f"{name}.gguf").open("wb") as file:
                write_gguf(file, {"general.architecture": "llama", "general.file_type": number}, tensors)
        done = made.run("prove", "odd.gguf", "--base", "base.gguf").assert_success()
        assert "made as a file type that is not known" in done.out
        done = made.run("prove", "odd.gguf", "--base", "base.gguf", "--recipe", "r.toml")
        assert (done.status, "no file type explains the file" in done.err) == (2, True)
        assert not (made.root / "r.toml").exists()

    def test_another_architecture_is_said_before_any_arithmetic(self, made: ProjectFolder) -> None:
        other = tiny_gguf(made.root / "other.gguf")
        other.write_bytes(other.read_bytes().replace(b"llama", b"qwen2"))
        done = made.run("prove", "made.gguf", "--base", "other.gguf")
        assert done.status == 7
        assert "its architecture is llama, the base's is qwen2" in done.out

    def test_another_shape_is_said_before_any_arithmetic(self, made: ProjectFolder) -> None:
        tiny_gguf(made.root / "other.gguf")
        done = made.run("prove", "made.gguf", "--base", "other.gguf")
        assert done.status == 7
        assert "tensors of other shapes: " in done.out
        assert "made as" not in done.out

    def test_tensors_that_the_base_lacks_are_named(self, folder: ProjectFolder) -> None:
        for name, extra in (("base2.gguf", False), ("file2.gguf", True)):
            _small(folder.root / name, extra=extra)
        done = folder.run("prove", "file2.gguf", "--base", "base2.gguf")
        assert done.status == 7
        assert "the base lacks 1 tensor: mtp.weight" in done.out

    def test_weights_that_have_nothing_to_do_with_the_base(self, folder: ProjectFolder) -> None:
        tiny_gguf(folder.root / "one.gguf", seed=1)
        tiny_gguf(folder.root / "two.gguf", seed=2)
        make(folder.root / "one.gguf", folder.root / "made.gguf", "Q4_K_S")
        status, found = proof(folder, "made.gguf", "--base", "two.gguf")
        assert (status, found["verdict"]) == (7, "not derived from this base")

    def test_a_matrix_of_another_model_is_refused(self, made: ProjectFolder) -> None:
        write_matrix(made.root / "m.gguf", tiny_gguf(made.root / "other.gguf"))
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--imatrix", "m.gguf")
        assert done.status == 4
        assert "measured with another model" in done.err

    def test_safetensors_are_no_file_to_prove(self, folder: ProjectFolder) -> None:
        done = folder.run("prove", str(STORY.parent), "--base", "base.gguf")
        assert done.status == 2

    def test_without_a_plugin_that_derives_it_says_what_to_install(self, made: ProjectFolder) -> None:
        done = made.run("--no-plugins", "prove", "made.gguf", "--base", "base.gguf")
        assert done.status == 8
        assert "lftool[quantize]" in done.err


def _small(path: Path, *, extra: bool) -> None:
    data = struct.pack("<32f", *range(32))
    tensors = [TensorData(name="token_embd.weight", dimensions=(32,), type="F32", data=data)]
    if extra:
        tensors.append(TensorData(name="mtp.weight", dimensions=(32,), type="F32", data=data))
    with path.open("wb") as file:
        write_gguf(file, {"general.architecture": "llama", "general.file_type": 0}, tensors)


class TestStatements:
    def test_a_statement_names_files_verdict_and_kernels(self, made: ProjectFolder) -> None:
        made.run("prove", "made.gguf", "--base", "base.gguf", "--statement", "s.json").assert_success()
        said = json.loads((made.root / "s.json").read_text())
        _, found = proof(made, "made.gguf", "--base", "base.gguf")
        assert said["predicateType"] == "urn:lftool:predicates:gguf-derivation:v0"
        assert said["subject"] == [{"name": "made.gguf", "digest": {"sha256": found["file"]["sha256"]}}]
        predicate = said["predicate"]
        assert predicate["baseModel"]["digest"]["sha256"] == found["base"]["sha256"]
        assert predicate["recipe"] == {"quantType": "Q4_K_M", "outputFormat": "gguf", "useImatrix": False}
        assert predicate["reproducibility"]["verdict"] == "identical file"
        assert predicate["builder"]["buildIdentity"]["digest"]["sha256"] == found["kernels"]["sha256"]

    def test_a_signed_statement_is_read_back(self, made: ProjectFolder) -> None:
        made.run("keygen", "-o", "me").assert_success()
        arguments = ("--statement", "s.json", "--sign-key", "me.key")
        made.run("prove", "made.gguf", "--base", "base.gguf", *arguments).assert_success()
        assert b"dsseEnvelope" in (made.root / "s.json").read_bytes()
        made.run("prove", "made.gguf", "--base", "base.gguf", "--claim", "s.json").assert_success()

    def test_a_statement_about_another_file_is_refused(self, made: ProjectFolder) -> None:
        made.run("prove", "made.gguf", "--base", "base.gguf", "--statement", "s.json").assert_success()
        make(made.root / "base.gguf", made.root / "other.gguf", "Q8_0")
        done = made.run("prove", "other.gguf", "--base", "base.gguf", "--claim", "s.json")
        assert done.status == 4
        assert "it is about a file of sha256" in done.err

    def test_ggufpackers_statement_is_read(self, made: ProjectFolder) -> None:
        """As ggufpacker 0.4.2 writes it, without the fields that are not read."""
        _, found = proof(made, "made.gguf", "--base", "base.gguf")
        kind = "https://github.com/theadamdanielsson/ggufpacker/attestation/gguf-derivation/v0"
        said = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "made.gguf", "digest": {"sha256": found["file"]["sha256"]}}],
            "predicateType": kind,
            "predicate": {
                "baseModel": {"name": "base.gguf", "digest": {"sha256": found["base"]["sha256"]}, "sizeBytes": 1},
                "recipe": {"quantType": "Q4_K_M", "outputFormat": "gguf", "useImatrix": False},
            },
        }
        (made.root / "s.json").write_text(json.dumps(said, indent=1))
        made.run("prove", "made.gguf", "--base", "base.gguf", "--claim", "s.json").assert_success()
        said["predicate"]["baseModel"]["digest"]["sha256"] = "0" * 64
        (made.root / "s.json").write_text(json.dumps(said))
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--claim", "s.json")
        assert done.status == 4
        assert "about a base" in done.err

    @pytest.mark.parametrize("text", ["", "[]", '{"_type": 1}', "nothing"])
    def test_what_is_no_statement_is_refused(self, made: ProjectFolder, text: str) -> None:
        (made.root / "s.json").write_text(text)
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--claim", "s.json")
        assert done.status == 4
        assert "no statement of a derivation" in done.err


def test_a_recipe_makes_the_file_again(folder: ProjectFolder) -> None:
    make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M", overrides={TENSOR: "Q8_0"})
    folder.run("prove", "made.gguf", "--base", "base.gguf", "--recipe", "lftool.toml").assert_success()
    for command in (("lock",), ("build",), ("extract", "dist/made-0.1.0-proved.gguf", "out")):
        folder.run(*command).assert_success()
    assert (folder.root / "out" / "model.gguf").read_bytes() == (folder.root / "made.gguf").read_bytes()
    done = folder.run("prove", "made.gguf", "--base", "base.gguf", "--recipe", "lftool.toml")
    assert (done.status, "already exists" in done.err) == (2, True)


def test_an_interrupt_leaves_nothing(made: ProjectFolder) -> None:
    before = sorted(path.name for path in made.root.iterdir())
    running: Outcome = made.run("prove", "made.gguf", "--base", "base.gguf")
    assert running.status == 0
    assert sorted(path.name for path in made.root.iterdir()) == before
    assert not list((made.cache / "tmp").glob("*"))
    shutil.rmtree(made.home)


class TestOutputsAndInputs:
    def test_an_output_that_exists_is_refused_before_any_work(self, made: ProjectFolder) -> None:
        before = (made.root / "made.gguf").read_bytes()
        for option in ("--statement", "--recipe"):
            done = made.run("prove", "made.gguf", "--base", "base.gguf", option, "made.gguf")
            assert (done.status, done.out) == (2, "")
            assert f"{option}: made.gguf already exists" in done.err
        assert (made.root / "made.gguf").read_bytes() == before

    def test_an_output_in_no_folder_is_refused_before_any_work(self, made: ProjectFolder) -> None:
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--statement", "none/s.json")
        assert (done.status, done.out) == (2, "")
        assert not (made.root / "none").exists()

    @pytest.mark.parametrize("name", ["base.gguf", "made.gguf"])
    def test_a_file_derives_from_itself(self, made: ProjectFolder, name: str) -> None:
        status, found = proof(made, name, "--base", name)
        assert (status, found["verdict"], found["header"]["identical"]) == (0, "identical file", True)

    def test_verbose_lists_every_tensor(self, made: ProjectFolder) -> None:
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--verbose").assert_success()
        assert done.out.count(": equal\n") == 30

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda said: said["recipe"].update(quantType="Q2_K"), "it says Q2_K, the file is Q4_K_M"),
            (
                lambda said: said["reproducibility"].update(verdict="not derived from this base"),
                "it says 'not derived from this base', found was 'identical file'",
            ),
        ],
    )
    def test_a_claim_of_something_else_is_refused(self, made: ProjectFolder, change, said: str) -> None:
        made.run("prove", "made.gguf", "--base", "base.gguf", "--statement", "s.json").assert_success()
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--claim", "s.json").assert_success()
        assert "s.json: it agrees with what was found; its signature was not verified" in done.err
        statement = json.loads((made.root / "s.json").read_text())
        change(statement["predicate"])
        (made.root / "t.json").write_text(json.dumps(statement))
        done = made.run("prove", "made.gguf", "--base", "base.gguf", "--claim", "t.json")
        assert done.status == 4
        assert said in done.err
        assert done.out.startswith("made.gguf: identical file")  # what was found is not lost

    def test_a_name_cannot_pass_for_lines_of_the_report(self, folder: ProjectFolder) -> None:
        weights = struct.pack("<32f", *range(32))
        for name in ("one", "two"):
            keys = {"general.architecture": "llama", f"k\n{name}: identical": 1}
            tensors = [TensorData(name="a\nheader: identical", dimensions=(32,), type="F32", data=weights)]
            with (folder.root / f"{name}.gguf").open("wb") as file:
                write_gguf(file, keys, tensors)
        for command in (("prove", "one.gguf", "--base", "two.gguf", "--verbose"), ("diff", "one.gguf", "two.gguf")):
            lines = [line.strip() for line in folder.run(*command).out.splitlines()]
            assert not {"header: identical", "one: identical", "two: identical"} & set(lines)
