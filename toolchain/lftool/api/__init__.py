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

from lftool.api.late import late

if TYPE_CHECKING:
    from lftool.api.checking import Check, CheckContext, Finding
    from lftool.api.credentials import Anonymous, Credential, Credentials
    from lftool.api.deriving import Arithmetic, DeriveRequest, DeriveResult, Distance, Fit, TensorBytes
    from lftool.api.events import BytesFetched, Event, Notice, StageFinished, StageStarted, TensorDone, WorkStopped
    from lftool.api.exporting import Export, Exporter, ExportRequest
    from lftool.api.figures import EmbeddingFigures, Figures, QualityFigures, QualityRequest
    from lftool.api.files import ProjectFiles, local_file, local_files
    from lftool.api.hookspecs import HOOKS
    from lftool.api.launching import Device, EngineRelease, LaunchCommand, LaunchRequest, ModelSize, Probe, ServeOptions
    from lftool.api.lazy import Lazy, lazily
    from lftool.api.load_report import LoadReport, LoadRequest
    from lftool.api.marker import hookimpl
    from lftool.api.opened import BundleMember, CommandContext, OpenedBundle
    from lftool.api.placing import LayoutInputs, LayoutPlan, PlannedMember, PlannedPrefix, RuntimeMember, RuntimeParts
    from lftool.api.protocols import (
        Backend,
        CompiledRuntime,
        Deriver,
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
    from lftool.api.sourcing import (
        RemoteStoreContext,
        Resolution,
        SignerContext,
        SourceContext,
        SourceFile,
        SourceRequest,
        StoredObject,
    )
    from lftool.api.transforms import (
        InputFile,
        InputWarning,
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
    from lftool.models.policy import P256
    from lftool.models.terminal import Style, folded, has_colors, styled, verbosity
    from lftool.models.terminal_text import printable

LFTOOL_API_VERSION = (2, 0)

__all__ = [
    "HOOKS",
    "LFTOOL_API_VERSION",
    "P256",
    "RUNNER_PATH",
    "WEIGHTS_PATH",
    "Anonymous",
    "Arithmetic",
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
    "DeriveRequest",
    "DeriveResult",
    "Deriver",
    "Device",
    "Digest",
    "Distance",
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
    "Fit",
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
    "TensorBytes",
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

# Module to its names.
_MODULES = {
    "lftool.api.checking": ("Check", "CheckContext", "Finding"),
    "lftool.api.credentials": ("Anonymous", "Credential", "Credentials"),
    "lftool.api.deriving": ("Arithmetic", "DeriveRequest", "DeriveResult", "Distance", "Fit", "TensorBytes"),
    "lftool.api.events": (
        "BytesFetched",
        "Event",
        "Notice",
        "StageFinished",
        "StageStarted",
        "TensorDone",
        "WorkStopped",
    ),
    "lftool.api.exporting": ("Export", "ExportRequest", "Exporter"),
    "lftool.api.figures": ("EmbeddingFigures", "Figures", "QualityFigures", "QualityRequest"),
    "lftool.api.files": ("ProjectFiles", "local_file", "local_files"),
    "lftool.api.hookspecs": ("HOOKS",),
    "lftool.api.marker": ("hookimpl",),
    "lftool.api.launching": (
        "Device",
        "EngineRelease",
        "LaunchCommand",
        "LaunchRequest",
        "ModelSize",
        "Probe",
        "ServeOptions",
    ),
    "lftool.api.lazy": ("Lazy", "lazily"),
    "lftool.api.load_report": ("LoadReport", "LoadRequest"),
    "lftool.api.opened": ("BundleMember", "CommandContext", "OpenedBundle"),
    "lftool.api.placing": (
        "LayoutInputs",
        "LayoutPlan",
        "PlannedMember",
        "PlannedPrefix",
        "RuntimeMember",
        "RuntimeParts",
    ),
    "lftool.api.protocols": (
        "Backend",
        "CompiledRuntime",
        "Deriver",
        "Layout",
        "Observer",
        "Progress",
        "RemoteStore",
        "Runtime",
        "Signer",
        "Source",
        "Transform",
        "Verifier",
    ),
    "lftool.api.records": (
        "BackendType",
        "CheckType",
        "CommandType",
        "ConfigurableRecord",
        "ConverterType",
        "Example",
        "ExporterType",
        "LayoutType",
        "ObserverType",
        "QuantizerType",
        "Record",
        "RemoteStoreType",
        "RuntimeType",
        "SignerType",
        "SourceType",
        "TransformType",
        "VerifierType",
    ),
    "lftool.api.sourcing": (
        "RemoteStoreContext",
        "Resolution",
        "SignerContext",
        "SourceContext",
        "SourceFile",
        "SourceRequest",
        "StoredObject",
    ),
    "lftool.api.transforms": (
        "InputFile",
        "InputWarning",
        "TensorType",
        "ToolArchive",
        "ToolIdentity",
        "TransformPlan",
        "TransformSpec",
    ),
    "lftool.codec.canonical": ("canonical_json",),
    "lftool.codec.utf8": ("decode_utf8",),
    "lftool.errors": (
        "ChangedError",
        "ExitStatus",
        "FetchError",
        "FormatError",
        "IntegrityError",
        "LftoolError",
        "LockError",
        "NotReproducibleError",
        "PluginError",
        "PolicyError",
        "RangeError",
        "RecipeError",
        "StorageError",
        "TransientError",
        "TrustError",
        "UnavailableError",
        "UsageError",
    ),
    "lftool.formats.model_kind": ("Does",),
    "lftool.models.digest": ("Artifact", "Digest"),
    "lftool.models.globs": ("is_chosen",),
    "lftool.models.lock": ("check_relative_path",),
    "lftool.models.manifest": ("RUNNER_PATH", "WEIGHTS_PATH"),
    "lftool.models.policy": ("P256",),
    "lftool.models.terminal": ("Style", "folded", "has_colors", "styled", "verbosity"),
    "lftool.models.terminal_text": ("printable",),
}
__getattr__ = late(__name__, _MODULES)
