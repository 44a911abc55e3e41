"""The public API: what a plugin may import.

A plugin is a module that an entry point of group `lftool` names. It sets `LFTOOL_API` to the version it was written for
and implements hooks that yield records:

    from lftool.api import LFTOOL_API_VERSION, SourceType, hookimpl

    LFTOOL_API = (2, 0)

    @hookimpl
    def lftool_sources():
        yield SourceType(name="mem", summary="files in memory", schemes=("mem",), factory=MemorySource)

A plugin imports `lftool.api`, `lftool.api.gguf`, `lftool.api.http` and, in its tests, `lftool.testing`: nothing else of lftool.
These four have their own semantic version; see docs/reference/plugin-api.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.api.credentials import Anonymous, Credential, Credentials
from lftool.api.events import BytesFetched, Event, Notice, StageFinished, StageStarted, TensorDone, WorkStopped
from lftool.api.files import ProjectFiles, local_file, local_files
from lftool.api.hookspecs import HOOKS, hookimpl
from lftool.api.lazy import Lazy, lazily
from lftool.api.protocols import (
    Backend,
    CompiledRuntime,
    Layout,
    Observer,
    Progress,
    RemoteStore,
    Runtime,
    Signer,
    Source,
    Transform,
    Verifier,
)
from lftool.api.records import (
    BackendType,
    CheckType,
    CommandType,
    ConfigurableRecord,
    ConverterType,
    Example,
    ExporterType,
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
from lftool.codec.canonical import canonical_json
from lftool.codec.utf8 import decode_utf8
from lftool.errors import (
    ChangedError,
    ExitStatus,
    FetchError,
    FormatError,
    IntegrityError,
    LftoolError,
    LockError,
    NotReproducibleError,
    PluginError,
    PolicyError,
    RangeError,
    RecipeError,
    StorageError,
    TransientError,
    TrustError,
    UnavailableError,
    UsageError,
)
from lftool.formats.model_kind import Does
from lftool.models.digest import Artifact, Digest
from lftool.models.globs import is_chosen
from lftool.models.lock import check_relative_path
from lftool.models.manifest import RUNNER_PATH, WEIGHTS_PATH
from lftool.models.terminal import Style, folded, has_colors, styled, verbosity
from lftool.models.terminal_text import printable

if TYPE_CHECKING:
    from lftool.api.checking import Check, CheckContext, Finding
    from lftool.api.exporting import Export, Exporter, ExportRequest
    from lftool.api.figures import EmbeddingFigures, Figures, QualityFigures, QualityRequest
    from lftool.api.launching import Device, EngineRelease, LaunchCommand, LaunchRequest, ModelSize, Probe, ServeOptions
    from lftool.api.load_report import LoadReport, LoadRequest
    from lftool.api.opened import BundleMember, CommandContext, OpenedBundle
    from lftool.models.policy import P256

LFTOOL_API_VERSION = (2, 0)

__all__ = [
    "HOOKS",
    "LFTOOL_API_VERSION",
    "P256",
    "RUNNER_PATH",
    "WEIGHTS_PATH",
    "Anonymous",
    "Artifact",
    "Backend",
    "BackendType",
    "BundleMember",
    "BytesFetched",
    "ChangedError",
    "Check",
    "CheckContext",
    "CheckType",
    "CommandContext",
    "CommandType",
    "CompiledRuntime",
    "ConfigurableRecord",
    "ConverterType",
    "Credential",
    "Credentials",
    "Device",
    "Digest",
    "Does",
    "EmbeddingFigures",
    "EngineRelease",
    "Event",
    "Example",
    "ExitStatus",
    "Export",
    "ExportRequest",
    "Exporter",
    "ExporterType",
    "FetchError",
    "Figures",
    "Finding",
    "FormatError",
    "InputFile",
    "InputWarning",
    "IntegrityError",
    "LaunchCommand",
    "LaunchRequest",
    "Layout",
    "LayoutInputs",
    "LayoutPlan",
    "LayoutType",
    "Lazy",
    "LftoolError",
    "LoadReport",
    "LoadRequest",
    "LockError",
    "ModelSize",
    "NotReproducibleError",
    "Notice",
    "Observer",
    "ObserverType",
    "OpenedBundle",
    "PlannedMember",
    "PlannedPrefix",
    "PluginError",
    "PolicyError",
    "Probe",
    "Progress",
    "ProjectFiles",
    "QualityFigures",
    "QualityRequest",
    "QuantizerType",
    "RangeError",
    "RecipeError",
    "Record",
    "RemoteStore",
    "RemoteStoreContext",
    "RemoteStoreType",
    "Resolution",
    "Runtime",
    "RuntimeMember",
    "RuntimeParts",
    "RuntimeType",
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
    "StorageError",
    "StoredObject",
    "Style",
    "TensorDone",
    "TensorType",
    "ToolArchive",
    "ToolIdentity",
    "Transform",
    "TransformPlan",
    "TransformSpec",
    "TransformType",
    "TransientError",
    "TrustError",
    "UnavailableError",
    "UsageError",
    "Verifier",
    "VerifierType",
    "WorkStopped",
    "canonical_json",
    "check_relative_path",
    "decode_utf8",
    "folded",
    "has_colors",
    "hookimpl",
    "is_chosen",
    "lazily",
    "local_file",
    "local_files",
    "printable",
    "styled",
    "verbosity",
]

# Modules of names that few commands need. Importing them with the others takes as long as a small command.
_LATE = {
    "P256": "lftool.models.policy",
    "BundleMember": "lftool.api.opened",
    "Check": "lftool.api.checking",
    "CheckContext": "lftool.api.checking",
    "CommandContext": "lftool.api.opened",
    "Device": "lftool.api.launching",
    "EngineRelease": "lftool.api.launching",
    "EmbeddingFigures": "lftool.api.figures",
    "Export": "lftool.api.exporting",
    "ExportRequest": "lftool.api.exporting",
    "Exporter": "lftool.api.exporting",
    "Figures": "lftool.api.figures",
    "Finding": "lftool.api.checking",
    "LaunchCommand": "lftool.api.launching",
    "LaunchRequest": "lftool.api.launching",
    "LoadReport": "lftool.api.load_report",
    "LoadRequest": "lftool.api.load_report",
    "ModelSize": "lftool.api.launching",
    "OpenedBundle": "lftool.api.opened",
    "Probe": "lftool.api.launching",
    "QualityFigures": "lftool.api.figures",
    "QualityRequest": "lftool.api.figures",
    "ServeOptions": "lftool.api.launching",
}


def __getattr__(name: str) -> object:
    """Import a name on first use."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as the docstring says

    found: object = getattr(import_module(_LATE[name]), name)
    globals()[name] = found
    return found
