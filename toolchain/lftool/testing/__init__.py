"""For tests of lftool and of plugins: small models, projects to run commands in, servers that fail, and conformance kits.

A kit is a class whose tests hold for every plugin of a kind: inherit it, say what yours needs, and let pytest run it.
`pytest_plugins = ["lftool.testing.plugin"]` gives the fixtures. Needs pytest: `pip install 'lftool[testing]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool.testing.backend_kit import BackendConformance
    from lftool.testing.bundles import rewrite_bundle
    from lftool.testing.faults import FaultProxy
    from lftool.testing.file_server import FileServer
    from lftool.testing.models import tiny_gguf
    from lftool.testing.project_folder import Outcome, ProjectFolder
    from lftool.testing.remote_store_kit import RemotePlace, RemoteStoreConformance
    from lftool.testing.source_kit import Served, SourceConformance
    from lftool.testing.transform_kit import StreamingConformance, TransformConformance, Work

__all__ = [
    "BackendConformance",
    "FaultProxy",
    "FileServer",
    "Outcome",
    "ProjectFolder",
    "RemotePlace",
    "RemoteStoreConformance",
    "Served",
    "SourceConformance",
    "StreamingConformance",
    "TransformConformance",
    "Work",
    "rewrite_bundle",
    "tiny_gguf",
]

_MODULES = {
    "BackendConformance": "backend_kit",
    "FaultProxy": "faults",
    "FileServer": "file_server",
    "Outcome": "project_folder",
    "ProjectFolder": "project_folder",
    "RemotePlace": "remote_store_kit",
    "RemoteStoreConformance": "remote_store_kit",
    "Served": "source_kit",
    "SourceConformance": "source_kit",
    "StreamingConformance": "transform_kit",
    "TransformConformance": "transform_kit",
    "Work": "transform_kit",
    "rewrite_bundle": "bundles",
    "tiny_gguf": "models",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: kits load pytest, and a model alone needs none."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as the docstring says

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
