"""Open a claimed base: a GGUF as it is, safetensors converted first, through the lock of a project in the cache."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lftool.errors import UsageError
from lftool.ops.lock import lock_project
from lftool.ops.models.opened_model import opened_model
from lftool.ops.named_model import is_remote, named_project, remote_model
from lftool.ops.project import open_ports
from lftool.pipeline.building.builds import make_weights
from lftool.pipeline.model.parts import WEIGHTS, model_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.ops.models.opened_model import OpenedModel
    from lftool.pipeline.ports import Ports


def _is_gguf(text: str, ports: Ports) -> bool:
    """Return whether a name means a GGUF or a bundle, rather than files to convert."""
    if not is_remote(text):
        return not Path(text).is_dir()
    plain = text.partition("#")[0].partition("?")[0]
    if plain.endswith((".gguf", ".llamafile")):
        return True
    model = remote_model(text, ports)
    return bool(model.include) or model.uri.endswith(".gguf")


@contextlib.contextmanager
def base_of(text: str, ports: Ports) -> Iterator[OpenedModel]:
    """Open a base during the block. Safetensors are converted with the types that they have, and kept in the store.

    Raises:
        FormatError: It is damaged.
        UnavailableError: It needs a converter, and none is installed.
        UsageError: It names no model.
        LftoolError: Whatever fetching and converting raise.
    """
    if _is_gguf(text, ports):
        with opened_model(text, ports) as found:
            yield found
        return
    named = named_project(text, ports)
    mine = open_ports(named.project, online=ports.online, threads=ports.threads, roots=named.roots)
    mine = attrs.evolve(mine, emit=ports.emit, cancelled=ports.cancelled, workers=ports.workers)
    mine.load = False
    fresh = named.upgrade and named.project.lock_path.exists()
    lock = lock_project(named.project, mine, upgrade=() if fresh else None).lock
    parts = model_parts(named.project.recipe, lock)
    with mine.store.in_use():
        make_weights(named.project.recipe, lock, parts, mine)
        path = mine.store.blobs.require(parts.artifact(WEIGHTS), "the converted base")
        with opened_model(str(path), mine) as found:
            if found.header is None:
                raise UsageError(f"{text}: it was not converted to a GGUF")
            yield attrs.evolve(found, name=Path(text).name)
