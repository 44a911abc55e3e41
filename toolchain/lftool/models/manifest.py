"""The manifest of a bundle, `lftool/bundle.json`; its sha256, M, is the identity of the bundle."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import ge

from lftool.models.digest import Artifact, Digest
from lftool.models.names import check_member_path, check_name
from lftool.models.rules import RULES
from lftool.models.run_contract import RunContract

if TYPE_CHECKING:
    from attrs import Attribute

FORMAT = "lftool-bundle"
MANIFEST_PATH = "lftool/bundle.json"
SIGNATURE_PREFIX = "lftool/sig/"
RECIPE_PATH = "lftool/recipe.toml"
LOCK_PATH = "lftool/lock.toml"
PROVENANCE_PATH = "lftool/provenance.json"
SBOM_PATH = "lftool/sbom.cdx.json"
CHUNKS_PATH = "lftool/chunks"
RUNNER_PATH = "lftool/runner.py"
WEIGHTS_PATH = "model.gguf"
ADAPTER_PATH = "lora.gguf"
PROJECTOR_PATH = "mmproj.gguf"

CHUNK_SIZE = 4 * 1024 * 1024
ALIGNMENT = 64 * 1024

# The order of members: rank of the role, then path. Roles before SMALL_RANK are large: aligned, and in the chunk table.
ROLE_RANK = {
    "weights": 0, "adapter": 1, "projector": 2, "draft": 3,
    "runner": 10, "template": 11, "license": 12,
    "recipe": 20, "lock": 21, "provenance": 22, "sbom": 23, "chunks": 24,
    "manifest": 30, "signature": 31,
}  # fmt: skip
SMALL_RANK = 10

Role = Literal[
    "weights", "adapter", "projector", "draft", "runner", "template", "license",
    "recipe", "lock", "provenance", "sbom", "chunks",
]  # fmt: skip
PrefixRole = Literal["gguf", "runtime"]

# Members that every bundle has.
REQUIRED: dict[str, Role] = {
    RECIPE_PATH: "recipe",
    LOCK_PATH: "lock",
    PROVENANCE_PATH: "provenance",
    SBOM_PATH: "sbom",
    CHUNKS_PATH: "chunks",
}

_CRC = re.compile(r"[0-9a-f]{8}\Z")


def is_large(role: str) -> bool:
    """Tell whether members of `role` are aligned to 64 KiB and covered by the chunk table."""
    return ROLE_RANK[role] < SMALL_RANK


def _crc(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not _CRC.match(value):
        raise ValueError(f"a crc32 is 8 lower-case hex digits, not {value!r}")


def _name(_instance: object, _attribute: Attribute[str], value: str) -> None:
    check_name(value)


def _path(_instance: object, _attribute: Attribute[str], value: str) -> None:
    check_member_path(value)


@frozen(kw_only=True)
class Prefix:
    """The bytes before the first member: a GGUF or a runtime."""

    role: PrefixRole = field(metadata={"doc": "`gguf` or `runtime`."})
    size: int = field(validator=ge(1), metadata={"doc": "Size in bytes."})
    sha256: Digest = field(metadata={"doc": "SHA-256 of the content."})
    crc32: str = field(validator=_crc, metadata={"doc": "CRC-32 of the content, 8 hex digits."})

    @property
    def artifact(self) -> Artifact:
        """Digest and size of the prefix's content."""
        return Artifact(self.sha256, self.size)


@frozen(kw_only=True)
class Member:
    """One member of a bundle."""

    path: str = field(validator=_path, metadata={"doc": "Path of the member."})
    role: Role = field(metadata={"doc": "What the member is."})
    size: int = field(validator=ge(0), metadata={"doc": "Size in bytes."})
    sha256: Digest = field(metadata={"doc": "SHA-256 of the content."})
    crc32: str = field(validator=_crc, metadata={"doc": "CRC-32 of the content, 8 hex digits."})

    @property
    def artifact(self) -> Artifact:
        """Digest and size of the member's content."""
        return Artifact(self.sha256, self.size)


def member_order(member: Member) -> tuple[int, str]:
    """Sort key of a member: (rank of its role, path)."""
    return (ROLE_RANK[member.role], member.path)


@frozen(kw_only=True)
class BundleManifest:
    """All that a bundle says about itself. Every byte of U is a function of it and of the contents that it names."""

    format: str = field(default=FORMAT, metadata={"const": FORMAT, "doc": "Always `lftool-bundle`.", "always": True})
    rules: int = field(
        default=RULES, metadata={"const": RULES, "doc": "Number of the byte-affecting format rules.", "always": True}
    )
    name: str = field(validator=_name, metadata={"doc": "Name of the bundle."})
    version: str = field(validator=_name, metadata={"doc": "Version of the bundle."})
    target: str = field(validator=_name, metadata={"doc": "Target of the recipe that was built."})
    layout: str = field(validator=_name, metadata={"doc": "Layout: `gguf` or `llamafile`."})
    backend: str = field(validator=_name, metadata={"doc": "Backend that the target names."})
    prefix: Prefix
    members: tuple[Member, ...] = field(
        metadata={"doc": "Every member except the manifest and the signatures, in file order."}
    )
    run: RunContract = field(factory=RunContract)

    def __attrs_post_init__(self) -> None:
        if list(self.members) != sorted(self.members, key=member_order):
            raise ValueError("members are not in the order of (role, path)")
        folded = [member.path.casefold() for member in self.members]
        if len(set(folded)) != len(folded):
            raise ValueError("two members have paths that differ in case only, or not at all")
        self._check_extractable(folded)
        weights = [member.path for member in self.members if member.role == "weights"]
        if len(weights) != (0 if self.prefix.role == "gguf" else 1):
            raise ValueError("a bundle has one set of weights: its prefix, or one member")
        for role, place in {"adapter": ADAPTER_PATH, "projector": PROJECTOR_PATH}.items():
            if any(member.role == role and member.path != place for member in self.members):
                raise ValueError(f"a member of role {role} must have the path {place}")
        for path, role in REQUIRED.items():
            member = self.member(path)
            if member is None or member.role != role:
                raise ValueError(f"the member {path} of role {role} is missing")
        if any(path == MANIFEST_PATH or path.startswith(SIGNATURE_PREFIX) for path in folded):
            raise ValueError("the manifest must not name itself or signatures")

    def _check_extractable(self, folded: list[str]) -> None:
        """Raise ValueError unless prefix and members fit into one folder, as `lftool extract` writes them."""
        if self.prefix_path in folded:
            raise ValueError(f"a member has the path {self.prefix_path}, which is where the prefix is extracted to")
        files = {*folded, self.prefix_path, MANIFEST_PATH}
        for path in folded:
            parts = path.split("/")
            for count in range(1, len(parts)):
                above = "/".join(parts[:count])
                if above in files:
                    raise ValueError(f"the member {above} is a folder of {path}")

    @property
    def prefix_path(self) -> str:
        """Where `lftool extract` writes the prefix."""
        return WEIGHTS_PATH if self.prefix.role == "gguf" else "runtime"

    @property
    def stem(self) -> str:
        """File name of the bundle without its suffix."""
        return f"{self.name}-{self.version}-{self.target}"

    @property
    def weights(self) -> Member | Prefix:
        """Where the weights are: the prefix of a `gguf` bundle, else the member of role weights."""
        if self.prefix.role == "gguf":
            return self.prefix
        return next(member for member in self.members if member.role == "weights")

    def member(self, path: str) -> Member | None:
        """Return the member at `path`, if there is one."""
        return self._by_path.get(path)

    @cached_property
    def _by_path(self) -> dict[str, Member]:
        return {member.path: member for member in self.members}
