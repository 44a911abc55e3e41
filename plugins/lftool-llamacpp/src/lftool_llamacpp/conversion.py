"""Run llama.cpp's conversion scripts in this process, which exists for nothing else."""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftool.api import InputWarning, LftoolError, RecipeError, UnavailableError
from lftool.api.gguf import ENCODERS
from lftool_llamacpp.model_files import lay_out
from lftool_llamacpp.own_types import OwnTypes
from lftool_llamacpp.script_log import ScriptLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.api import TransformSpec

FOLDER = Path("scripts/vendor/llama.cpp")  # where the scripts stand, in the folder of this process
_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "auto": "GUESSED", "source": "ALL_F32"}
_PROBE_TEXT = "The 3 foxes, 12 hens and 1234567 ants\n\n  didn't  s\u00e9e \u00e9 \U0001f680 in 2026."
# Nothing may be asked of a hub, and nothing guessed of this machine.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


def _forbid_code() -> None:
    """Have transformers refuse to import code of a model, whatever asks for it, and ask nobody."""
    from transformers import dynamic_module_utils  # noqa: PLC0415 - heavy

    def refuse(*_: object, **__: object) -> None:
        raise RecipeError(
            "the model needs its own Python code imported, which lftool never does",
            hints=("use a model that llama.cpp converts without it",),
        )

    module: Any = dynamic_module_utils
    module.get_class_in_module = refuse
    module.TIME_OUT_REMOTE_CODE = 0


def _scripts(archive: Path) -> Any:  # noqa: ANN401 - a module that is only there at run time
    """Unpack the scripts and import them: the package `conversion`, with the `gguf` that belongs to it."""
    with zipfile.ZipFile(archive) as members:
        members.extractall(FOLDER.parents[1])
    root = FOLDER.absolute()
    parts = [root / part for part in ("conversion/__init__.py", "conversion/base.py", "gguf-py/gguf")]
    command = [sys.executable, "-I", "-m", "compileall", "-q", *map(str, parts)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL):  # meanwhile, on another core
        import torch.distributed  # noqa: PLC0415 - heavy

        # Otherwise transformers imports what trains on many machines, and sympy with it: half a second.
        torch.distributed.is_available = lambda: False
        import transformers  # noqa: PLC0415 - heavy
    del transformers
    sys.path[:0] = [str(root), str(root / "gguf-py")]
    import conversion  # type: ignore[import-not-found]  # noqa: PLC0415 - from there

    return conversion


def load_scripts(spec: TransformSpec) -> Any:  # noqa: ANN401 - a module that is only there at run time
    """Import the scripts, in a process that asks no hub for anything and imports no code of a model.

    Raises:
        UnavailableError: They were not handed over.
    """
    if spec.archive is None:
        raise UnavailableError("the conversion scripts were not fetched")
    os.environ.update(_ENVIRONMENT)
    gc.disable()  # a fifth of the time that the imports take is looking for garbage that is not there
    scripts = _scripts(spec.archive)
    _forbid_code()
    return scripts


class _Output(io.FileIO):
    """A file, or a pipe, that is written from the first byte to the last. It is not buffered: NumPy writes past buffers."""

    written = 0

    def write(self, data: Any) -> int:  # noqa: ANN401 - a buffer
        view = memoryview(data)
        while view:
            count = super().write(view)
            view, self.written = view[count:], self.written + count
        return len(data)


def _write(writer: Any, types: OwnTypes, output: Path, progress: Callable[[str, int, int], None]) -> None:  # noqa: ANN401 - gguf's own writer
    """Write what a writer holds as it does itself (GGUFWriter.write_tensors_to_file), but without asking where it stands."""
    from gguf.gguf_writer import WriterState  # noqa: PLC0415 - from there

    with _Output(output, "w") as file:
        writer.fout, writer.state = [file], WriterState.EMPTY
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.write_padding(file, file.written)
        (tensors,) = writer.tensors
        for index, (name, item) in enumerate(tensors.items(), 1):
            types.name = name
            item.tensor.tofile(file)
            writer.write_padding(file, item.nbytes)
            item.tensor = None
            progress(name, index, len(tensors))


def _prepared(scripts: Any, folder: Path, kind: str, output: Path, types: OwnTypes, *, projector: bool) -> Any:  # noqa: ANN401 - the scripts' own types
    """Return a model with its tensors and metadata ready to be written."""
    import gguf  # noqa: PLC0415 - the scripts' own

    hparams = scripts.ModelBase.load_hparams(folder, is_mistral_format=False)
    model_type = scripts.ModelType.MMPROJ if projector else scripts.ModelType.TEXT
    architecture = scripts.get_model_architecture(hparams, model_type)
    try:
        model_class = scripts.get_model_class(architecture, mmproj=projector)
    except NotImplementedError:
        what = "cannot make a projector from" if projector else "does not convert"
        raise RecipeError(f"llama.cpp {what} models of architecture {architecture}") from None
    model = model_class(folder, gguf.LlamaFileType[_FILE_TYPES[kind]], output)
    types.watch(model)
    model.prepare_tensors()
    types.finish()
    model.prepare_metadata(vocab_only=False)
    return model


def _warn_of_pooling(model: Any) -> None:  # noqa: ANN401 - the scripts' own
    import gguf  # noqa: PLC0415 - from there

    architecture = gguf.MODEL_ARCH_NAMES[model.model_arch]
    if architecture in ENCODERS and not any(
        f"{architecture}.pooling_type" in part for part in model.gguf_writer.kv_data
    ):
        warnings.warn(
            "the model does not define its pooling (modules.json, 1_Pooling/config.json): mean pooling is used",
            InputWarning,
            stacklevel=1,
        )


def convert(
    spec: TransformSpec,
    kind: str,
    paths: Mapping[str, Path],
    output: Path,
    progress: Callable[[str, int, int], None],
    *,
    projector: bool = False,
) -> None:
    """Convert a model's files into a GGUF.

    Args:
        spec: What to make; its archive holds the scripts.
        kind: Type of the matrices: `f32`, `f16` or `bf16`; `auto`, the first of 16 bits, as llama.cpp's scripts choose; or
            `source`, each its own.
        paths: Name to file of the model.
        output: Where to write.
        progress: Called as progress(tensor, index, count).
        projector: Make the projector of a multimodal model, not its language model.

    Raises:
        UnavailableError: The scripts were not handed over.
        RecipeError: llama.cpp does not know the architecture, or a value does not fit into the type.
        FormatError: The scripts cannot read the model.
    """
    scripts = load_scripts(spec)
    _convert(scripts, spec, kind, paths, output, progress, projector=projector)


def convert_probes(spec: TransformSpec, models: Mapping[str, Mapping[str, Path]], output: Path) -> None:
    """Convert models one after the other into one file, with what their tokenizers make of a text behind each.

    Their vocabularies are too small for any that the scripts know by a digest, so these are not asked for the pre-tokenizer.

    Raises:
        LftoolError: As `convert`.
    """
    scripts = load_scripts(spec)
    said: list[bytes] = []

    def unknown(_: object, tokenizer: Any) -> str:  # noqa: ANN401 - of transformers
        said.append(json.dumps(tokenizer.encode(_PROBE_TEXT)).encode())
        return "default"

    scripts.TextModel.get_vocab_base_pre = unknown
    with output.open("wb") as whole:
        for name, paths in models.items():
            one = Path(f"{name}.gguf").absolute()
            _convert(scripts, spec, spec.produces, paths, one, lambda *_: None, projector=False)
            whole.write(one.read_bytes() + b"".join(said))
            said.clear()


def _convert(
    scripts: Any,  # noqa: ANN401 - the scripts' package
    spec: TransformSpec,
    kind: str,
    paths: Mapping[str, Path],
    output: Path,
    progress: Callable[[str, int, int], None],
    *,
    projector: bool,
) -> None:
    import torch  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - heavy

    folder = Path("model").absolute() / output.name / spec.name
    lay_out(folder, paths)
    with torch.inference_mode(), ScriptLog(folder) as log, OwnTypes(keep=kind == "source") as types:
        try:
            model = _prepared(scripts, folder, kind, output, types, projector=projector)
        except (LftoolError, MemoryError):
            raise
        except Exception as error:
            raise log.failure(error) from error
        gc.enable()
        log.pass_on()
        _warn_of_pooling(model)
        _write(model.gguf_writer, types, output, progress)
