"""GGUF, safetensors and importance matrices for plugins: read headers within budgets, and write sound files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api.late import late

if TYPE_CHECKING:
    from lftool.api.coverage import check_coverage
    from lftool.api.mixture_options import MixtureOptions
    from lftool.formats.codebooks import grid_points
    from lftool.formats.dequantize import Levels, decode_block
    from lftool.formats.file_types import FILE_TYPES
    from lftool.formats.ggml_types import GGML_TYPES
    from lftool.formats.gguf_arrays import text_array
    from lftool.formats.gguf_read import GGUFArray, GGUFHeader, GGUFTensor, padding, read_gguf
    from lftool.formats.gguf_write import TensorData, copied_header, metadata_entry, write_gguf
    from lftool.formats.imatrix import read_imatrix
    from lftool.formats.model_kind import ENCODERS, ModelKind, model_kind
    from lftool.formats.probe_model import write_probe_imatrix, write_probe_model
    from lftool.formats.safetensors import SafetensorsTensor, read_safetensors

__all__ = [
    "ENCODERS",
    "FILE_TYPES",
    "GGML_TYPES",
    "GGUFArray",
    "GGUFHeader",
    "GGUFTensor",
    "Levels",
    "MixtureOptions",
    "ModelKind",
    "SafetensorsTensor",
    "TensorData",
    "check_coverage",
    "copied_header",
    "decode_block",
    "grid_points",
    "metadata_entry",
    "model_kind",
    "padding",
    "read_gguf",
    "read_imatrix",
    "read_safetensors",
    "text_array",
    "write_gguf",
    "write_probe_imatrix",
    "write_probe_model",
]

# Module to its names.
_MODULES = {
    "lftool.api.coverage": ("check_coverage",),
    "lftool.api.mixture_options": ("MixtureOptions",),
    "lftool.formats.codebooks": ("grid_points",),
    "lftool.formats.dequantize": ("Levels", "decode_block"),
    "lftool.formats.file_types": ("FILE_TYPES",),
    "lftool.formats.ggml_types": ("GGML_TYPES",),
    "lftool.formats.gguf_arrays": ("text_array",),
    "lftool.formats.gguf_read": ("GGUFArray", "GGUFHeader", "GGUFTensor", "padding", "read_gguf"),
    "lftool.formats.gguf_write": ("TensorData", "copied_header", "metadata_entry", "write_gguf"),
    "lftool.formats.imatrix": ("read_imatrix",),
    "lftool.formats.model_kind": ("ENCODERS", "ModelKind", "model_kind"),
    "lftool.formats.probe_model": ("write_probe_imatrix", "write_probe_model"),
    "lftool.formats.safetensors": ("SafetensorsTensor", "read_safetensors"),
}
__getattr__ = late(__name__, _MODULES)
