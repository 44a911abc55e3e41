"""The converters: from a model's, or an adapter's, Hugging Face files to GGUF, with the scripts of llama.cpp itself.

They lie in the source distribution of the llama-cpp-python that is installed, which is pinned and fetched; so everything
that it converts, this converts. torch and transformers come with the extra `convert`.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING

from lftool.api import RecipeError, ToolIdentity, TransformPlan, UnavailableError
from lftool.api.gguf import read_safetensors
from lftool_llamacpp.lora import CONFIG, WEIGHTS, alpha_of
from lftool_llamacpp.model_files import check_modules, check_weights, read_json
from lftool_llamacpp.own_types import own_type
from lftool_llamacpp.probe_files import write_adapter_files, write_probe_files, write_projector_files
from lftool_llamacpp.sources import scripts_version, source_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lftool.api import InputFile, TransformSpec

# Distribution to the module that shows that it is there; all of them have a part in the bytes.
_NEEDED = {
    "numpy": "numpy",
    "protobuf": "google",
    "pyyaml": "yaml",
    "sentencepiece": "sentencepiece",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
}
# The scripts are written against this line of transformers, which llama.cpp's own requirements pin; others load other things.
_LINE = "4.57."
_FOLDER = "vendor/llama.cpp"
_MEMBERS = (
    f"{_FOLDER}/conversion/**/*.py",
    f"{_FOLDER}/gguf-py/gguf/**/*.py",
    f"{_FOLDER}/*.py",
    f"{_FOLDER}/models/templates/*.jinja",
)


def _widest(adapter: Mapping[str, InputFile]) -> str:
    """Return the type that holds all matrices of an adapter.

    Raises:
        FormatError: A file is not sound.
    """
    item = adapter[WEIGHTS]
    with item.path.open("rb") as file:
        tensors = read_safetensors(file, item.artifact.size, WEIGHTS)
    return own_type({tensor.type for tensor in tensors if len(tensor.shape) > 1}).lower()


def _tree(inputs: Mapping[str, InputFile]) -> dict[str, InputFile]:
    """Return the files of a model by their paths within its folder, which is the one with its configuration or weights."""
    marks = [path for path in inputs if path.rpartition("/")[2] == "config.json" or path.endswith(".safetensors")]
    top = min(marks, key=lambda path: path.count("/"), default="").rpartition("/")
    folder = top[0] + top[1]
    return {path.removeprefix(folder): item for path, item in inputs.items()}


class _Scripts:
    """llama.cpp's scripts, in a process of their own that asks no hub for anything."""

    def tool(self) -> ToolIdentity:
        """Return the versions of llama-cpp-python and of what its scripts import, and the archive that they lie in."""
        missing = sorted(name for name, module in _NEEDED.items() if importlib.util.find_spec(module) is None)
        if missing:
            raise UnavailableError(
                f"converting safetensors needs {', '.join(missing)}",
                hints=("pip install 'lftool[convert]', or point the source at a GGUF file",),
            )
        version, line = scripts_version(), metadata.version("transformers")
        if not line.startswith(_LINE):
            raise UnavailableError(
                f"llama.cpp's conversion scripts need transformers {_LINE}x, but {line} is installed:"
                " some models would convert differently",
                hints=("pip install 'lftool[convert]'",),
            )
        parts = [version, *(f"{name} {metadata.version(name)}" for name in sorted(_NEEDED))]
        return ToolIdentity(
            version=", ".join(parts),
            files=(),
            archive=source_archive(version, _MEMBERS),
        )


def _adapter_type(spec: TransformSpec, adapter: Mapping[str, InputFile]) -> str:
    return _widest(adapter) if spec.produces == "source" else spec.produces


def _paths(tree: Mapping[str, InputFile]) -> dict[str, Path]:
    return {name: item.path for name, item in tree.items()}


def _check(paths: Mapping[str, Path]) -> None:
    check_weights(paths)
    check_modules(paths)


def _by_model(inputs: Mapping[str, InputFile]) -> dict[str, dict[str, Path]]:
    """Return the models of a probe: name to files."""
    found: dict[str, dict[str, Path]] = {}
    for name, item in inputs.items():
        _, model, path = name.split("/", 2)
        found.setdefault(model, {})[path] = item.path
    return found


class HuggingFaceConverter(_Scripts):
    """Converts models."""

    projector = False

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write a small Llama, a Qwen2 and a NeoX of fixed weights, with tokenizers."""
        del use
        return write_probe_files(folder)

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return the type and the name; which tensors there will be, the scripts decide.

        Raises:
            RecipeError: There is nothing to convert.
        """
        tree = _tree(inputs)
        if "config.json" not in tree:
            raise RecipeError("the safetensors files have no config.json beside them: the architecture is unknown")
        _check(_paths(tree))
        return TransformPlan(parameters={"type": spec.produces, "name": spec.name}, tensors=())

    def run(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the GGUF."""
        from lftool_llamacpp.conversion import convert, convert_probes  # noqa: PLC0415 - heavy, child processes only

        del threads
        if any(name.startswith("/") for name in inputs):  # of `probe_inputs`
            convert_probes(spec, _by_model(inputs), output)
            return
        tree = _tree(inputs)
        paths = _paths(tree)
        _check(paths)
        convert(spec, spec.produces, paths, output, progress, projector=self.projector)


class ProjectorConverter(HuggingFaceConverter):
    """Converts the part of a multimodal model that makes embeddings of images and sound."""

    projector = True

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write what a small projector of fixed weights is made of."""
        del use
        return write_projector_files(folder)


def _adapter(inputs: Mapping[str, InputFile]) -> dict[str, InputFile]:
    """Return name to file of an adapter."""
    return {path.removeprefix("adapter/"): item for path, item in inputs.items() if path.startswith("adapter/")}


def _alpha(inputs: Mapping[str, InputFile]) -> float:
    """Return the alpha that gives a GGUF the scale of an adapter; see `alpha_of`."""
    adapter = _adapter(inputs)
    weights = adapter[WEIGHTS]
    with weights.path.open("rb") as file:
        tensors = read_safetensors(file, weights.artifact.size, WEIGHTS)
    return alpha_of(read_json(adapter[CONFIG].path, CONFIG), tensors)


class AdapterConverter(_Scripts):
    """Converts LoRA adapters that PEFT has written."""

    def probe_inputs(self, use: str, folder: Path) -> dict[str, Path]:
        """Write a small adapter of fixed weights, and the configuration of its model."""
        del use
        return write_adapter_files(folder)

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return the type and the name.

        Raises:
            RecipeError: It is no LoRA adapter.
        """
        config = read_json(inputs["adapter/adapter_config.json"].path, "adapter_config.json")
        kind = config.get("peft_type") if isinstance(config, dict) else None
        if kind != "LORA":
            raise RecipeError(f"adapter_config.json: peft_type is {kind!r}; llama.cpp's scripts convert 'LORA'")
        _alpha(inputs)
        return TransformPlan(parameters={"type": _adapter_type(spec, _adapter(inputs)), "name": spec.name}, tensors=())

    def run(
        self,
        spec: TransformSpec,
        inputs: Mapping[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write the GGUF."""
        from lftool_llamacpp.adapter import convert_adapter  # noqa: PLC0415 - heavy, child processes only

        del threads
        adapter, alpha = _adapter(inputs), _alpha(inputs)
        base = {"config.json": inputs["base/config.json"].path}
        convert_adapter(spec, _adapter_type(spec, adapter), _paths(adapter), base, alpha, output, progress)
