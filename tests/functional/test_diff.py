"""`lftool diff` and `lftool fingerprint`: what differs between two models, and what is the same whatever wraps it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.prove.conftest import STORY, changed, make

from lftool.api.gguf import TensorData, read_gguf, write_gguf
from lftool.models.digest import Digest
from lftool.ops.diff.keys import diff_lists
from lftool.ops.models.tensor_set import TensorDigest, fingerprint_of
from lftool.testing import ProjectFolder

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rebuild-and-proof.md"
TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    made = ProjectFolder(root=tmp_path / "files", home=tmp_path / "home")
    made.root.mkdir()
    made.home.mkdir()
    shutil.copy(STORY, made.root / "base.gguf")
    return made


def compared(folder: ProjectFolder, one: str, other: str) -> dict:
    return folder.run("diff", one, other, "--json").assert_success().json()


def write(path: Path, tensors: dict[str, tuple[int, ...]], **metadata: object) -> None:
    """Write a GGUF with F32 tensors of zeros."""
    found = [
        TensorData(name=name, dimensions=shape, type="F32", data=bytes(4 * _count(shape)))
        for name, shape in tensors.items()
    ]
    keys = {key.replace("__", "."): value for key, value in metadata.items()}
    with path.open("wb") as file:
        write_gguf(file, {"general.architecture": "llama", **keys}, found)


def _count(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def entry(key: str, kind: int, value: bytes) -> bytes:
    """A key of a GGUF with the number of its type."""
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def texts(*values: bytes) -> bytes:
    """An array of strings, which need not be UTF-8."""
    return struct.pack("<IQ", 8, len(values)) + b"".join(struct.pack("<Q", len(text)) + text for text in values)


def numbers(*values: int, kind: int = 5) -> bytes:
    """An array of 32-bit integers."""
    return struct.pack("<IQ", kind, len(values)) + struct.pack(f"<{len(values)}i", *values)


def raw(path: Path, *entries: bytes) -> None:
    """Write a GGUF without tensors."""
    data = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries) + 1)
    data += entry("general.architecture", 8, struct.pack("<Q", 5) + b"llama") + b"".join(entries)
    path.write_bytes(data + bytes(-len(data) % 32))


_TOKENS = entry("tokenizer.ggml.tokens", 9, texts(b"a", b"b"))
_TYPES, _BOS = "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id"


class TestTensors:
    def test_a_model_does_not_differ_from_itself(self, folder: ProjectFolder) -> None:
        done = folder.run("diff", "base.gguf", "base.gguf", "--exit-code").assert_success()
        assert "tensors: all 30 equal" in done.out
        assert "no difference" in done.out

    def test_another_type_shows_its_error(self, folder: ProjectFolder) -> None:
        make(folder.root / "base.gguf", folder.root / "q8.gguf", "Q8_0")
        make(folder.root / "base.gguf", folder.root / "q4.gguf", "Q4_0")
        for name, least, most in (("q8.gguf", 0.001, 0.01), ("q4.gguf", 0.05, 0.15)):
            found = compared(folder, "base.gguf", name)
            (tensor,) = [item for item in found["tensors"]["changes"] if item["name"] == "blk.0.attn_q.weight"]
            assert tensor["change"] == "retyped"
            assert least < tensor["error"]["relative"] < most
            assert 0.98 < tensor["error"]["cosine"] < 1

    def test_one_changed_block_is_counted_and_placed(self, folder: ProjectFolder) -> None:
        make(folder.root / "base.gguf", folder.root / "one.gguf", "Q4_K_M")
        shutil.copy(folder.root / "one.gguf", folder.root / "two.gguf")
        changed(folder.root / "two.gguf", "blk.1.ffn_down.weight", lambda part: part.__setitem__(144 * 3 + 20, 0))
        (tensor,) = compared(folder, "one.gguf", "two.gguf")["tensors"]["changes"]
        assert (tensor["change"], tensor["blocks"], tensor["differing"], tensor["first"], tensor["estimated"]) == (
            "requantised",
            512,
            1,
            3,
            False,
        )

    def test_other_weights_are_changed_and_not_requantised(self, folder: ProjectFolder) -> None:
        make(folder.root / "base.gguf", folder.root / "one.gguf", "Q4_K_M")
        shutil.copy(folder.root / "one.gguf", folder.root / "two.gguf")
        changed(folder.root / "two.gguf", "blk.1.ffn_down.weight", lambda part: part.reverse())
        (tensor,) = compared(folder, "one.gguf", "two.gguf")["tensors"]["changes"]
        assert (tensor["change"], tensor["differing"]) == ("changed", 512)

    def test_added_removed_and_reshaped_tensors_are_told_apart(self, folder: ProjectFolder) -> None:
        write(folder.root / "one.gguf", {"a": (32,), "b": (32, 2), "c": (32,)})
        write(folder.root / "two.gguf", {"a": (32,), "b": (2, 32), "d": (32,)})
        found = compared(folder, "one.gguf", "two.gguf")["tensors"]
        assert [(item["name"], item["change"]) for item in found["changes"]] == [
            ("b", "reshaped"),
            ("c", "removed"),
            ("d", "added"),
        ]
        assert found["equal"] == 1

    def test_a_bundle_and_its_weights_have_the_same_tensors(self, folder: ProjectFolder) -> None:
        folder.run("pack", "base.gguf", "-o", "out").assert_success()
        (bundle,) = (folder.root / "out").iterdir()
        assert "no difference" in folder.run("diff", str(bundle), "base.gguf").assert_success().out

    def test_safetensors_are_compared_too(self, folder: ProjectFolder) -> None:
        for name, value in (("one", 1.0), ("two", 2.0)):
            (folder.root / name).mkdir()
            head = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
            data = struct.pack("<Q", len(head)) + head + struct.pack("<2f", value, 1.0)
            (folder.root / name / "model.safetensors").write_bytes(data)
        (tensor,) = compared(folder, "one", "two")["tensors"]["changes"]
        assert (tensor["change"], tensor["differing"], tensor["error"]["largest"]) == ("changed", 1, 1.0)


class TestMetadata:
    def test_keys_are_added_removed_and_changed(self, folder: ProjectFolder) -> None:
        write(folder.root / "one.gguf", {"a": (32,)}, general__name="x", one=1, same=2)
        write(folder.root / "two.gguf", {"a": (32,)}, general__name="y", two=True, same=2)
        found = compared(folder, "one.gguf", "two.gguf")["keys"]
        assert found == {"added": {"two": True}, "removed": {"one": 1}, "changed": {"general.name": ["x", "y"]}}

    def test_a_number_and_a_truth_value_are_different_values(self, folder: ProjectFolder) -> None:
        write(folder.root / "one.gguf", {"a": (32,)}, key=1)
        write(folder.root / "two.gguf", {"a": (32,)}, key=True)
        assert compared(folder, "one.gguf", "two.gguf")["keys"]["changed"] == {"key": [1, True]}

    def test_the_chat_template_shows_what_it_makes_of_a_conversation(self, folder: ProjectFolder) -> None:
        one = {"tokenizer__chat_template": TEMPLATE}
        write(folder.root / "one.gguf", {"a": (32,)}, **one)
        write(
            folder.root / "two.gguf",
            {"a": (32,)},
            tokenizer__chat_template=TEMPLATE.replace("[{{ m['role'] }}]", "<{{ m['role'] }}>"),
        )
        done = folder.run("diff", "one.gguf", "two.gguf", "--exit-code")
        assert done.status == 7
        assert "[user] Good morning!" in done.out
        assert "<user> Good morning!" in done.out

    @pytest.mark.parametrize(
        ("template", "said"),
        [
            ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "did not end within"),
            ("{{ ''.__class__.__mro__ }}", "SecurityError"),
            ("{% raise %}", "TemplateSyntaxError"),
        ],
    )
    def test_a_hostile_template_is_said_to_fail(self, folder: ProjectFolder, template: str, said: str) -> None:
        write(folder.root / "one.gguf", {"a": (32,)})
        write(folder.root / "two.gguf", {"a": (32,)}, tokenizer__chat_template=template)
        assert said in folder.run("diff", "one.gguf", "two.gguf").assert_success().out

    @given(st.lists(st.text(max_size=3), unique=True), st.lists(st.text(max_size=3), unique=True))
    def test_lists_of_tokens_are_compared_as_sets_with_places(self, one: list[str], other: list[str]) -> None:
        found = diff_lists(one, other)
        if one == other:
            assert found is None
            return
        assert found is not None
        assert (found.added, found.removed) == (len(set(other) - set(one)), len(set(one) - set(other)))
        assert found.moved == sum(1 for text in set(one) & set(other) if one.index(text) != other.index(text))


class TestBundles:
    def test_what_bundles_say_is_compared(self, quantized_project: ProjectFolder) -> None:
        quantized_project.run("build").assert_success()
        text = quantized_project.recipe.read_text()
        quantized_project.write_recipe(text.replace('version = "1"', 'version = "2"') + "[run]\ncontext = 64\n")
        quantized_project.run("lock").assert_success()
        quantized_project.run("build").assert_success()
        found = quantized_project.run("diff", "dist/tiny-1-q8.gguf", "dist/tiny-2-q8.gguf", "--json").json()
        fields = {item["field"]: item["values"] for item in found["fields"]}
        assert fields == {"version": ["1", "2"], "run.context": [None, 64]}
        assert found["tensors"]["changes"] == []

    def test_a_damaged_model_is_refused(self, folder: ProjectFolder) -> None:
        path = folder.root / "base.gguf"
        shutil.copy(path, folder.root / "whole.gguf")
        path.write_bytes(path.read_bytes()[:-1000])
        assert folder.run("diff", "whole.gguf", "base.gguf").status == 4


class TestFingerprints:
    def test_a_gguf_its_bundle_and_a_rewritten_header_have_the_same(self, folder: ProjectFolder) -> None:
        folder.run("pack", "base.gguf", "-o", "out").assert_success()
        (bundle,) = (folder.root / "out").iterdir()
        data = (folder.root / "base.gguf").read_bytes()
        (folder.root / "renamed.gguf").write_bytes(data.replace(b"general.name", b"general.nane", 1))
        done = folder.run("fingerprint", "base.gguf", str(bundle), "renamed.gguf").assert_success()
        assert len({line.split()[0] for line in done.out.splitlines()}) == 1
        shown = folder.run("inspect", "--fingerprint", str(bundle), "--json").assert_success().json()
        assert shown["fingerprint"] == done.out.split()[0]

    def test_one_byte_of_a_tensor_changes_it(self, folder: ProjectFolder) -> None:
        shutil.copy(folder.root / "base.gguf", folder.root / "other.gguf")
        changed(folder.root / "other.gguf", "output_norm.weight", lambda part: part.__setitem__(0, part[0] ^ 1))
        done = folder.run("fingerprint", "base.gguf", "other.gguf").assert_success()
        assert len({line.split()[0] for line in done.out.splitlines()}) == 2

    def test_it_is_what_the_reference_says(self, folder: ProjectFolder) -> None:
        """Computed from the words of the page: lines, order, digests."""
        path = folder.root / "base.gguf"
        data = path.read_bytes()
        with path.open("rb") as file:
            header = read_gguf(file, len(data), "base")
        lines = ["lftool-tensors/1"]
        for tensor in sorted(header.tensors, key=lambda item: item.name.encode()):
            start = header.data_offset + tensor.offset
            digest = hashlib.sha256(data[start : start + tensor.size]).hexdigest()
            lines.append(
                json.dumps([tensor.name, tensor.type.name, list(tensor.dimensions), digest], separators=(",", ":"))
            )
        expected = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
        done = folder.run("fingerprint", "base.gguf").assert_success()
        assert done.out.split()[0] == f"lftool-tensors/1:{expected}"

    def test_the_vectors_of_the_reference_are_right(self) -> None:
        def zeros(name: str, dimensions: tuple[int, ...]) -> TensorDigest:
            digest = Digest(hashlib.sha256(bytes(4 * _count(dimensions))).hexdigest())
            return TensorDigest(name=name, type="F32", dimensions=dimensions, sha256=digest)

        a, b = zeros("a", (4,)), zeros("b", (2, 3))
        found = [fingerprint_of(tensors).hex for tensors in ([], [a], [b, a])]
        page = PAGE.read_text().partition("Test vectors")[2]
        assert re.findall(r"`([0-9a-f]{64})`", page) == found

    def test_a_statement_of_quality_names_it(self) -> None:
        assert "`weights.fingerprint`" in PAGE.with_name("quality.md").read_text()


class TestEncodings:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            pytest.param(
                [entry("tokenizer.ggml.tokens", 9, texts(b"a\xff"))],
                [entry("tokenizer.ggml.tokens", 9, texts(b"a\xfe"))],
                id="tokens that are not UTF-8",
            ),
            pytest.param([_TOKENS, entry(_TYPES, 9, numbers(1, 1))], [_TOKENS], id="no token types"),
            pytest.param(
                [_TOKENS, entry(_TYPES, 9, numbers(1, 1))],
                [_TOKENS, entry(_TYPES, 9, numbers(1))],
                id="fewer token types",
            ),
            pytest.param(
                [_TOKENS, entry(_TYPES, 9, numbers(1, 1))],
                [_TOKENS, entry(_TYPES, 9, numbers(1, 1, kind=4))],
                id="token types of another type",
            ),
            pytest.param([entry("tokenizer.ggml.merges", 9, texts())], [], id="no merges, and an empty list"),
            pytest.param(
                [entry("tokenizer.chat_template", 4, struct.pack("<I", 1))], [], id="a template that is a number"
            ),
            pytest.param([entry("tokenizer.ggml.merges", 4, struct.pack("<I", 1))], [], id="merges that are a number"),
            pytest.param(
                [entry("a.b", 4, struct.pack("<I", 7))],
                [entry("a.b", 10, struct.pack("<Q", 7))],
                id="UINT32 and UINT64",
            ),
            pytest.param([entry(_BOS, 4, struct.pack("<I", 1))], [entry(_BOS, 7, b"\1")], id="a token that is true"),
            pytest.param(
                [entry("a.b", 6, struct.pack("<f", 0.0))], [entry("a.b", 6, struct.pack("<f", -0.0))], id="0 and -0"
            ),
        ],
    )
    def test_values_that_look_alike_differ(self, folder: ProjectFolder, one: list[bytes], other: list[bytes]) -> None:
        raw(folder.root / "one.gguf", *one)
        raw(folder.root / "other.gguf", *other)
        done = folder.run("diff", "one.gguf", "other.gguf", "--exit-code")
        assert (done.status, "no difference" in done.out) == (7, False)
        for name in ("one.gguf", "other.gguf"):
            assert folder.run("diff", name, name, "--exit-code").assert_success().out.endswith("no difference\n")

    def test_the_types_of_values_that_look_alike_are_named(self, folder: ProjectFolder) -> None:
        raw(folder.root / "one.gguf", entry("a.b", 4, struct.pack("<I", 7)))
        raw(folder.root / "other.gguf", entry("a.b", 10, struct.pack("<Q", 7)))
        assert compared(folder, "one.gguf", "other.gguf")["keys"]["changed"] == {
            "a.b": [{"type": "UINT32", "value": 7}, {"type": "UINT64", "value": 7}]
        }

    def test_what_json_has_no_number_for_is_a_text(self, folder: ProjectFolder) -> None:
        raw(folder.root / "one.gguf", entry("a.b", 6, struct.pack("<f", float("nan"))))
        raw(folder.root / "other.gguf")
        assert compared(folder, "one.gguf", "other.gguf")["keys"]["removed"] == {"a.b": "nan"}
