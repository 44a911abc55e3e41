"""The user's `config.toml`: settings that no project can make (docs/reference/configuration.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import gt

from lftool.models.names import check_name

if TYPE_CHECKING:
    from attrs import Attribute


def _roots(_instance: object, _attribute: Attribute[Any], value: Mapping[str, str]) -> None:
    for name, path in value.items():
        check_name(name)
        if not path.startswith(("/", "~/")):
            raise ValueError(f"the root {name!r} must be an absolute path, not {path!r}")


def _tables(_instance: object, _attribute: Attribute[Any], value: Mapping[str, Any]) -> None:
    for name, options in value.items():
        if not isinstance(options, Mapping):
            raise ValueError(f"{name}: expected a table of options")  # noqa: TRY004 - one error kind for callers


@frozen(kw_only=True)
class SigningConfiguration:
    """`[sign]`: how this user signs."""

    key: str | None = field(
        default=None,
        metadata={
            "doc": "Path of the private key to sign with, for recipes that have [sign]; overrides the recipe's own."
        },
    )


@frozen(kw_only=True)
class RemoteStoreConfiguration:
    """`[remote-store]`: how far the remote store is trusted."""

    trust_records: bool = field(
        default=False,
        metadata={
            "key": "trust-records",
            "doc": "Whether to trust its records of what stages made; same as `LFTOOL_REMOTE_STORE_ACTIONS=1`.",
        },
    )


@frozen(kw_only=True)
class PluginConfiguration:
    """`[plugins]`: how to run plugins that parse or execute model files."""

    idle_seconds: int = field(
        default=600,
        validator=gt(0),
        metadata={"key": "idle-seconds", "doc": "Seconds without progress after which a plugin's process is ended."},
    )
    confine: bool = field(
        default=True,
        metadata={"doc": "Whether to confine these processes; off for debugging only."},
    )


@frozen(kw_only=True)
class Configuration:
    """A whole configuration; every key has a default."""

    roots: Mapping[str, str] = field(
        factory=dict,
        validator=_roots,
        metadata={"doc": "Name to folder outside projects; recipes may name its files, as file://NAME/PATH."},
    )
    sign: SigningConfiguration = field(factory=SigningConfiguration)
    remote_store: RemoteStoreConfiguration = field(factory=RemoteStoreConfiguration, metadata={"key": "remote-store"})
    plugins: PluginConfiguration = field(factory=PluginConfiguration)
    backends: Mapping[str, Any] = field(
        factory=dict,
        validator=_tables,
        metadata={"options": True, "doc": "Maps backend names to the options of their plugins."},
    )
    observers: Mapping[str, Any] = field(
        factory=dict,
        validator=_tables,
        metadata={"options": True, "doc": "Maps observer names to the options of their plugins."},
    )
