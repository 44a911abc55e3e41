"""Quantising through the plugin gives the bytes of llama.cpp itself."""

from __future__ import annotations

import pytest
from tests.plugins.conftest import NEED_IMPORTANCE

from lftool.api.gguf import FILE_TYPES, read_gguf
from lftool.errors import RecipeError
from lftool.testing import tiny_gguf

# llama.cpp refuses these without an importance matrix.


def types_in(path) -> list[tuple[str, str]]:
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, path.name)
    return [(tensor.name, tensor.type.name) for tensor in header.tensors]


@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q8_0"])
def test_bytes_are_those_of_a_direct_call(plugin, quantize_directly, tmp_path, file_type):
    source = tiny_gguf(tmp_path / "model.gguf")
    plugin.run(file_type, tmp_path / "ours.gguf", weights=source)
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES[file_type])
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


@pytest.mark.parametrize("file_type", ["IQ2_XXS", "Q4_K_M"])
def test_bytes_with_an_imatrix_are_those_of_a_direct_call(
    plugin, quantize_directly, imatrix_tools, tmp_path, file_type
):
    importance_of, write_gguf_imatrix, _ = imatrix_tools
    source, entries = tiny_gguf(tmp_path / "model.gguf"), importance_of()
    imatrix = write_gguf_imatrix(tmp_path / "imatrix.gguf", entries)
    plugin.run(file_type, tmp_path / "ours.gguf", weights=source, imatrix=imatrix)
    plugin.run("Q4_K_M", tmp_path / "plain.gguf", weights=source)
    means = {name: [value / count for value in sums] for name, (sums, count) in entries.items()}
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES[file_type], means)
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()
    assert (tmp_path / "ours.gguf").read_bytes() != (tmp_path / "plain.gguf").read_bytes()


@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q6_K"])
def test_threads_change_no_byte(plugin, tmp_path, file_type):
    source = tiny_gguf(tmp_path / "model.gguf", layers=2)
    for threads in (1, 2):
        plugin.run(file_type, tmp_path / f"{threads}.gguf", weights=source, threads=threads)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "2.gguf").read_bytes()


def test_progress_names_every_tensor_once_in_order(plugin, tmp_path):
    source = tiny_gguf(tmp_path / "model.gguf")
    seen = plugin.run("Q4_K_M", tmp_path / "out.gguf", weights=source)
    names = [name for name, _ in types_in(tmp_path / "out.gguf")]
    assert seen == [(name, index, len(names)) for index, name in enumerate(names, 1)]


@pytest.mark.parametrize("file_type", ["F16", "Q4_K_M", "IQ4_XS", "Q2_K"])
def test_plan_is_what_is_made(plugin, tmp_path, file_type):
    source = tiny_gguf(tmp_path / "model.gguf")
    planned = plugin.plan(file_type, weights=source)
    plugin.run(file_type, tmp_path / "out.gguf", weights=source)
    assert [(item.tensor, item.type) for item in planned.tensors] == types_in(tmp_path / "out.gguf")


def test_pure_gives_every_matrix_the_types_own_type(plugin, tmp_path):
    source = tiny_gguf(tmp_path / "model.gguf")
    planned = plugin.plan("Q4_K_M", {"pure": True}, weights=source)
    matrices = {item.type for item in planned.tensors if "norm" not in item.tensor}
    assert matrices == {"Q4_K"}


def test_fingerprint_is_stable(plugin, tmp_path):
    for name in ("first", "second"):
        plugin.probe("Q4_K_M", tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_fingerprint_with_an_imatrix_is_another(plugin, tmp_path):
    plugin.probe("Q4_0", tmp_path / "plain")
    plugin.probe("Q4_0+imatrix", tmp_path / "imatrix")
    assert (tmp_path / "plain").read_bytes() != (tmp_path / "imatrix").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("with_imatrix", [False, True], ids=["plain", "imatrix"])
@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_every_file_type_is_planned_made_and_fingerprinted(
    plugin, quantize_directly, imatrix_tools, tmp_path, file_type, with_imatrix
):
    importance_of, write_gguf_imatrix, _ = imatrix_tools
    source, entries = tiny_gguf(tmp_path / "model.gguf"), importance_of()
    paths = {"weights": source}
    means = None
    if with_imatrix:
        paths["imatrix"] = write_gguf_imatrix(tmp_path / "imatrix.gguf", entries)
        means = {name: [value / count for value in sums] for name, (sums, count) in entries.items()}
    if file_type in NEED_IMPORTANCE and not with_imatrix:
        with pytest.raises(RecipeError, match=r"^this file type needs an importance matrix$"):
            plugin.plan(file_type, **paths)
        return
    planned = plugin.plan(file_type, **paths)
    plugin.run(file_type, tmp_path / "ours.gguf", threads=2, **paths)
    quantize_directly(source, tmp_path / "theirs.gguf", FILE_TYPES[file_type], means)
    assert [(item.tensor, item.type) for item in planned.tensors] == types_in(tmp_path / "ours.gguf")
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()
    plugin.probe(f"{file_type}+imatrix" if with_imatrix else file_type, tmp_path / "fingerprint")
    assert types_in(tmp_path / "fingerprint")
