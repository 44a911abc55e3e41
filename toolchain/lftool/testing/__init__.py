"""For tests of lftool and of plugins: small models, projects to run commands in, failing servers, and conformance kits.

A kit is a class of tests that every plugin of a kind must pass. Inherit it, describe what your plugin needs, and run
pytest. Or describe that in the hook `lftool_examples` and run `lftool plugins test NAME`.
`pytest_plugins = ["lftool.testing.plugin"]` gives the fixtures. Needs pytest: `pip install 'lftool[testing]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool.testing.backend_kit import BackendConformance, BackendExample
    from lftool.testing.bundles import rewrite_bundle
    from lftool.testing.check_kit import CheckConformance, CheckExample, FakeCheckContext, fake_bundle
    from lftool.testing.command_kit import CommandConformance
    from lftool.testing.destination_kit import DestinationConformance, PublishingPlace
    from lftool.testing.exporter_kit import ExporterConformance, ExportExample
    from lftool.testing.faults import Fault, FaultProxy
    from lftool.testing.file_server import FileServer
    from lftool.testing.layout_kit import LayoutConformance, LayoutExample
    from lftool.testing.models import tiny_gguf
    from lftool.testing.observer_kit import ObserverConformance, ObserverExample
    from lftool.testing.project_folder import Outcome, ProjectFolder
    from lftool.testing.remote_store_kit import RemotePlace, RemoteStoreConformance
    from lftool.testing.runtime_kit import RuntimeConformance, RuntimeExample
    from lftool.testing.signer_kit import KeyExample, SignedExample, SignerConformance, VerifierConformance
    from lftool.testing.source_kit import Served, SourceConformance, large_model
    from lftool.testing.transform_kit import StreamingConformance, TransformConformance, Work

_MODULES = {
    "BackendConformance": "backend_kit",
    "BackendExample": "backend_kit",
    "CheckConformance": "check_kit",
    "CheckExample": "check_kit",
    "CommandConformance": "command_kit",
    "DestinationConformance": "destination_kit",
    "ExportExample": "exporter_kit",
    "ExporterConformance": "exporter_kit",
    "FakeCheckContext": "check_kit",
    "Fault": "faults",
    "FaultProxy": "faults",
    "FileServer": "file_server",
    "KeyExample": "signer_kit",
    "LayoutConformance": "layout_kit",
    "LayoutExample": "layout_kit",
    "ObserverConformance": "observer_kit",
    "ObserverExample": "observer_kit",
    "Outcome": "project_folder",
    "ProjectFolder": "project_folder",
    "PublishingPlace": "destination_kit",
    "RemotePlace": "remote_store_kit",
    "RemoteStoreConformance": "remote_store_kit",
    "RuntimeConformance": "runtime_kit",
    "RuntimeExample": "runtime_kit",
    "Served": "source_kit",
    "SignedExample": "signer_kit",
    "SignerConformance": "signer_kit",
    "SourceConformance": "source_kit",
    "StreamingConformance": "transform_kit",
    "TransformConformance": "transform_kit",
    "VerifierConformance": "signer_kit",
    "Work": "transform_kit",
    "fake_bundle": "check_kit",
    "large_model": "source_kit",
    "rewrite_bundle": "bundles",
    "tiny_gguf": "models",
}

__all__ = [
    "BackendConformance",
    "BackendExample",
    "CheckConformance",
    "CheckExample",
    "CommandConformance",
    "DestinationConformance",
    "ExportExample",
    "ExporterConformance",
    "FakeCheckContext",
    "Fault",
    "FaultProxy",
    "FileServer",
    "KeyExample",
    "LayoutConformance",
    "LayoutExample",
    "ObserverConformance",
    "ObserverExample",
    "Outcome",
    "ProjectFolder",
    "PublishingPlace",
    "RemotePlace",
    "RemoteStoreConformance",
    "RuntimeConformance",
    "RuntimeExample",
    "Served",
    "SignedExample",
    "SignerConformance",
    "SourceConformance",
    "StreamingConformance",
    "TransformConformance",
    "VerifierConformance",
    "Work",
    "fake_bundle",
    "large_model",
    "rewrite_bundle",
    "tiny_gguf",
]


def __getattr__(name: str) -> object:
    """Import a name on first use: kits load pytest, which a model alone does not need."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as the docstring says

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
