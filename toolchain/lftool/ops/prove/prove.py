"""Prove that a file derives from a base: open both, compare what they hold, and gather what a verdict needs."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import (
    FormatError,
    InputFile,
    Notice,
    QuantizerType,
    RecipeError,
    TensorType,
    TransformSpec,
    UnavailableError,
)
from lftool.errors import PluginError, UsageError
from lftool.formats.gguf_read import GGUFHeader
from lftool.formats.imatrix import read_imatrix
from lftool.host.registry import Registered
from lftool.models.digest import Artifact, Digest
from lftool.models.recipe import SourceSpec
from lftool.ops.models.content import RemoteContent
from lftool.ops.models.opened_model import OpenedModel, opened_model
from lftool.ops.named_model import is_remote
from lftool.ops.prove import guess
from lftool.ops.prove.base import base_of
from lftool.ops.prove.comparing import Comparing
from lftool.ops.prove.proof import Guess, HeaderDiff, Proof, Subject, TensorProof
from lftool.ops.prove.staging import Digests, Staging
from lftool.pipeline.model.headers import skeleton
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.resolve import ask
from lftool.store.durable import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.pipeline.ports import Ports

SEMANTICS = "ggml-q/1"
_UNNAMED = Digest("0" * 64)  # planning reads headers, and compares no digest


@frozen(kw_only=True)
class ProveOptions:
    """How to prove.

    Attributes:
        imatrix: A file, or the URI of one; None without an importance matrix.
        first: The arithmetic to begin with; None for the uncontracted one.
    """

    imatrix: str | None = None
    first: str | None = None


@frozen(kw_only=True)
class _Matrix:
    """An importance matrix on this machine."""

    path: Path
    subject: Subject


@frozen(kw_only=True)
class _Pair:
    """Both models, open, with the headers that they have, and what compares them."""

    file: OpenedModel
    base: OpenedModel
    file_header: GGUFHeader
    base_header: GGUFHeader
    quantizer: Registered[QuantizerType]
    matrix: _Matrix | None


def _deriver(ports: Ports) -> Registered[QuantizerType]:
    """Return the quantizer that can tell what a tensor was made from.

    Raises:
        UnavailableError: None is installed.
    """
    for registered in ports.registry.all(QuantizerType):
        record = registered.record
        if record.derives and record.semantics == SEMANTICS and record.accelerates is None:
            return registered
    raise UnavailableError(
        f"no installed plugin can derive tensors under {SEMANTICS}",
        hints=("install one: pip install 'lftool[quantize]'",),
    )


def _mismatch(file: OpenedModel, base: OpenedModel) -> str:
    """Return why a file cannot derive from a base, from their headers alone; empty if it can."""
    ours, theirs = guess.architecture(base), guess.architecture(file)
    if ours != theirs:
        return f"its architecture is {theirs}, the base's is {ours}"
    if not set(base.by_name) & set(file.by_name):
        return "they have no tensor in common"
    return ""


def _matrix(text: str | None, ports: Ports) -> _Matrix | None:
    """Return the importance matrix that a name means: a path, or the URI of a source.

    Raises:
        UsageError: There is no such file, or several.
        FetchError: The source cannot deliver it.
    """
    if text is None:
        return None
    if not is_remote(text):
        path = Path(text).absolute()
        if not path.is_file():
            raise UsageError(f"there is no importance matrix {text}")
        with path.open("rb") as file:
            digest = Digest(hashlib.file_digest(file, "sha256").hexdigest())
        return _Matrix(path=path, subject=Subject(name=path.name, sha256=digest, size=path.stat().st_size))
    reader, found = ask(SourceSpec(uri=text), Called("imatrix", text), ports)
    if len(found.files) != 1:
        raise UsageError(f"{text}: expected one importance matrix, it has {len(found.files)} files")
    made = reader.fetch(found.files[0], found.revision or "", ports)
    path = ports.store.blobs.require(made, "the importance matrix")
    return _Matrix(path=path, subject=Subject(name=found.files[0].path, sha256=made.sha256, size=made.size))


def _check_matrix(matrix: _Matrix, ours: OpenedModel) -> None:
    """Raise FormatError if an importance matrix was measured with a model of other tensors, or other shapes."""
    measured = read_imatrix(matrix.path)
    found = [tensor for tensor in ours.tensors if tensor.name in measured]
    wrong = [
        tensor
        for tensor in found
        if len(measured[tensor.name]) % tensor.dimensions[0] and not tensor.name.endswith("token_embd.weight")
    ]
    if not found or wrong:
        what = f"it has {len(measured[wrong[0].name])} values for {wrong[0].name}" if wrong else "no tensor in common"
        raise FormatError(f"{matrix.subject.name}: the importance matrix was measured with another model: {what}")


def prove(file: str, base: str, options: ProveOptions, ports: Ports) -> Proof:
    """Compare a file with what its claimed base becomes.

    Args:
        file: A GGUF or a bundle: a path, or the URI of a source.
        base: The same, or safetensors.
        options: How to prove.
        ports: Sources, plugins, child processes.

    Raises:
        FormatError: One of them is damaged.
        UnavailableError: No plugin can derive tensors, or a base needs a converter that is not installed.
        UsageError: One of them names no model, or several.
        FetchError: A source cannot deliver.
    """
    registered = _deriver(ports)
    with contextlib.ExitStack() as stack:
        theirs = stack.enter_context(opened_model(file, ports))
        if theirs.header is None:
            raise UsageError(f"{theirs.name}: safetensors are not quantised", hints=("name a GGUF, or a bundle",))
        ours = stack.enter_context(base_of(base, ports))
        assert ours.header is not None  # noqa: S101 - the caller has checked it
        matrix = _matrix(options.imatrix, ports)
        if matrix is not None:
            _check_matrix(matrix, ours)
        digests = stack.enter_context(Digests(ports))
        waits = digests.start(theirs), digests.start(ours)
        found = Proof(
            file=Subject(name=theirs.name, sha256=None, size=theirs.contents[0].size),
            base=Subject(name=ours.name, sha256=None, size=ours.contents[0].size),
            imatrix=None if matrix is None else matrix.subject,
            kernels=_kernels(registered, ports),
            mismatch=_mismatch(theirs, ours),
        )
        if not found.mismatch:
            pair = _Pair(
                file=theirs,
                base=ours,
                file_header=theirs.header,
                base_header=ours.header,
                quantizer=registered,
                matrix=matrix,
            )
            found = _compared(_with_sets(found, theirs, ours), pair, options, ports)
        return attrs.evolve(found, file=waits[0](), base=waits[1](), fetched=_fetched(theirs, ours))


def _fetched(*models: OpenedModel) -> int:
    contents = [content for model in models for content in model.contents]
    return sum(content.fetched for content in contents if isinstance(content, RemoteContent))


def _kernels(registered: Registered[QuantizerType], ports: Ports) -> dict[str, str]:
    origin = registered.origin
    digest = "" if origin.is_builtin else ports.registry.digest(origin).hex
    return {"semantics": SEMANTICS, "plugin": origin.distribution, "version": origin.version, "sha256": digest}


def _with_sets(found: Proof, theirs: OpenedModel, ours: OpenedModel) -> Proof:
    """Return a proof with the names of tensors that only one of the models has, or that differ in shape."""
    shapes = {item.name: item.dimensions for item in ours.tensors}
    return attrs.evolve(
        found,
        extra=tuple(item.name for item in theirs.tensors if item.name not in shapes),
        missing=tuple(name for name in shapes if name not in theirs.by_name),
        reshaped=tuple(t.name for t in theirs.tensors if t.name in shapes and shapes[t.name] != t.dimensions),
    )


def _compared(found: Proof, pair: _Pair, options: ProveOptions, ports: Ports) -> Proof:
    """Return a proof with every tensor compared, and a guess how the file was made."""
    if found.reshaped:
        return found
    matrix = None if pair.matrix is None else pair.matrix.path
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch_directory(ports.store.temporary))
        head = stack.enter_context(skeleton(_head(pair.base), pair.base_header.size, ports))
        files = {
            "the file": pair.file.contents[0].path,
            "the base": pair.base.contents[0].path,
            "the importance matrix": matrix,
            "the base's header": head,
            "fetched tensors": folder,
        }
        reads = {name: path for name, path in files.items() if path is not None}
        staging = Staging(folder)
        stack.callback(staging.close)
        deriving = stack.enter_context(ports.isolated.deriving(pair.quantizer, reads))
        types = sorted({item.type for item in pair.file.tensors})
        known = [item.name for item in deriving.arithmetics(types, importance=matrix is not None)]
        comparing = Comparing(
            file=pair.file,
            base=pair.base,
            deriving=deriving,
            staging=staging,
            arithmetics=_ordered(known, options.first),
            imatrix=matrix,
            ports=ports,
        )
        with ports.stage("prove", pair.file.name, f"against {pair.base.name}") as running:
            way, tried = comparing.likeliest()
            tensors = tuple(comparing.all(way))
            running.detail = f"{len(tensors)} tensors against {pair.base.name}"
        made = None
        number = guess.number_of_file_type(pair.file_header)
        if number is not None and _all_equal(found, tensors):
            order = [TensorType(tensor=item.name, type=item.type) for item in pair.file.tensors]
            made = deriving.derived_header(head, order, number)
        file_type = guess.file_type_of(pair.file_header)
        planned = None if file_type is None else _plan(pair, head, file_type, way.imatrix, ports)
    name = guess.imatrix_name(pair.file_header)
    return attrs.evolve(
        found,
        guess=Guess(
            file_type=file_type,
            overrides={} if planned is None else guess.overrides_of(planned, pair.file.tensors),
            through=way.through,
            imatrix=name is not None,
            imatrix_file=name or "",
            matrix_used=way.imatrix is not None,
        ),
        hypotheses=tried,
        header=_header(pair, made),
        tensors=tensors,
    )


def _all_equal(found: Proof, tensors: Sequence[TensorProof]) -> bool:
    return all(item.equal for item in tensors) and not (found.extra or found.missing)


def _head(model: OpenedModel) -> bytes:
    assert model.header is not None  # noqa: S101 - the caller has checked it
    return b"".join(model.contents[0].pieces(model.start, model.header.data_offset))


def _header(pair: _Pair, made: Artifact | None) -> HeaderDiff:
    """Return how a header differs from the one that quantising gives; of a bundle, that of the weights in it."""
    identical = None
    if _head(pair.file) == _head(pair.base) and pair.file.kind == pair.base.kind:
        identical = True  # nothing was changed, nor quantised
    elif made is not None:
        size = pair.file.contents[0].size
        ends = pair.file.kind == "bundle" or size in {None, pair.file_header.size}
        identical = ends and made == Artifact.of(_head(pair.file))
    return guess.header_diff(pair.base, pair.file, identical=identical)


def _plan(pair: _Pair, head: Path, file_type: str, matrix: Path | None, ports: Ports) -> dict[str, str] | None:
    """Return the types that a file type gives to the base's tensors; None if it cannot be made of them."""
    inputs = {"weights": InputFile(path=head, artifact=Artifact(_UNNAMED, pair.base_header.size))}
    if matrix is not None:
        inputs["imatrix"] = InputFile(path=matrix, artifact=Artifact(_UNNAMED, matrix.stat().st_size))
    try:
        plan = ports.isolated.plan(pair.quantizer, TransformSpec(produces=file_type), {}, inputs)
    except (RecipeError, FormatError, PluginError):
        return None
    return {item.tensor: item.type for item in plan.tensors}


def _ordered(known: Sequence[str], first: str | None) -> tuple[str, ...]:
    """Return the arithmetics with one moved to the front.

    Raises:
        UsageError: There is no such arithmetic.
    """
    if first is None:
        return tuple(known)
    if first not in known:
        raise UsageError(f"there is no arithmetic {first!r} for this file", hints=(f"known: {', '.join(known)}",))
    return (first, *(name for name in known if name != first))


def tell_hypotheses(found: Proof, ports: Ports) -> None:
    """Report what was tried, for people who ask for more."""
    for item in found.hypotheses:
        rounded = f"rounded to {item.through}" if item.through else "as they are"
        matrix = "with" if item.imatrix else "without"
        text = (
            f"tried weights {rounded}, {matrix} an importance matrix: {item.differing} of {item.compared} blocks differ"
        )
        ports.emit(Notice(text=text))
