"""The lock, `lftool.lock`: exactly which bytes go in and come out (docs/reference/lock.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import and_, ge, in_, lt, optional

from lftool.models.digest import Artifact, Digest
from lftool.models.rules import RULES

if TYPE_CHECKING:
    from attrs import Attribute

LOCK_VERSION = 1
LOCK_NAME = "lftool.lock"
RECIPE_NAME = "lftool.toml"

_MOST_BYTES = 2**53  # what canonical JSON can write
_SIZE = and_(ge(0), lt(_MOST_BYTES))

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _is_unicode(value: str) -> bool:
    """Tell whether `value` has no lone surrogates, which Python uses for file names that are not UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_relative_path(value: str) -> None:
    """Raise ValueError unless `value` can be the path of a file within a source."""
    parts = value.split("/")
    if (
        not value
        or value.startswith("/")
        or "\\" in value
        or _CONTROL.search(value)
        or not _is_unicode(value)
        or any(p in {"", ".", ".."} for p in parts)
    ):
        raise ValueError(f"{value!r} is not a relative path with / between its parts")


def _relative_path(_instance: object, _attribute: Attribute[str], value: str) -> None:
    check_relative_path(value)


@frozen(kw_only=True)
class LockedFile:
    """One file of a source: both size and sha256 are required."""

    path: str = field(validator=_relative_path, metadata={"doc": "Path within the source."})
    size: int = field(validator=_SIZE, metadata={"doc": "Size in bytes."})
    sha256: Digest = field(metadata={"doc": "SHA-256 of the content."})
    revision: str | None = field(
        default=None,
        metadata={"doc": "Version of the file to request from the remote: an ETag or a version id."},
    )

    @property
    def artifact(self) -> Artifact:
        """Digest and size of the file's content."""
        return Artifact(self.sha256, self.size)


def _check_sorted(files: tuple[LockedFile, ...]) -> None:
    paths = [file.path for file in files]
    if paths != sorted(set(paths)):
        raise ValueError("files must be sorted by path, without a duplicate")


@frozen(kw_only=True)
class LockedFileList:
    """A file list in a separate file beside the lock, for sources of more than 1,000 files."""

    path: str = field(validator=_relative_path, metadata={"doc": "Path of the list, relative to the lock."})
    sha256: Digest = field(metadata={"doc": "SHA-256 of the list."})


@frozen(kw_only=True)
class LockedSource:
    """A request, and the immutable revision that it resolved to."""

    uri: str = field(metadata={"doc": "The request, as in the recipe."})
    include: tuple[str, ...] = field(default=(), metadata={"doc": "The request's include globs."})
    exclude: tuple[str, ...] = field(default=(), metadata={"doc": "The request's exclude globs."})
    options: Mapping[str, Any] = field(factory=dict, metadata={"options": True, "doc": "The request's plugin options."})
    revision: str = field(metadata={"doc": "The immutable revision: commit, version id or content digest."})
    gated: bool = field(
        default=False,
        metadata={"doc": "Whether the source's owner decided who gets the files when they were locked."},
    )
    files: tuple[LockedFile, ...] = field(default=(), metadata={"doc": "Every file, sorted by path."})
    file_list: LockedFileList | None = field(
        default=None, metadata={"key": "file-list", "doc": "Where the files are listed, instead of `files`."}
    )

    def __attrs_post_init__(self) -> None:
        _check_sorted(self.files)
        if bool(self.files) == (self.file_list is not None):
            raise ValueError("a locked source has either files, at least one, or a file-list")


@frozen(kw_only=True)
class FileList:
    """The content of a file list."""

    files: tuple[LockedFile, ...] = field(metadata={"doc": "Every file, sorted by path."})

    def __attrs_post_init__(self) -> None:
        if not self.files:
            raise ValueError("a file list has at least one file")
        _check_sorted(self.files)


@frozen(kw_only=True)
class LockedPlugin:
    """A plugin distribution that the build runs."""

    version: str = field(metadata={"doc": "Version of the distribution."})
    sha256: Digest | None = field(
        default=None,
        metadata={"doc": "SHA-256 over the sorted paths and digests of its files; absent if editable."},
    )
    editable: bool = field(
        default=False,
        metadata={"doc": "Whether any editable install of it is accepted, for development; `--locked` refuses it."},
    )

    def __attrs_post_init__(self) -> None:
        if (self.sha256 is None) != self.editable:
            raise ValueError("a plugin is pinned by a sha256, or editable")


def _archive(_instance: object, _attribute: Attribute[Any], value: LockedSource | None) -> None:
    """Raise ValueError unless a tool's archive is one file without options: a plugin names it, not a recipe."""
    if value is not None and (value.options or value.file_list is not None or len(value.files) != 1):
        raise ValueError("a tool's archive is one file, and takes no options")


@frozen(kw_only=True)
class LockedTool:
    """Semantics of a transform, and the fingerprints that prove that a tool has them."""

    providers: Mapping[str, str] = field(
        factory=dict, metadata={"doc": "Name to version of the tools that made the fingerprints; not part of a slice."}
    )
    archive: LockedSource | None = field(
        default=None,
        validator=_archive,
        metadata={"doc": "The archive that contains the tool; not part of a slice."},
    )
    fingerprints: Mapping[str, Digest] = field(
        metadata={"doc": "Per use, the sha256 of the file that the tool makes from a fixed input."}
    )


@frozen(kw_only=True)
class LockedRuntime:
    """A numbered runtime, frozen or compiled."""

    sha256: Digest = field(metadata={"doc": "SHA-256 over the names and digests of its parts."})
    executable: Digest | None = field(
        default=None, metadata={"doc": "SHA-256 of the executable of a compiled runtime."}
    )
    size: int | None = field(
        default=None,
        validator=optional(and_(ge(1), lt(_MOST_BYTES))),
        metadata={"doc": "Size of the executable in bytes."},
    )
    toolchain: str | None = field(
        default=None, metadata={"doc": "Compiler and libraries that it was compiled with; not part of a slice."}
    )
    archive: LockedSource | None = field(
        default=None,
        validator=_archive,
        metadata={"doc": "The archive of the sources that it was compiled from."},
    )

    def __attrs_post_init__(self) -> None:
        if len({self.executable is None, self.size is None, self.archive is None}) != 1:
            raise ValueError("a compiled runtime needs executable, size and archive together")

    @property
    def output(self) -> Artifact | None:
        """The executable of a compiled runtime; None for a frozen one."""
        return None if self.executable is None or self.size is None else Artifact(self.executable, self.size)


@frozen(kw_only=True)
class LockedQuantize:
    """The quantize stage of a target."""

    semantics: str = field(metadata={"doc": "The arithmetic, such as `ggml-q/1`; names an entry of `tools`."})
    uses: str = field(metadata={"doc": "Which fingerprint of the tool this target depends on."})
    quantizer: str | None = field(
        default=None, metadata={"doc": "The quantizer that executed it; not part of a slice."}
    )
    mixture: str | None = field(
        default=None,
        metadata={"doc": "The rules that chose the types, such as `ggml-mix/1`; not part of a slice."},
    )
    plan: Digest = field(metadata={"doc": "SHA-256 of the canonical plan: parameters and the type of every tensor."})
    action: Digest = field(metadata={"doc": "SHA-256 over pinned inputs, plan and fingerprint."})
    sha256: Digest | None = field(default=None, metadata={"doc": "SHA-256 of the output."})
    size: int | None = field(default=None, validator=optional(_SIZE), metadata={"doc": "Size of the output in bytes."})

    def __attrs_post_init__(self) -> None:
        if (self.sha256 is None) != (self.size is None):
            raise ValueError("an output needs both sha256 and size")

    @property
    def output(self) -> Artifact | None:
        """The quantised weights, once a build has recorded them."""
        return None if self.sha256 is None or self.size is None else Artifact(self.sha256, self.size)


@frozen(kw_only=True)
class LockedMetadata:
    """The metadata stage of a target: its weights with other keys."""

    semantics: str = field(
        validator=in_(("gguf-header/1",)), metadata={"doc": "How the header is written: `gguf-header/1`."}
    )
    template: Digest | None = field(
        default=None, metadata={"doc": "SHA-256 of the chat template, if the recipe names one."}
    )
    action: Digest = field(metadata={"doc": "SHA-256 over the weights or the quantize stage, keys and template."})
    sha256: Digest | None = field(default=None, metadata={"doc": "SHA-256 of the output."})
    size: int | None = field(default=None, validator=optional(_SIZE), metadata={"doc": "Size of the output in bytes."})

    def __attrs_post_init__(self) -> None:
        if (self.sha256 is None) != (self.size is None):
            raise ValueError("an output needs both sha256 and size")

    @property
    def output(self) -> Artifact | None:
        """The weights with other keys, once a build has recorded them."""
        return None if self.sha256 is None or self.size is None else Artifact(self.sha256, self.size)


@frozen(kw_only=True)
class LockedConvert:
    """How the files of a source became one GGUF."""

    semantics: str = field(metadata={"doc": "The conversion, such as `gguf-join/1`; names an entry of `tools`."})
    uses: str = field(metadata={"doc": "Which fingerprint of the tool it depends on: what is produced."})
    # cattrs takes the names of attributes as keywords beside its own `converter`
    converter_name: str | None = field(
        default=None, metadata={"key": "converter", "doc": "The converter that executed it; not part of a slice."}
    )
    format: str | None = field(
        default=None, metadata={"doc": "Format of the source, if a plugin provides that format."}
    )
    files: tuple[str, ...] = field(
        default=(), metadata={"doc": "Paths within the source that it reads, for such a format."}
    )
    plan: Digest = field(metadata={"doc": "SHA-256 of the canonical plan: parameters and tensors."})
    action: Digest = field(metadata={"doc": "SHA-256 over pinned inputs, plan and fingerprint."})
    sha256: Digest = field(metadata={"doc": "SHA-256 of the GGUF."})
    size: int = field(validator=_SIZE, metadata={"doc": "Size of the GGUF in bytes."})

    def __attrs_post_init__(self) -> None:
        if (self.format is None) != (not self.files):
            raise ValueError("a format of a plugin needs both format and files")

    @property
    def output(self) -> Artifact:
        """The GGUF."""
        return Artifact(self.sha256, self.size)


@frozen(kw_only=True)
class LockedPack:
    """The pack stage of a target."""

    action: Digest = field(
        metadata={"doc": "SHA-256 over the quantize stage or the weights, slice, layout, runtime and rules."}
    )
    layout: int | None = field(
        default=None, validator=optional(ge(2)), metadata={"doc": "Number of the layout, if it is not 1."}
    )
    manifest: Digest | None = field(default=None, metadata={"doc": "M: sha256 of lftool/bundle.json."})
    sha256: Digest | None = field(default=None, metadata={"doc": "sha256 of U, the unsigned bundle."})
    size: int | None = field(default=None, validator=optional(_SIZE), metadata={"doc": "Size of U in bytes."})

    def __attrs_post_init__(self) -> None:
        if len({self.manifest is None, self.sha256 is None, self.size is None}) != 1:
            raise ValueError("an output needs manifest, sha256 and size together")

    @property
    def output(self) -> Artifact | None:
        """The unsigned bundle U, once a build has recorded it."""
        return None if self.sha256 is None or self.size is None else Artifact(self.sha256, self.size)


@frozen(kw_only=True)
class LockedTarget:
    """One target, stage by stage."""

    runtime: str | None = field(
        default=None, metadata={"doc": "The runtime, such as `python/1`; names an entry of `runtimes`."}
    )
    quantize: LockedQuantize | None = field(
        default=None, metadata={"doc": "Absent when the weights are packed as they are."}
    )
    metadata: LockedMetadata | None = field(default=None, metadata={"doc": "Absent when the recipe sets no keys."})
    pack: LockedPack | None = field(default=None, metadata={"doc": "Not part of a slice."})


@frozen(kw_only=True)
class LockedRecipe:
    """The recipe that the lock belongs to."""

    sha256: Digest = field(
        metadata={"doc": "SHA-256 of the recipe's canonical projection: without comments and [sign]."}
    )
    fields: Mapping[str, Any] = field(
        factory=dict, metadata={"doc": "The projection, flattened, to show what changed when the lock is stale."}
    )


@frozen(kw_only=True)
class Lock:
    """A whole lock."""

    lock_version: int = field(
        default=LOCK_VERSION,
        metadata={"key": "lock-version", "const": LOCK_VERSION, "doc": "Version of this file format.", "always": True},
    )
    rules: int = field(
        default=RULES,
        metadata={"const": RULES, "doc": "Number of the byte-affecting rules of the bundle format.", "always": True},
    )
    recipe: LockedRecipe
    sources: Mapping[str, LockedSource]
    plugins: Mapping[str, LockedPlugin] = field(factory=dict)
    tools: Mapping[str, LockedTool] = field(factory=dict)
    runtimes: Mapping[str, LockedRuntime] = field(factory=dict)
    convert: Mapping[str, LockedConvert] = field(
        factory=dict, metadata={"doc": "Per role, how a source's files became one GGUF; absent if they are one."}
    )
    targets: Mapping[str, LockedTarget]

    def _check_tool(self, where: str, stage: LockedConvert | LockedQuantize) -> None:
        tool = self.tools.get(stage.semantics)
        if tool is None or stage.uses not in tool.fingerprints:
            raise ValueError(f"{where} uses {stage.uses!r} of {stage.semantics!r}, which is not in tools")

    def __attrs_post_init__(self) -> None:
        for role, conversion in self.convert.items():
            self._check_tool(f"convert.{role}", conversion)
        for name, target in self.targets.items():
            if target.quantize is not None:
                self._check_tool(f"targets.{name}.quantize", target.quantize)
            if target.runtime is not None and target.runtime not in self.runtimes:
                raise ValueError(f"targets.{name}.runtime is {target.runtime!r}, which is not in runtimes")
