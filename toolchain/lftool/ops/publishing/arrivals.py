"""What a URI means now, and its files as they arrive on this machine."""

from __future__ import annotations

from pathlib import Path

import attrs
from attrs import define, frozen

from lftool.api import Notice, SourceFile
from lftool.bundle.detached import RUNTIME, SIDECAR, WEIGHTS
from lftool.errors import FetchError, UsageError
from lftool.models.digest import Artifact
from lftool.models.recipe import SourceSpec
from lftool.pipeline.ports import Ports
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.fetch import SourceReader
from lftool.pipeline.sources.resolve import ask
from lftool.store.store import Store
from lftool.transfer.adoption import adopt

NAME = "pull"  # of the source, in messages and in progress
_WEB = ("http", "https")


@frozen(kw_only=True)
class Located:
    """A file of a source: who reads it, and its revision."""

    reader: SourceReader
    revision: str
    file: SourceFile


@define(kw_only=True)
class Remote:
    """What a URI means now, and a store in the output folder that its files arrive in."""

    uri: str
    revision: str
    files: dict[str, Located]
    landing: Store
    ports: Ports

    def bring(self, path: str, expected: Artifact | None = None) -> Path:
        """Fetch a file, or take it from this machine; return where its bytes are, under its own name.

        Args:
            path: Its path in the source.
            expected: What a sidecar says that it is; else the source's own digest counts.
        """
        located = self.files.get(path) or self._neighbour(path)
        file = located.file
        if expected is not None:
            _require_the_same(file, expected)
            file = attrs.evolve(file, size=expected.size, sha256=expected.sha256)
        known = Artifact(file.sha256, file.size) if file.sha256 is not None and file.size is not None else None
        if known is None or not self._take_over(known):
            with self.ports.stage("fetch", NAME, path):
                known = located.reader.fetch(file, located.revision, attrs.evolve(self.ports, store=self.landing))
        named = self.landing.root / "files" / path
        named.parent.mkdir(parents=True, exist_ok=True)
        self.landing.blobs.path(known).replace(named)
        return named

    def tell(self, text: str) -> None:
        """Warn the user."""
        self.ports.emit(Notice(text=text, warning=True))

    def _neighbour(self, path: str) -> Located:
        """Return a file beside a sidecar; a URL names one file only.

        Raises:
            FetchError: The source does not have it.
        """
        if self.uri.partition(":")[0] not in _WEB:
            raise FetchError(f"{self.uri} has no {path}, which belongs to a sidecar that it has")
        uri = self.uri.rpartition("/")[0] + "/" + path
        reader, found = ask(SourceSpec(uri=uri), Called(NAME, uri), self.ports)
        return Located(reader=reader, revision=found.revision or "", file=found.files[0])

    def _take_over(self, artifact: Artifact) -> bool:
        """Copy a file that lftool or another tool has on this machine, sharing its extents where that is possible."""
        landing, own = self.landing.blobs, self.ports.store.blobs
        if landing.is_sound(artifact):
            return True
        if own.is_sound(artifact):
            landing.put_copy(own.path(artifact), artifact)
            return True
        return adopt(artifact, landing) is not None


def _require_the_same(file: SourceFile, expected: Artifact) -> None:
    """Raise FetchError if a source says of a file that it is not what a sidecar belongs to, before it is fetched."""
    if file.sha256 not in {None, expected.sha256} or file.size not in {None, expected.size}:
        raise FetchError(
            f"{file.path}: the sidecar beside it belongs to a file of {expected.size} bytes with sha256 {expected.sha256},"
            f" but the source has {file.size} bytes with sha256 {file.sha256}",
            hints=("whoever published them mixed two versions: ask them to push again",),
        )


def on_this_machine(uri: str, ports: Ports) -> tuple[str, tuple[str, ...], Ports]:
    """Return a `file:` URI as a source of the folder around it: the user names any path, and a recipe only its own.

    Returns:
        The URI, globs of what it means (all if empty), and ports that may read there.

    Raises:
        UsageError: There is nothing at the path.
    """
    path = Path(uri.partition(":")[2]).absolute()
    if not path.exists():
        raise UsageError(f"{uri}: there is no such file or folder")
    include: tuple[str, ...] = ()
    if path.is_dir():
        root, name = path.parent, path.name
    else:
        stem = path.name.removesuffix(SIDECAR)
        parts = (f"{stem}{SIDECAR}", f"{stem}{WEIGHTS}", f"{stem}{RUNTIME}")
        root, name = path.parent.parent, path.parent.name
        include = parts if path.name.endswith(SIDECAR) else (path.name,)
    files = attrs.evolve(ports.files, project=root)
    return f"file:{name}", include, attrs.evolve(ports, project=root, files=files)
