"""Digests of the files that are compared, and tensors of remote ones brought here one by one."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import define, field

from lftool.api import TensorBytes
from lftool.models.digest import Digest
from lftool.ops.models.content import LocalContent
from lftool.ops.prove.proof import Subject
from lftool.pipeline.ports import Ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.ops.models.opened_model import ModelTensor, OpenedModel

_KIND = "proved-file"


def _one(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=name)


@define
class Digests:
    """Digests of local files, computed beside the work; as remembered where a file has not changed since."""

    ports: Ports
    _pool: ThreadPoolExecutor = field(factory=lambda: _one("digest"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start(self, model: OpenedModel) -> Callable[[], Subject]:
        """Begin to hash a model's file; return what waits for the result."""
        content = model.contents[0]
        if len(model.contents) != 1 or not isinstance(content, LocalContent):
            found = Subject(name=model.name, sha256=model.stated, size=content.size, stated=model.stated is not None)
            return lambda: found
        future: Future[Digest] = self._pool.submit(self._hash, content)
        return lambda: Subject(name=model.name, sha256=future.result(), size=content.size)

    def _hash(self, content: LocalContent) -> Digest:
        stamps = self.ports.store.stamps
        before = os.fstat(content.descriptor)
        known = stamps.recall(before, _KIND)
        if known is not None and "sha256" in known:
            return Digest(known["sha256"])
        state = hashlib.sha256()
        for piece in content.pieces(0, content.size):
            self.ports.check_cancelled()
            state.update(piece)
        found = Digest(state.hexdigest())
        stamps.remember(before, os.fstat(content.descriptor), _KIND, {"sha256": found.hex})
        return found


@define
class Staging:
    """Brings tensors of remote files to this machine, ahead of the work; each is removed once it was compared.

    Attributes:
        folder: Where they are kept meanwhile.
    """

    folder: Path
    _pool: ThreadPoolExecutor = field(factory=lambda: _one("stage"))
    _count: int = 0

    def close(self) -> None:
        """Stop."""
        self._pool.shutdown(cancel_futures=True)

    def begin(self, tensor: ModelTensor) -> Callable[[], TensorBytes]:
        """Begin to bring a tensor; return what waits for it."""
        content = tensor.content
        if content.path is not None:
            here = TensorBytes(path=content.path, offset=tensor.offset, type=tensor.type)
            return lambda: here
        self._count += 1
        path = self.folder / f"tensor-{self._count}"
        return self._pool.submit(_bring, tensor, path).result

    def done(self, *places: TensorBytes) -> None:
        """Remove what was brought."""
        for place in places:
            if place.path.parent == self.folder:
                place.path.unlink(missing_ok=True)


def _bring(tensor: ModelTensor, path: Path) -> TensorBytes:
    with path.open("wb") as out:
        for piece in tensor.pieces():
            out.write(piece)
    return TensorBytes(path=path, offset=0, type=tensor.type)
