"""What converters and quantizers get and give: frozen and keyword-only, so that fields can be added."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from lftool.api.types import NONE, of, tuple_of
from lftool.models.digest import Artifact, Digest


class InputWarning(UserWarning):
    """Part of an input is left out. A transform warns with this category, and the user sees the text."""


@frozen(kw_only=True)
class InputFile:
    """A checked, read-only input: where it is and what it is.

    Attributes:
        path: The file. If `pipe` is set, it has the right size and the GGUF's header, and zeros for data.
        artifact: Digest and size. If `pipe` is set, the digest is that of the header.
        pipe: Delivers the bytes of the whole file once, from the first to the last, while they are made.
            Only transforms whose record has `streams` get one.
    """

    path: Path
    artifact: Artifact
    pipe: Path | None = None


@frozen(kw_only=True)
class TensorType:
    """A tensor and its type, by their names in the file."""

    tensor: str = field(validator=of(str))
    type: str = field(validator=of(str))


@frozen(kw_only=True)
class TransformSpec:
    """What a transform is to make.

    Attributes:
        produces: The file type, one of the record's `produces`.
        overrides: Types of tensors by exact name. The core has expanded the recipe's globs.
        options: Instance of the record's options class, or None.
        mixture: The rules to choose types by, one of the record's `mixtures`; "" for the newest.
        types: For a quantizer with a `mixture`: the type of every tensor, in the order of the output.
        name: For a converter: the model's name, as far as its source's address tells.
        archive: A ZIP of the members that the tool requested; in `run` only.
    """

    produces: str
    overrides: tuple[TensorType, ...] = ()
    options: Any = None
    mixture: str = ""
    types: tuple[TensorType, ...] = ()
    name: str = ""
    archive: Path | None = None


@frozen(kw_only=True)
class ToolArchive:
    """The archive that contains a tool. The core fetches it, compares its digest, and unpacks it.

    The plugin decides which bytes run, never a lock. A lock that names another archive is refused before anything is
    fetched.

    Attributes:
        uri: Where it is, as in a source of a recipe.
        sha256: Digest of the archive's bytes.
        include: Globs that choose one file there.
        members: Globs of the members needed from the tar archive, without the first folder of their paths.
    """

    uri: str = field(validator=of(str))
    sha256: Digest = field(validator=of(Digest))
    include: tuple[str, ...] = ()
    members: tuple[str, ...]


@frozen(kw_only=True)
class ToolIdentity:
    """What executes a transform: its version, and the files that decide its bytes.

    Attributes:
        version: Version of everything involved.
        files: Installed files.
        archive: Archive that must be fetched before it can run.
        parameters: Anything else that decides its bytes, such as compiler options.
    """

    version: str = field(validator=of(str))
    files: tuple[Path, ...] = field(validator=tuple_of(Path))
    archive: ToolArchive | None = field(default=None, validator=of(ToolArchive, NONE))
    parameters: tuple[str, ...] = ()


@frozen(kw_only=True)
class TransformPlan:
    """What a transform will make: a pure function of spec and input headers. Its canonical JSON enters the action.

    Attributes:
        parameters: Everything that decides the bytes: strings, integers, booleans, and lists and tables of those.
        tensors: The type of every tensor of the output, in file order.
    """

    parameters: Mapping[str, Any] = field(validator=of(Mapping))
    tensors: tuple[TensorType, ...] = field(validator=tuple_of(TensorType))
