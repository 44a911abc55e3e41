"""The public API: what a plugin may import.

A plugin is a module behind an entry point of group `lftool`. It sets `LFTOOL_API` to the version it was written for
and implements hooks that yield records:

    from lftool.api import LFTOOL_API_VERSION, SourceType, hookimpl

    LFTOOL_API = (2, 0)

    @hookimpl
    def lftool_sources():
        yield SourceType(name="mem", summary="files in memory", schemes=("mem",), factory=MemorySource)

Everything exported here follows semantic versioning of its own; see docs/reference/plugin-api.md.
"""

from __future__ import annotations

from lftool.api.credentials import Anonymous, Credential, Credentials
from lftool.api.events import BytesFetched, Event, Notice, StageFinished, StageStarted, TensorDone, WorkStopped
from lftool.api.figures import EmbeddingFigures, Figures, QualityFigures, QualityRequest
from lftool.api.files import ProjectFiles, local_file, local_files
from lftool.api.hookspecs import HOOKS, hookimpl
from lftool.api.hosts import is_loopback
from lftool.api.http import HTTPClient
from lftool.api.http_answers import HTTPAnswer, masked_url
from lftool.api.launching import Device, LaunchCommand, LaunchRequest, ModelSize, Probe, ServeOptions
from lftool.api.load_report import LoadReport, LoadRequest
from lftool.api.protocols import (
    Backend,
    CompiledRuntime,
    Layout,
    Observer,
    RemoteStore,
    Runtime,
    Signer,
    Source,
    Transform,
    Verifier,
)
from lftool.api.records import (
    BackendType,
    ConverterType,
    LayoutType,
    ObserverType,
    QuantizerType,
    Record,
    RemoteStoreType,
    RuntimeType,
    SignerType,
    SourceType,
    TransformType,
    VerifierType,
)
from lftool.api.stalls import Pace, header_seconds, least_rate, stall_seconds
from lftool.api.values import (
    InputFile,
    InputWarning,
    LayoutInputs,
    LayoutPlan,
    PlannedMember,
    PlannedPrefix,
    RemoteStoreContext,
    Resolution,
    RuntimeMember,
    RuntimeParts,
    SignerContext,
    SourceContext,
    SourceFile,
    SourceRequest,
    StoredObject,
    TensorType,
    ToolArchive,
    ToolIdentity,
    TransformPlan,
    TransformSpec,
)
from lftool.codec.utf8 import decode_utf8
from lftool.formats.file_types import FILE_TYPES
from lftool.formats.ggml_types import BY_NAME as GGML_TYPES
from lftool.formats.gguf_read import GGUFArray, GGUFHeader, GGUFTensor, padding, read_gguf
from lftool.formats.gguf_write import TensorData, copied_header, metadata_entry, write_gguf
from lftool.formats.imatrix import read_imatrix
from lftool.formats.model_kind import ENCODERS, ModelKind, model_kind
from lftool.formats.probe_model import write_probe_imatrix, write_probe_model
from lftool.formats.safetensors import SafetensorsTensor, read_safetensors
from lftool.models.digest import Artifact, Digest
from lftool.models.globs import is_chosen

LFTOOL_API_VERSION = (2, 0)

__all__ = [
    "ENCODERS",
    "FILE_TYPES",
    "GGML_TYPES",
    "HOOKS",
    "LFTOOL_API_VERSION",
    "Anonymous",
    "Artifact",
    "Backend",
    "BackendType",
    "BytesFetched",
    "CompiledRuntime",
    "ConverterType",
    "Credential",
    "Credentials",
    "Device",
    "Digest",
    "EmbeddingFigures",
    "Event",
    "Figures",
    "GGUFArray",
    "GGUFHeader",
    "GGUFTensor",
    "HTTPAnswer",
    "HTTPClient",
    "InputFile",
    "InputWarning",
    "LaunchCommand",
    "LaunchRequest",
    "Layout",
    "LayoutInputs",
    "LayoutPlan",
    "LayoutType",
    "LoadReport",
    "LoadRequest",
    "ModelKind",
    "ModelSize",
    "Notice",
    "Observer",
    "ObserverType",
    "Pace",
    "PlannedMember",
    "PlannedPrefix",
    "Probe",
    "ProjectFiles",
    "QualityFigures",
    "QualityRequest",
    "QuantizerType",
    "Record",
    "RemoteStore",
    "RemoteStoreContext",
    "RemoteStoreType",
    "Resolution",
    "Runtime",
    "RuntimeMember",
    "RuntimeParts",
    "RuntimeType",
    "SafetensorsTensor",
    "ServeOptions",
    "Signer",
    "SignerContext",
    "SignerType",
    "Source",
    "SourceContext",
    "SourceFile",
    "SourceRequest",
    "SourceType",
    "StageFinished",
    "StageStarted",
    "StoredObject",
    "TensorData",
    "TensorDone",
    "TensorType",
    "ToolArchive",
    "ToolIdentity",
    "Transform",
    "TransformPlan",
    "TransformSpec",
    "TransformType",
    "Verifier",
    "VerifierType",
    "WorkStopped",
    "copied_header",
    "decode_utf8",
    "header_seconds",
    "hookimpl",
    "is_chosen",
    "is_loopback",
    "least_rate",
    "local_file",
    "local_files",
    "masked_url",
    "metadata_entry",
    "model_kind",
    "padding",
    "read_gguf",
    "read_imatrix",
    "read_safetensors",
    "stall_seconds",
    "write_gguf",
    "write_probe_imatrix",
    "write_probe_model",
]
