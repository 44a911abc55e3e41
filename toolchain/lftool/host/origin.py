"""The origin of a plugin, and the digest of its distribution's own files."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.codec.canonical import canonical_json
from lftool.errors import PluginError
from lftool.models.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import Distribution

CORE = "lftool"


@frozen(kw_only=True)
class Origin:
    """A plugin: its distribution, version, entry-point name and module, and the folder where it is installed."""

    distribution: str
    version: str
    entry_point: str
    module: str
    site: str = field(default="", eq=False)

    @property
    def is_builtin(self) -> bool:
        """Whether it ships with lftool itself."""
        return self.distribution == CORE

    def __str__(self) -> str:
        return f"plugin {self.entry_point!r} of {self.distribution} {self.version}"


def is_editable(distribution: Distribution) -> bool:
    """Return whether a distribution was installed with `pip install -e`."""
    text = distribution.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def _is_own_file(path: str) -> bool:
    parts = path.split("/")
    return not (
        parts[0].endswith((".dist-info", ".data"))
        or parts[0] in {"..", "bin"}
        or "__pycache__" in parts
        or path.endswith((".pyc", ".pth"))
    )


def _files(distribution: Distribution, module: str) -> Iterator[tuple[str, Path]]:
    if not is_editable(distribution):
        for entry in distribution.files or ():
            if _is_own_file(entry.as_posix()):
                yield entry.as_posix(), Path(str(entry.locate()))
        return
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return
    if spec.submodule_search_locations is None:
        yield Path(spec.origin).name, Path(spec.origin)
        return
    folder = Path(spec.origin).parent
    for path in folder.rglob("*"):
        name = f"{top}/{path.relative_to(folder).as_posix()}"
        if path.is_file() and _is_own_file(name):
            yield name, path


def distribution_digest(distribution: Distribution, module: str) -> Digest:
    """Return the sha256 over the sorted (path, sha256) of the distribution's own files.

    Leaves out scripts, metadata and bytecode, so that an editable install and a wheel of the same code agree.

    Raises:
        PluginError: A file that the distribution lists cannot be read.
    """
    pairs = []
    for name, path in _files(distribution, module):
        try:
            pairs.append([name, hashlib.sha256(path.read_bytes()).hexdigest()])
        except OSError as error:
            raise PluginError(f"{distribution.name}: cannot read {name}: {error.strerror}") from error
    if not pairs:
        raise PluginError(f"{distribution.name}: no files of its own were found, so it cannot be pinned")
    return Digest.of(canonical_json(sorted(pairs)))
