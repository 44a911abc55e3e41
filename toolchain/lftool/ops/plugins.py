"""`lftool plugins`: list what installed plugins provide, and find what is wrong with them."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import (
    Backend,
    BackendType,
    Check,
    CheckType,
    ConfigurableRecord,
    ConverterType,
    Destination,
    DestinationType,
    Example,
    Exporter,
    ExporterType,
    Layout,
    LayoutType,
    Lazy,
    QuantizerType,
    RemoteStore,
    RemoteStoreType,
    Signer,
    SignerType,
    Source,
    SourceType,
    Transform,
    Verifier,
    VerifierType,
)
from lftool.errors import UnavailableError, UsageError
from lftool.host.discovery import discover
from lftool.host.guarding import not_ending
from lftool.host.option_types import check_options, type_text
from lftool.host.origin import distribution_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lftool.api import Record
    from lftool.host.discovery import Plugin

_SAID = {"name", "summary", "options", "factory", "make"}  # in every record


@frozen(kw_only=True)
class Option:
    """A field of an options class."""

    name: str
    type: str
    default: str | None
    doc: str


@frozen(kw_only=True)
class Offer:
    """A record as shown to users: its kind and its characteristic fields."""

    kind: str
    name: str
    summary: str
    fields: dict[str, Any]
    options: tuple[Option, ...]


@frozen(kw_only=True)
class Problem:
    """An error in a plugin; `detail` is the traceback, if it raised."""

    plugin: str
    text: str
    detail: str = ""


def kind_of(hook: str) -> str:
    """Return the kind that a hook yields, in one word."""
    return hook.removeprefix("lftool_").removesuffix("s")


def find_plugin(plugins: Sequence[Plugin], name: str) -> Plugin:
    """Return the plugin with the name of an entry point or a distribution.

    Raises:
        UsageError: No such plugin.
    """
    for plugin in plugins:
        if name in {plugin.origin.entry_point, plugin.origin.distribution}:
            return plugin
    valid = ", ".join(sorted(plugin.origin.entry_point for plugin in plugins))
    raise UsageError(f"no installed plugin is called {name!r}; there are {valid}")


def test_command(name: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that tests an installed plugin.

    Args:
        name: Name of its entry point or distribution.
        arguments: Further arguments for pytest.

    Raises:
        UsageError: No such plugin.
        UnavailableError: The plugin cannot be used, or pytest is not installed.
    """
    plugin = find_plugin(discover(), name)
    if plugin.status != "active":
        raise UnavailableError(
            f"{plugin.origin} could not be used: {plugin.reason}", hints=(f"see why: lftool plugins check {name}",)
        )
    if importlib.util.find_spec("pytest") is None:
        raise UnavailableError("testing a plugin needs pytest", hints=("pip install 'lftool[testing]'",))
    return [sys.executable, "-m", "lftool.testing.installed", plugin.origin.entry_point, *arguments]


def digest_of(plugin: Plugin) -> str | None:
    """Return the digest that locks pin a plugin by; None for built-in plugins, which locks do not pin."""
    if plugin.distribution is None:
        return None
    return distribution_digest(plugin.distribution, plugin.origin.module).hex


def offers(plugin: Plugin) -> list[Offer]:
    """Return what a plugin provides."""
    return [
        Offer(
            kind=kind_of(hook),
            name=record.name,
            summary=record.summary,
            fields=_fields(record),
            options=_options(record),
        )
        for hook, record in plugin.records
    ]


def _fields(record: Record) -> dict[str, Any]:
    """Return the fields that differ from their defaults."""
    found = {}
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        if field.name not in _SAID and value != field.default:
            found[field.name] = (
                list(value) if isinstance(value, tuple) else type_text(value) if isinstance(value, type) else value
            )
    return found


def _options(record: Record) -> tuple[Option, ...]:
    cls = record.options_class if isinstance(record, ConfigurableRecord) else None
    if cls is None:
        return ()
    attrs.resolve_types(cls)
    return tuple(
        Option(
            name=field.metadata.get("key", field.name),
            type=type_text(field.type),
            default=None if field.default is attrs.NOTHING else _default_text(field.default),
            doc=field.metadata.get("doc", ""),
        )
        for field in attrs.fields(cls)
    )


def _default_text(default: Any) -> str:  # noqa: ANN401 - whatever attrs takes
    return repr(default.factory()) if isinstance(default, attrs.Factory) else repr(default)  # type: ignore[arg-type]  # attrs' stub calls it a function


def problems(plugins: Sequence[Plugin], commands: Collection[str] = (), *, resolve: bool = False) -> list[Problem]:
    """Return errors: plugins that failed or do not fit, and names and schemes that several plugins claim.

    Args:
        plugins: All plugins found.
        commands: Names of lftool's own commands, which plugins may not use.
        resolve: Whether to import the objects that records name lazily.
    """
    found = [
        Problem(plugin=plugin.origin.entry_point, text=plugin.reason, detail=_traceback(plugin))
        for plugin in plugins
        if plugin.status in {"failed", "incompatible"}
    ]
    if resolve:
        found += [one for plugin in plugins for _, record in plugin.records for one in _unusable(plugin, record)]
    found += [
        Problem(plugin=plugin.origin.entry_point, text=f"an Example is of {text}, which the plugin does not offer")
        for plugin in plugins
        for text in _examples_of_nothing(plugin)
    ]
    claims: dict[tuple[str, str], Plugin] = {}
    for plugin in plugins:
        for hook, record in plugin.records:
            for claim in _claims(hook, record):
                other = claims.setdefault(claim, plugin)
                if other is not plugin:
                    text = f"{claim[0]} {claim[1]!r} is also claimed by {other.origin}; neither can be used"
                    found.append(Problem(plugin=plugin.origin.entry_point, text=text))
            if hook == "lftool_commands" and record.name in commands:
                text = f"the command {record.name!r} is built in and cannot be replaced"
                found.append(Problem(plugin=plugin.origin.entry_point, text=text))
    return found


def _examples_of_nothing(plugin: Plugin) -> list[str]:
    offered = {(type(record), record.name) for _, record in plugin.records}
    examples = [record for _, record in plugin.records if isinstance(record, Example)]
    return [f"{item.of.__name__} {item.name!r}" for item in examples if (item.of, item.name) not in offered]


def _unusable(plugin: Plugin, record: Record) -> list[Problem]:
    """Return errors in the objects that a record names lazily; listing imports none of them."""
    lazy = [value for field in attrs.fields(type(record)) if isinstance(value := getattr(record, field.name), Lazy)]
    try:
        with not_ending():
            for value in lazy:
                value.resolve()
            if isinstance(record, ConfigurableRecord) and record.options_class is not None:
                check_options(record.options_class, typed=isinstance(record, ExporterType | DestinationType))
            _check_methods(record)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises is the plugin's problem
        text = f"{record.name}: {type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        return [Problem(plugin=plugin.origin.entry_point, text=text, detail=trace)]
    return []


_OPTIONAL = ("load", "measure_several", "releases")  # of a backend
# Protocols whose members a record's object must have. A backend needs `load` only if the record says so.
_PROTOCOLS: dict[type[Record], type] = {
    SourceType: Source,
    RemoteStoreType: RemoteStore,
    ConverterType: Transform,
    QuantizerType: Transform,
    BackendType: Backend,
    LayoutType: Layout,
    SignerType: Signer,
    VerifierType: Verifier,
    CheckType: Check,
    ExporterType: Exporter,
    DestinationType: Destination,
}


def _check_methods(record: Record) -> None:
    """Raise TypeError if the factory is a class whose objects lack a method that the record promises."""
    factory = getattr(record, "factory", None)
    made = factory.resolve() if isinstance(factory, Lazy) else factory
    protocol = _PROTOCOLS.get(type(record))
    if isinstance(made, type) and protocol is not None:
        spared = set(_OPTIONAL) if isinstance(record, BackendType) else set()
        spared -= {"load"} if isinstance(record, BackendType) and record.loads else set()
        needed = [name for name in vars(protocol) if not name.startswith("_") and name not in spared]
        missing = [name for name in needed if not hasattr(made, name)]
        if missing:
            raise TypeError(f"{made.__name__} has no {missing[0]}()")


def _claims(hook: str, record: Record) -> list[tuple[str, str]]:
    kind = kind_of(hook)
    schemes = [(f"the scheme of a {kind}", scheme) for scheme in getattr(record, "schemes", ())]
    return [(f"the {kind}", record.key), *schemes]


def _traceback(plugin: Plugin) -> str:
    return "" if plugin.failure is None else "".join(traceback.format_exception(plugin.failure))
