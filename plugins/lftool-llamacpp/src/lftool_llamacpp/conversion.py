"""Run llama.cpp's conversion scripts in this process, which exists for nothing else."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftool.api import ENCODERS, InputWarning
from lftool.errors import FormatError, LftoolError, RecipeError, UnavailableError
from lftool_llamacpp.model_files import lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.api import TransformSpec

FOLDER = Path("scripts/vendor/llama.cpp")  # where the scripts stand, in the folder of this process
# Nothing may be asked of a hub, and nothing guessed of this machine.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


def _forbid_code() -> None:
    """Have transformers refuse to import code of a model, whatever asks for it, and ask nobody."""
    from transformers import dynamic_module_utils  # noqa: PLC0415 - heavy

    def refuse(*_: object, **__: object) -> None:
        raise RecipeError(
            "the model asks for code of its own to be imported, which is never done",
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


def _write(writer: Any, output: Path, progress: Callable[[str, int, int], None]) -> None:  # noqa: ANN401 - gguf's own writer
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
            item.tensor.tofile(file)
            writer.write_padding(file, item.nbytes)
            item.tensor = None
            progress(name, index, len(tensors))


def _prepared(scripts: Any, folder: Path, kind: Any, output: Path, *, projector: bool) -> Any:  # noqa: ANN401 - the scripts' own types
    """Return a model with its tensors and metadata ready to be written."""
    hparams = scripts.ModelBase.load_hparams(folder, is_mistral_format=False)
    model_type = scripts.ModelType.MMPROJ if projector else scripts.ModelType.TEXT
    architecture = scripts.get_model_architecture(hparams, model_type)
    try:
        model_class = scripts.get_model_class(architecture, mmproj=projector)
    except NotImplementedError:
        what = "makes no projector of" if projector else "does not convert"
        raise RecipeError(f"llama.cpp {what} models of architecture {architecture}") from None
    model = model_class(folder, kind, output)
    model.prepare_tensors()
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
        kind: Type of the matrices: `f32`, `f16` or `bf16`.
        paths: Name to file of the model.
        output: Where to write.
        progress: Called as progress(tensor, index, count).
        projector: Make the projector of a multimodal model, not its language model.

    Raises:
        UnavailableError: The scripts were not handed over.
        RecipeError: llama.cpp does not know the architecture.
        FormatError: The scripts cannot read the model.
    """
    scripts = load_scripts(spec)
    import gguf  # noqa: PLC0415 - the scripts' own
    import torch  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - heavy

    types = {
        "f32": gguf.LlamaFileType.ALL_F32,
        "f16": gguf.LlamaFileType.MOSTLY_F16,
        "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    }
    folder = Path("model").absolute() / spec.name
    lay_out(folder, paths)
    with torch.inference_mode():
        try:
            model = _prepared(scripts, folder, types[kind], output, projector=projector)
        except (LftoolError, MemoryError):
            raise
        except Exception as error:
            raise FormatError(
                f"llama.cpp's scripts cannot convert the model: {type(error).__name__}: {error}"
            ) from error
        gc.enable()
        _warn_of_pooling(model)
        _write(model.gguf_writer, output, progress)
