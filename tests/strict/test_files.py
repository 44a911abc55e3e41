"""The quantizer's whole file is that of `llama_model_quantize`, byte for byte, header included."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import attrs
import numpy as np
import pytest
from benchmarks.model import write_model
from tests.plugins.conftest import NEED_IMPORTANCE, importance_of, write_gguf_imatrix

from lftool.api import InputFile, TransformSpec
from lftool.api.gguf import FILE_TYPES, MixtureOptions, TensorData, read_gguf, write_gguf
from lftool.errors import FormatError, RecipeError
from lftool.models.digest import Artifact
from lftool.testing import tiny_gguf
from lftool_strict.quantizer import OFFERED, StrictQuantizer

WITHOUT_IMATRIX = [name for name in OFFERED if name not in NEED_IMPORTANCE]
ROOT = Path(__file__).parents[2]
STORY = ROOT / "examples" / "tiny-story" / "tiny-story-f16.gguf"


@pytest.fixture
def make(tmp_path):
    """Quantise with types that `ggml-mix/1` chooses: make(file type, weights, imatrix, threads) -> path."""

    def run(
        file_type: str, weights: Path, imatrix: Path | None = None, threads: int = 2, progress=lambda *_: None, **more
    ):
        paths = {"weights": weights} | ({"imatrix": imatrix} if imatrix else {})
        size = weights.stat().st_size
        inputs = {
            role: InputFile(path=path, artifact=attrs.evolve(Artifact.of(b""), size=path.stat().st_size))
            for role, path in paths.items()
        }
        assert inputs["weights"].artifact.size == size
        spec = TransformSpec(produces=file_type, **more)
        StrictQuantizer().plan(spec, inputs)
        out = tmp_path / "ours.gguf"
        StrictQuantizer().run(spec, inputs, out, threads, progress)
        return out

    return run


def means(entries) -> dict[str, list[float]]:
    return {name: [value / count for value in sums] for name, (sums, count) in entries.items()}


def same(first: Path, second: Path) -> bool:
    return np.array_equal(np.memmap(first, dtype=np.uint8, mode="r"), np.memmap(second, dtype=np.uint8, mode="r"))


@pytest.mark.slow_cases(r"\[(?!Q4_K_M|Q5_1|IQ4_NL|Q8_0)")
@pytest.mark.parametrize("file_type", WITHOUT_IMATRIX)
def test_file_of_the_story_model_is_llama_cpps(make, quantize_directly, tmp_path, file_type):
    quantize_directly(STORY, tmp_path / "theirs.gguf", FILE_TYPES[file_type])
    assert same(make(file_type, STORY), tmp_path / "theirs.gguf")


@pytest.mark.slow_cases(r"\[(?!Q4_K_M|Q2_K|IQ4_XS|Q8_0)")
@pytest.mark.parametrize("file_type", OFFERED)
def test_file_with_an_imatrix_is_llama_cpps(make, quantize_directly, tmp_path, file_type):
    source, entries = tiny_gguf(tmp_path / "model.gguf", layers=2), importance_of(layers=2)
    imatrix = write_gguf_imatrix(tmp_path / "imatrix.gguf", entries)
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES[file_type], means(entries))
    assert same(make(file_type, source, imatrix), tmp_path / "theirs.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("file_type", WITHOUT_IMATRIX)
def test_file_of_a_model_of_300_million_weights_is_llama_cpps(make, quantize_directly, large, tmp_path, file_type):
    quantize_directly(large, tmp_path / "theirs.gguf", FILE_TYPES[file_type])
    assert same(make(file_type, large), tmp_path / "theirs.gguf")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "model.gguf"
    write_model(path, STORY, 600_000_000)
    yield path
    path.unlink()


def weights(count: int, kind: str, seed: int) -> bytes:
    generator = random.Random(seed)
    values = np.array([generator.gauss(0, 0.02) for _ in range(count)], dtype=np.float32)
    if kind == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype({"F16": np.float16, "F32": np.float32}[kind]).tobytes()


def model(path: Path, tensors: dict[str, tuple[int, ...]], kind: str = "F16", **metadata: object) -> Path:
    """Write a Llama with these tensors; those of one dimension are F32."""
    keys = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.block_count": 1,
        "llama.context_length": 64,
        "llama.embedding_length": 256,
        "llama.feed_forward_length": 256,
        "llama.attention.head_count": 4,
        "llama.attention.layer_norm_rms_epsilon": 1e-05,
        "llama.vocab_size": 256,
        **{key.replace("__", "."): value for key, value in metadata.items()},
        "general.quantization_version": 2,
        "general.author": "after the keys that move",
    }
    made = []
    for seed, (name, dimensions) in enumerate(tensors.items()):
        kept = kind if len(dimensions) > 1 else "F32"
        data = weights(int(np.prod(dimensions)), kept, seed)
        made.append(TensorData(name=name, dimensions=dimensions, type=kept, data=data))
    with path.open("wb") as file:
        write_gguf(file, keys, made)
    return path


PLAIN = {"token_embd.weight": (256, 256), "blk.0.ffn_up.weight": (256, 256), "output_norm.weight": (256,)}
ODD = {
    "rows that are not whole super-blocks": {"token_embd.weight": (288, 64), "blk.0.attn_v.weight": (288, 33)},
    "one row": {"token_embd.weight": (256, 256), "blk.0.ffn_down.weight": (512, 1)},
    "one at the end of the dimensions": {"token_embd.weight": (256, 256), "blk.0.ffn_up.weight": (256, 3, 1, 1)},
    "layers out of order": {f"blk.{layer}.ffn_up.weight": (256, 8) for layer in (10, 2, 1)} | PLAIN,
    "a row longer than a slab": {"token_embd.weight": (256, 256), "blk.0.ffn_up.weight": (2**20 + 2**16, 2)},
    "names that are not quantised": {"token_embd.weight": (256, 256), "blk.0.ffn_gate_inp.weight": (256, 8)},
}


@pytest.mark.slow_cases(r"-(IQ4_XS|F32|BF16)\]")
@pytest.mark.parametrize("file_type", ["Q4_K_M", "IQ4_XS", "Q8_0", "F32", "BF16"])
@pytest.mark.parametrize("tensors", ODD.values(), ids=ODD.keys())
def test_file_of_an_odd_model_is_llama_cpps(make, quantize_directly, tmp_path, tensors, file_type):
    source = model(tmp_path / "model.gguf", tensors)
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES[file_type])
    assert same(make(file_type, source), tmp_path / "theirs.gguf")


@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q5_1", "F16", "BF16", "F32"])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_weights_of_every_float_type_are_read(make, quantize_directly, tmp_path, kind, file_type):
    source = model(tmp_path / "model.gguf", PLAIN, kind)
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES[file_type])
    assert same(make(file_type, source), tmp_path / "theirs.gguf")


@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q4_0", "Q5_1", "Q6_K"])
def test_every_expert_has_its_own_importance(make, quantize_directly, tmp_path, file_type):
    tensors = PLAIN | {"blk.0.ffn_down_exps.weight": (256, 24, 4)}
    source = model(tmp_path / "model.gguf", tensors, llama__expert_count=4, llama__expert_used_count=2)
    entries = {
        "blk.0.ffn_up.weight": ([float(column % 11 + 1) for column in range(256)], 1),
        "blk.0.ffn_down_exps.weight": ([float((column * 7) % 1013 + 1) for column in range(1024)], 1),
    }
    rows = {name: (len(sums), sums) for name, (sums, _) in entries.items()}
    path = tmp_path / "imatrix.gguf"
    data = []
    for name, (count, sums) in rows.items():
        shape = (256, count // 256)
        data.append(
            TensorData(name=f"{name}.in_sum2", dimensions=shape, type="F32", data=struct.pack(f"<{count}f", *sums))
        )
        ones = struct.pack(f"<{shape[1]}f", *[1.0] * shape[1])
        data.append(TensorData(name=f"{name}.counts", dimensions=(1, shape[1]), type="F32", data=ones))
    with path.open("wb") as file:
        write_gguf(file, {"general.type": "imatrix"}, data)
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES[file_type], means(entries))
    assert same(make(file_type, source, path), tmp_path / "theirs.gguf")


def test_threads_change_no_byte(make, tmp_path):
    made = [make("Q4_K_M", STORY, threads=threads).read_bytes() for threads in (1, 2, 5)]
    assert made == [made[0]] * 3


def test_progress_counts_every_tensor_once(make):
    seen = []
    out = make("Q4_K_M", STORY, threads=1, progress=lambda *event: seen.append(event))
    with out.open("rb") as file:
        header = read_gguf(file, out.stat().st_size, "made")
    names = [tensor.name for tensor in header.tensors]
    assert seen == [(name, index, len(names)) for index, name in enumerate(names, 1)]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["blk.0.ffn_up.weight", "output_norm.weight"])
def test_weight_that_is_not_finite_is_refused_by_name(make, tmp_path, name, value):
    """Also in a tensor that only is copied: llama.cpp checks those as well."""
    source = model(tmp_path / "model.gguf", PLAIN)
    with source.open("rb") as file:
        header = read_gguf(file, source.stat().st_size, "model")
    tensor = next(tensor for tensor in header.tensors if tensor.name == name)
    bad = struct.pack("<e" if tensor.type.name == "F16" else "<f", float(value))
    data = bytearray(source.read_bytes())
    start = header.data_offset + tensor.offset + 8 * len(bad)
    data[start : start + len(bad)] = bad
    source.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        make("Q4_K_M", source)
    assert str(caught.value) == f"tensor {name}: a weight is infinite or not a number"


def test_weights_too_large_for_a_type_are_refused(make, tmp_path):
    source = model(tmp_path / "model.gguf", PLAIN, "F32")
    data = bytearray(source.read_bytes())
    with source.open("rb") as file:
        header = read_gguf(file, len(data), "model")
    start = header.data_offset + header.tensors[0].offset
    data[start : start + 4] = struct.pack("<f", 1e30)
    source.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        make("Q8_0", source)
    assert str(caught.value) == (
        "tensor token_embd.weight: its weights are too large, or too small, for the scales of Q8_0"
    )


def test_quantised_weights_are_refused(make, quantize_directly, tmp_path):
    quantize_directly(STORY, tmp_path / "q8.gguf", FILE_TYPES["Q8_0"])
    with pytest.raises(RecipeError) as caught:
        make("Q4_K_M", tmp_path / "q8.gguf")
    assert str(caught.value).startswith("the weights are quantised already: tensor ")


def test_importance_of_another_model_is_refused(make, tmp_path):
    source = tiny_gguf(tmp_path / "model.gguf")
    entries = {name: (sums[:128], count) for name, (sums, count) in importance_of().items()}
    imatrix = write_gguf_imatrix(tmp_path / "imatrix.gguf", entries)
    with pytest.raises(FormatError) as caught:
        make("Q4_K_M", source, imatrix)
    assert str(caught.value) == (
        "tensor output.weight: the importance matrix has 128 values, expected 256: it was measured with another model"
    )


def test_file_type_that_needs_importance_says_for_which_tensor_it_is_missing(make, tmp_path):
    source, entries = tiny_gguf(tmp_path / "model.gguf"), importance_of()
    del entries["blk.0.ffn_up.weight"]
    imatrix = write_gguf_imatrix(tmp_path / "imatrix.gguf", entries)
    with pytest.raises(RecipeError) as caught:
        make("Q2_K_S", source, imatrix)
    assert str(caught.value) == ("Q2_K_S needs an importance matrix, and this one does not cover blk.0.ffn_up.weight")


def test_type_without_a_kernel_is_refused_with_the_other_quantizer_in_the_hint(make, tmp_path):
    from lftool.api import TensorType

    source = tiny_gguf(tmp_path / "model.gguf")
    wish = (TensorType(tensor="blk.0.ffn_up.weight", type="NVFP4"),)
    with pytest.raises(RecipeError) as caught:
        make("Q4_K_M", source, overrides=wish)
    assert str(caught.value) == (
        "the quantizer 'strict' has no kernel for NVFP4, the planned type of tensor blk.0.ffn_up.weight"
    )
    assert caught.value.hints[0] == 'set quantizer = "llama.cpp" in the target'


def test_file_type_that_needs_importance_names_all_tensors_where_there_is_no_matrix(make, tmp_path):
    source = tiny_gguf(tmp_path / "model.gguf", layers=3)
    with pytest.raises(RecipeError) as caught:
        make("IQ2_XXS", source)
    assert "needs an importance matrix, for blk.{0-2}." in str(caught.value)


def test_embedding_of_a_type_that_needs_importance_is_refused_where_the_matrix_lacks_it(make, tmp_path):
    from lftool.api import TensorType

    source, entries = tiny_gguf(tmp_path / "model.gguf"), importance_of()
    imatrix = write_gguf_imatrix(
        tmp_path / "imatrix.gguf", {name: entry for name, entry in entries.items() if name != "output.weight"}
    )
    wish = (TensorType(tensor="output.weight", type="IQ2_XS"),)
    with pytest.raises(RecipeError) as caught:
        make("Q4_K_M", source, imatrix, overrides=wish)
    assert str(caught.value) == ("tensor output.weight becomes IQ2_XS, which needs an importance matrix that covers it")


def test_strings_end_at_a_zero_byte_as_there(make, quantize_directly, tmp_path):
    """llama.cpp copies metadata through C strings."""
    words = (*(f"w{index}" for index in range(254)), "a", "b\0c")
    source = model(tmp_path / "model.gguf", PLAIN, general__description="x\0y", tokenizer__ggml__tokens=words)
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES["Q8_0"])
    assert same(make("Q8_0", source), tmp_path / "theirs.gguf")


def test_tensors_of_four_dimensions_are_refused(tmp_path):
    from lftool.api import TensorType

    source = model(tmp_path / "model.gguf", PLAIN | {"blk.0.ffn_down_exps.weight": (256, 4, 2, 2)})
    inputs = {"weights": InputFile(path=source, artifact=Artifact.of(source.read_bytes()))}
    types = (TensorType(tensor="blk.0.ffn_down_exps.weight", type="Q8_0"),)
    with pytest.raises(RecipeError) as caught:
        StrictQuantizer().plan(TransformSpec(produces="Q8_0", types=types), inputs)
    assert str(caught.value) == (
        "tensor blk.0.ffn_down_exps.weight has four dimensions, which llama.cpp does not quantise"
    )


def test_zeros_that_iq3_s_misplaces_are_a_warning(make, tmp_path):
    from lftool.api import InputWarning

    rows = np.sin(np.arange(4 * 256, dtype=np.float32)).reshape(4, 256) * np.float32(0.1)
    rows[2, 32:64] = 0
    source = tmp_path / "model.gguf"
    with source.open("wb") as file:
        data = TensorData(name="blk.0.ffn_up.weight", dimensions=(256, 4), type="F32", data=rows.tobytes())
        write_gguf(file, {"general.architecture": "llama", "llama.block_count": 1}, [data])
    with pytest.warns(InputWarning) as caught:
        make("IQ3_S", source)
    assert [str(item.message) for item in caught] == [
        (
            "tensor blk.0.ffn_up.weight: 32 weights in a row are zero, and IQ3_S as llama.cpp makes it stores those behind them"
            " in the wrong place; give them another type under `overrides`"
        )
    ]


OPTIONS = {
    "output left": MixtureOptions(leave_output_tensor=True),
    "output and embeddings": MixtureOptions(output_tensor_type="Q8_0", token_embedding_type="Q4_0"),
    "pure": MixtureOptions(pure=True, output_tensor_type="Q6_K"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_options_make_the_plan_and_the_file_of_llama_cpps_quantizer(make, tmp_path, options):
    from lftool_llamacpp.quantizer import LlamaCppQuantizer, Options

    spec = TransformSpec(produces="Q4_K_M", options=Options(**attrs.asdict(options)))
    inputs = {"weights": InputFile(path=STORY, artifact=Artifact.of(STORY.read_bytes()))}
    LlamaCppQuantizer().run(spec, inputs, tmp_path / "theirs.gguf", 2, lambda *_: None)
    assert same(make("Q4_K_M", STORY, options=options), tmp_path / "theirs.gguf")
    ours = StrictQuantizer().plan(attrs.evolve(spec, options=options), inputs)
    assert ours == LlamaCppQuantizer().plan(spec, inputs)
