"""Open a model by name: a bundle, a GGUF, a folder of safetensors, or the URI of a source. Only headers are read."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from attrs import frozen

from lftool.bundle.contents import weights_header
from lftool.bundle.detached import SIDECAR, WEIGHTS, opened_detached
from lftool.bundle.reader import Bundle, PlainGGUFError, read_bundle
from lftool.errors import FormatError, UnavailableError, UsageError
from lftool.formats.gguf_read import GGUFHeader, MendableError, read_gguf
from lftool.formats.safetensors import read_safetensors
from lftool.models.digest import Digest
from lftool.models.recipe import SourceSpec
from lftool.ops.models.content import Content, LocalContent, Reader, RemoteContent
from lftool.ops.named_model import is_remote, remote_model
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.resolve import ask
from lftool.store.reading import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.pipeline.ports import Ports

Kind = Literal["bundle", "GGUF", "safetensors"]


_MEMBER = re.compile(rb"PK\x03\x04.{26}lftool/", re.DOTALL)  # a local header of a bundle
_TAIL = 1024 * 1024


@frozen(kw_only=True)
class ModelTensor:
    """A tensor, and where its bytes are.

    Attributes:
        name: Its name.
        type: Type of its elements, as the file names it.
        dimensions: Fastest first, without ones at the end.
        content: The file.
        offset: Where it begins there, in bytes.
        size: Its size in bytes.
    """

    name: str
    type: str
    dimensions: tuple[int, ...]
    content: Content
    offset: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes. May raise as `Content.pieces` does."""
        return self.content.pieces(self.offset, self.size)


@frozen(kw_only=True)
class OpenedModel:
    """A model, open during the block that opened it.

    Attributes:
        kind: What it is.
        name: Its name in messages.
        tensors: In the order of the file.
        contents: The files that hold them.
        header: Of a GGUF, or of a bundle's weights.
        start: Where that GGUF begins in its file, in bytes.
        bundle: The bundle. Its structure has been checked, its contents have not been hashed.
        stated: The digest that the source states for a remote file.
    """

    kind: Kind
    name: str
    tensors: tuple[ModelTensor, ...]
    contents: tuple[Content, ...]
    header: GGUFHeader | None = None
    start: int = 0
    bundle: Bundle | None = None
    stated: Digest | None = None

    @property
    def by_name(self) -> dict[str, ModelTensor]:
        """Its tensors by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    def file(self) -> BinaryIO:
        """Return the file that the header is in, to read from."""
        return cast("BinaryIO", Reader(self.contents[0]))


def plain_dimensions(dimensions: tuple[int, ...]) -> tuple[int, ...]:
    """Return dimensions without ones at the end: writers of GGUF differ in whether they keep them."""
    while len(dimensions) > 1 and dimensions[-1] == 1:
        dimensions = dimensions[:-1]
    return dimensions


def _of_header(header: GGUFHeader, content: Content, start: int) -> tuple[ModelTensor, ...]:
    return tuple(
        ModelTensor(
            name=tensor.name,
            type=tensor.type.name,
            dimensions=plain_dimensions(tensor.dimensions),
            content=content,
            offset=start + header.data_offset + tensor.offset,
            size=tensor.size,
        )
        for tensor in header.tensors
    )


def _local(path: Path, stack: contextlib.ExitStack) -> LocalContent:
    descriptor = open_for_reading(path)
    stack.callback(os.close, descriptor)
    return LocalContent(descriptor=descriptor, path=path.absolute(), size=os.fstat(descriptor).st_size)


def _file(path: Path, stack: contextlib.ExitStack) -> OpenedModel:
    """Open a bundle or a GGUF."""
    if path.suffix == SIDECAR:
        return _detached(path, stack)
    content = _local(path, stack)
    try:
        bundle = read_bundle(content.descriptor, path.name)
    except PlainGGUFError:
        header = read_gguf(cast("BinaryIO", Reader(content)), content.size, path.name)
        tensors = _of_header(header, content, 0)
        return OpenedModel(kind="GGUF", name=path.name, tensors=tensors, contents=(content,), header=header)
    except FormatError as error:
        _explain_gguf(content, path.name, error)
        raise
    start, _ = bundle.weights_extent()
    header = weights_header(bundle)
    return OpenedModel(
        kind="bundle",
        name=path.name,
        tensors=_of_header(header, content, start),
        contents=(content,),
        header=header,
        start=start,
        bundle=bundle,
    )


def _detached(path: Path, stack: contextlib.ExitStack) -> OpenedModel:
    """Open a detached bundle: its tensors are in the GGUF beside the sidecar."""
    bundle = stack.enter_context(opened_detached(path))
    descriptor, _ = bundle.weights_file()
    weights = path.with_suffix(WEIGHTS).absolute()
    content = LocalContent(descriptor=descriptor, path=weights, size=os.fstat(descriptor).st_size)
    header = weights_header(bundle)
    return OpenedModel(
        kind="bundle",
        name=path.name,
        tensors=_of_header(header, content, 0),
        contents=(content,),
        header=header,
        bundle=bundle,
    )


def _explain_gguf(content: LocalContent, name: str, error: FormatError) -> None:
    """Raise what is wrong with a file that begins as a GGUF: more helpful than that it is no bundle."""
    if b"".join(content.pieces(0, min(4, content.size))) == b"GGUF":
        try:
            read_gguf(cast("BinaryIO", Reader(content)), content.size, name)
        except MendableError as found:
            if _MEMBER.search(b"".join(content.pieces(max(0, content.size - _TAIL), min(_TAIL, content.size)))):
                return  # a damaged bundle: mending it as a GGUF would drop what makes it one
            found.hints = ("write a sound copy: lftool gguf repair IN OUT",)
            raise found from error


def _folder(path: Path, stack: contextlib.ExitStack) -> OpenedModel:
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UsageError(
            f"{path} has no safetensors files", hints=("name a bundle, a GGUF, or a folder of safetensors",)
        )
    tensors: dict[str, ModelTensor] = {}
    contents = []
    for file in files:
        content = _local(file, stack)
        contents.append(content)
        reader = cast("BinaryIO", Reader(content))
        found = read_safetensors(reader, content.size, file.name)
        start = content.size - sum(item.size for item in found)
        for item in found:
            if item.name in tensors:
                raise FormatError(f"{file.name}: tensor {item.name!r} is in {tensors[item.name].content.name} too")
            tensors[item.name] = ModelTensor(
                name=item.name,
                type=item.type,
                dimensions=plain_dimensions(tuple(reversed(item.shape)) or (1,)),
                content=content,
                offset=start + item.offset,
                size=item.size,
            )
    return OpenedModel(
        kind="safetensors", name=path.resolve().name, tensors=tuple(tensors.values()), contents=tuple(contents)
    )


def _remote(text: str, ports: Ports) -> OpenedModel:
    model = remote_model(text, ports)
    reader, found = ask(SourceSpec(uri=model.uri, include=model.include), Called("model", text), ports)
    files = [file for file in found.files if file.path.endswith((".gguf", ".llamafile"))]
    if len(files) != 1:
        named = ", ".join(file.path for file in found.files[:5])
        raise UsageError(f"{text}: expected one GGUF, the source has {named}", hints=("name one file",))
    (file,) = files
    if not reader.registered.record.ranges:
        raise UnavailableError(
            f"{text}: its source delivers whole files only", hints=("download it, and name the file",)
        )
    content = RemoteContent(
        remote=reader.remote(file, found.revision or ""), name=file.path, size=file.size, ports=ports
    )
    source = cast("BinaryIO", Reader(content))
    try:
        header = read_gguf(source, file.size, file.path)
    except MendableError:  # a bundle has more behind its weights
        header = read_gguf(source, None, file.path)
    content.keeps = False
    return OpenedModel(
        kind="GGUF",
        name=file.path,
        tensors=_of_header(header, content, 0),
        contents=(content,),
        header=header,
        stated=file.sha256,
    )


@contextlib.contextmanager
def opened_model(text: str, ports: Ports) -> Iterator[OpenedModel]:
    """Open a model during the block.

    Args:
        text: A path, or the URI of a source.
        ports: Sources and rules of fetching.

    Raises:
        FormatError: Not a model, or a damaged one.
        StorageError: It cannot be read.
        FetchError: The source has no such thing, or does not respond.
        UsageError: It names no model, or several.
    """
    with contextlib.ExitStack() as stack:
        if is_remote(text):
            yield _remote(text, ports)
            return
        path = Path(text)
        yield _folder(path, stack) if path.is_dir() else _file(path, stack)
