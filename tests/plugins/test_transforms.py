"""Our converters and quantizers do what every one must."""

from __future__ import annotations

from pathlib import Path

import pytest

from lftool.api import ConverterType, QuantizerType
from lftool.api.gguf import TensorData, write_gguf
from lftool.testing import tiny_gguf
from lftool.testing.transform_kit import StreamingConformance, TransformConformance, Work
from lftool_llamacpp.probe_files import write_adapter_files, write_projector_files

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story"


class TestStrict(StreamingConformance):
    @pytest.fixture
    def work(self, tmp_path):
        weights = tiny_gguf(tmp_path / "model.gguf")
        return Work(kind=QuantizerType, name="strict", produces="Q4_K_M", inputs={"weights": weights})


class TestLlamaCpp(TransformConformance):
    @pytest.fixture
    def work(self, tmp_path):
        weights = tiny_gguf(tmp_path / "model.gguf")
        return Work(kind=QuantizerType, name="llama.cpp", produces="Q4_K_M", inputs={"weights": weights})


class TestJoin(StreamingConformance):
    @pytest.fixture
    def work(self, tmp_path):
        inputs = {}
        for index in range(2):
            path = tmp_path / f"model-{index + 1:05}-of-00002.gguf"
            tensor = TensorData(name=f"t{index}", dimensions=(64, 64), type="F16", data=bytes(8192))
            keys = {"general.architecture": "llama"} if index == 0 else {}
            with path.open("wb") as file:
                write_gguf(file, {**keys, "split.no": index, "split.count": 2, "split.tensors.count": 2}, [tensor])
            inputs[path.name] = path
        return Work(kind=ConverterType, name="gguf-join", produces="source", inputs=inputs)


class TestHuggingFace(StreamingConformance):
    @pytest.fixture
    def work(self, archive):
        inputs = {path.name: path for path in sorted(STORY.iterdir())}
        return Work(
            kind=ConverterType, name="llama.cpp", produces="f16", inputs=inputs, model="tiny-story", archive=archive
        )


# Both go through the same script as the weights, which stay.
@pytest.mark.slow_cases(r"test_threads_and_repetition_change_no_byte")
class TestAdapter(TransformConformance):
    @pytest.fixture
    def work(self, tmp_path, archive):
        (tmp_path / "files").mkdir()
        return Work(
            kind=ConverterType,
            name="llama.cpp-lora",
            produces="source",
            inputs=write_adapter_files(tmp_path / "files"),
            model="small-adapter",
            archive=archive,
        )


# Both go through the same script as the weights, which stay.
@pytest.mark.slow_cases(r"test_(threads_and_repetition_change_no_byte|a_pipe_gives_the_same_bytes)")
class TestProjector(StreamingConformance):
    @pytest.fixture
    def work(self, tmp_path, archive):
        (tmp_path / "files").mkdir()
        return Work(
            kind=ConverterType,
            name="llama.cpp-mmproj",
            produces="f16",
            inputs=write_projector_files(tmp_path / "files"),
            model="small-vision",
            archive=archive,
        )
