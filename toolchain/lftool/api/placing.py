"""What runtimes and layouts get and give: frozen and keyword-only, so that fields can be added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import in_

from lftool.api.types import of, tuple_of
from lftool.models.digest import Artifact
from lftool.models.manifest import ROLE_RANK, PrefixRole, Role
from lftool.models.names import check_member_path

if TYPE_CHECKING:
    from attrs import Attribute


def _role(instance: Any, _attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
    if value not in ROLE_RANK:
        raise ValueError(f"{type(instance).__name__}.role: {value!r} is none of {', '.join(ROLE_RANK)}")


def _member_path(_instance: Any, _attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
    check_member_path(value)


@frozen(kw_only=True)
class RuntimeMember:
    """A file that a runtime needs in the bundle."""

    path: str = field(validator=_member_path)
    role: Role = field(validator=_role)
    data: bytes = field(validator=of(bytes))


@frozen(kw_only=True)
class RuntimeParts:
    """A runtime's frozen bytes: the executable prefix and the members that it needs."""

    prefix: bytes = field(validator=of(bytes))
    members: tuple[RuntimeMember, ...] = field(default=(), validator=tuple_of(RuntimeMember))


@frozen(kw_only=True)
class PlannedPrefix:
    """What a bundle begins with."""

    role: PrefixRole = field(validator=in_(("gguf", "runtime")))
    artifact: Artifact = field(validator=of(Artifact))


@frozen(kw_only=True)
class PlannedMember:
    """A member to be written. The core decides the order of members."""

    path: str = field(validator=_member_path)
    role: Role = field(validator=_role)
    artifact: Artifact = field(validator=of(Artifact))


@frozen(kw_only=True)
class LayoutInputs:
    """What a layout has to place.

    Attributes:
        weights: The model.
        companions: Members beside the model: a LoRA adapter, a projector.
        runtime_prefix: Prefix of the runtime, if the target has one.
        runtime_members: Members of the runtime, if the target has one.
        options: Instance of the record's options class, or None.
    """

    weights: Artifact
    companions: tuple[PlannedMember, ...] = ()
    runtime_prefix: Artifact | None = None
    runtime_members: tuple[PlannedMember, ...] = ()
    options: Any = None


@frozen(kw_only=True)
class LayoutPlan:
    """Where everything goes, without any bytes."""

    prefix: PlannedPrefix = field(validator=of(PlannedPrefix))
    members: tuple[PlannedMember, ...] = field(default=(), validator=tuple_of(PlannedMember))
