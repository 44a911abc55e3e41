"""`lftool fingerprint`: the digest of a model's tensors, the same whatever file they are in."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.models.digest import Digest
from lftool.ops.models.opened_model import ModelTensor, opened_model
from lftool.ops.models.tensor_set import TensorDigest, fingerprint_of

if TYPE_CHECKING:
    from lftool.ops.models.opened_model import OpenedModel
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class Fingerprint:
    """The fingerprint of a model, and the digests that it is made of."""

    name: str
    sha256: Digest
    tensors: tuple[TensorDigest, ...]


def _digest(tensor: ModelTensor, ports: Ports) -> TensorDigest:
    state = hashlib.sha256()
    for piece in tensor.pieces():
        ports.check_cancelled()
        state.update(piece)
    return TensorDigest(
        name=tensor.name, type=tensor.type, dimensions=tensor.dimensions, sha256=Digest(state.hexdigest())
    )


def fingerprint_model(model: OpenedModel, ports: Ports) -> Fingerprint:
    """Return the fingerprint of an opened model; reads every tensor once.

    Raises:
        LftoolError: It cannot be read.
    """
    local = all(content.path is not None for content in model.contents)
    workers = min(ports.threads, len(os.sched_getaffinity(0))) if local else 1
    with ThreadPoolExecutor(workers, thread_name_prefix="fingerprint") as pool:
        found = tuple(pool.map(lambda tensor: _digest(tensor, ports), model.tensors))
    return Fingerprint(name=model.name, sha256=fingerprint_of(found), tensors=found)


def fingerprint(text: str, ports: Ports) -> Fingerprint:
    """Return the fingerprint of the model that `text` names: a path, or the URI of a source.

    Raises:
        LftoolError: Whatever opening and reading raise.
    """
    with opened_model(text, ports) as model:
        return fingerprint_model(model, ports)
