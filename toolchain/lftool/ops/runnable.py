"""`lftool run X` of what is no bundle on this disk: fetch it, convert it if need be, and return a file that can be run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.ops.build import BuildOptions, build_project
from lftool.ops.fetch import fetch_project
from lftool.ops.lock import lock_project
from lftool.ops.named_model import NamedProject, is_remote, named_project
from lftool.ops.project import open_ports
from lftool.pipeline.parallel import apart

if TYPE_CHECKING:
    from lftool.models.lock import Lock
    from lftool.pipeline.ports import Ports

_TARGET = "whole"


@frozen(kw_only=True)
class RunnableFile:
    """A file that can be run or a folder of bundles, what to call it, and what to tell about it."""

    path: Path
    name: str
    told: str = ""


def needs_making(text: str) -> bool:
    """Return whether X is something to fetch or to convert, and not a file or a folder of bundles."""
    path = Path(text)
    return is_remote(text) or (path.is_dir() and (path / "config.json").is_file())


def _only_gguf(lock: Lock) -> str | None:
    """Return the path of the only file, if that is a GGUF."""
    files = lock.sources["base"].files
    return files[0].path if len(files) == 1 and files[0].path.endswith(".gguf") else None


def _made(named: NamedProject, ports: Ports) -> RunnableFile:
    project = named.project
    lock = lock_project(project, ports, upgrade=() if named.upgrade and project.lock_path.exists() else None).lock
    path = _only_gguf(lock)
    if path is not None:
        fetch_project(project, ports)
        artifact = lock.sources["base"].files[0].artifact
        return RunnableFile(path=ports.store.blobs.path(artifact), name=path.rpartition("/")[2], told=named.told)
    (built,) = build_project(project, ports, BuildOptions(targets=(_TARGET,), output=project.root / "dist", sign=False))
    return RunnableFile(path=built.path, name=built.path.name, told=named.told)


def runnable_file(text: str, *, upgrade: bool = False) -> RunnableFile:
    """Return a file that can be run, or a folder of bundles, for what a user named.

    Fetches what a URI names, and converts safetensors; any other path is returned as it is.

    Args:
        text: A path or a URI.
        upgrade: Whether to ask again what a URI means.

    Raises:
        LftoolError: Whatever resolving, fetching and converting raise.
    """
    if not needs_making(text):
        return RunnableFile(path=Path(text), name=Path(text).name)
    ports = open_ports(None)

    def make() -> RunnableFile:
        named = named_project(text, ports, upgrade=upgrade)
        return _made(named, open_ports(named.project, roots=named.roots))

    return apart(make, ports)
