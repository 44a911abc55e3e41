"""Small models of many architectures: lftool converts each to the bytes that llama.cpp's own script makes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from tests.real.architectures import BYTE_PAIRS, SENTENCEPIECE, write_byte_pairs, write_model, write_sentencepiece

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def tokenizers(models, repository, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    write_sentencepiece(repository / "examples" / "tiny-story" / "tiny-story", folder / "sentencepiece")
    write_byte_pairs(models / "smollm2" / "smollm2.gguf", folder / "byte-pairs")
    write_model(
        "Llama", {}, folder / "sentencepiece", folder / "first"
    )  # libraries set variables, which a test must not
    return {name: folder / name for name in ("sentencepiece", "byte-pairs")}


@pytest.fixture(scope="session")
def scripts(archive, tmp_path_factory) -> Path:
    """llama.cpp's scripts, as they lie in the archive."""
    folder = tmp_path_factory.mktemp("scripts")
    with zipfile.ZipFile(archive) as members:
        members.extractall(folder)
    return folder / "vendor" / "llama.cpp"


CASES = [(name, "sentencepiece", extra) for name, extra in SENTENCEPIECE.items()]
CASES += [(name, "byte-pairs", extra) for name, extra in BYTE_PAIRS.items()]


@pytest.mark.parametrize(("name", "tokenizer", "extra"), CASES, ids=[name for name, _, _ in CASES])
def test_a_model_becomes_what_llama_cpps_script_makes_of_it(
    name, tokenizer, extra, tokenizers, scripts, convert, tmp_path
):
    folder, expected = tmp_path / "small-model", tmp_path / "expected.gguf"
    write_model(name, extra, tokenizers[tokenizer], folder)
    script = [sys.executable, scripts / "convert_hf_to_gguf.py", "--outtype", "f16", "--outfile", expected, folder]
    done = subprocess.run(script, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert convert(folder, "f16", folder.name).read_bytes() == expected.read_bytes()


def test_there_are_at_least_thirty():
    assert len(CASES) >= 30
