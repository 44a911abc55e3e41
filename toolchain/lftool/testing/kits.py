"""All kits: which kit tests a record, what the kit needs, and test classes for all records of a plugin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from attrs import frozen

from lftool.api import (
    BackendType,
    CheckType,
    CommandType,
    ConfigurableRecord,
    ConverterType,
    DestinationType,
    Example,
    ExporterType,
    LayoutType,
    ObserverType,
    QuantizerType,
    Record,
    RemoteStoreType,
    RuntimeType,
    SignerType,
    SourceType,
    VerifierType,
)
from lftool.testing.backend_kit import BackendConformance, BackendExample
from lftool.testing.check_kit import CheckConformance, CheckExample
from lftool.testing.command_kit import CommandConformance
from lftool.testing.destination_kit import DestinationConformance, PublishingPlace
from lftool.testing.exporter_kit import ExporterConformance, ExportExample
from lftool.testing.layout_kit import LayoutConformance, LayoutExample
from lftool.testing.observer_kit import ObserverConformance, ObserverExample
from lftool.testing.remote_store_kit import RemotePlace, RemoteStoreConformance
from lftool.testing.runtime_kit import RuntimeConformance, RuntimeExample
from lftool.testing.signer_kit import KeyExample, SignedExample, SignerConformance, VerifierConformance
from lftool.testing.source_kit import Served, SourceConformance
from lftool.testing.transform_kit import StreamingConformance, TransformConformance, Work

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.host.discovery import Plugin


@frozen(kw_only=True)
class Kit:
    """How a kind of record is tested.

    Attributes:
        tests: The class to inherit.
        fixture: Name of the fixture that describes what is tested.
        value: Type of the fixture's value.
        default: Returns the value for a record without an example; None if a record needs an example.
    """

    tests: type
    fixture: str
    value: type
    default: Callable[[Any], Any] | None = None


def _runtime(record: RuntimeType) -> RuntimeExample | None:
    """Return the default for a frozen runtime. Compiling one takes minutes, and needs an example."""
    return None if record.compiled else RuntimeExample(name=record.name)


KITS: dict[type[Record], Kit] = {
    SourceType: Kit(tests=SourceConformance, fixture="served", value=Served),
    RemoteStoreType: Kit(tests=RemoteStoreConformance, fixture="place", value=RemotePlace),
    DestinationType: Kit(tests=DestinationConformance, fixture="publishing", value=PublishingPlace),
    ConverterType: Kit(tests=TransformConformance, fixture="work", value=Work),
    QuantizerType: Kit(tests=TransformConformance, fixture="work", value=Work),
    BackendType: Kit(tests=BackendConformance, fixture="example", value=BackendExample),
    LayoutType: Kit(
        tests=LayoutConformance,
        fixture="layout",
        value=LayoutExample,
        default=lambda record: LayoutExample(name=record.name),
    ),
    RuntimeType: Kit(tests=RuntimeConformance, fixture="runtime", value=RuntimeExample, default=_runtime),
    SignerType: Kit(tests=SignerConformance, fixture="key", value=KeyExample),
    VerifierType: Kit(tests=VerifierConformance, fixture="signed", value=SignedExample),
    ObserverType: Kit(
        tests=ObserverConformance,
        fixture="observer",
        value=ObserverExample,
        default=lambda record: ObserverExample(name=record.name),
    ),
    CheckType: Kit(tests=CheckConformance, fixture="check", value=CheckExample),
    ExporterType: Kit(
        tests=ExporterConformance,
        fixture="export",
        value=ExportExample,
        default=lambda record: ExportExample(name=record.name),
    ),
    CommandType: Kit(tests=CommandConformance, fixture="command", value=str, default=lambda record: record.name),
}


def _default(record: Record) -> Any:  # noqa: ANN401 - of the kit
    """Return the fixture's value for a record without an example; None if the record needs one."""
    cls = record.options_class if isinstance(record, ConfigurableRecord) else None
    if cls is not None and any(item.default is attrs.NOTHING for item in attrs.fields(cls)):
        return None
    make = KITS[type(record)].default
    return None if make is None else make(record)


def _examples(plugin: Plugin, record: Record) -> list[Example]:
    examples = [item for _, item in plugin.records if isinstance(item, Example)]
    return [item for item in examples if item.of is type(record) and item.name == record.name]


def missing_examples(plugin: Plugin) -> list[str]:
    """Return a line for each record that lacks a required example, and for each example without a record."""
    records = [record for _, record in plugin.records if not isinstance(record, Example)]
    found = [
        f"{type(record).__name__} {record.name!r} needs an Example whose `make` gives {KITS[type(record)].value.__name__}"
        for record in records
        if not _examples(plugin, record) and _default(record) is None
    ]
    offered = {(type(record), record.name) for record in records}
    return found + [
        f"an Example is of {item.of.__name__} {item.name!r}, which the plugin does not offer"
        for _, item in plugin.records
        if isinstance(item, Example) and (item.of, item.name) not in offered
    ]


def test_classes(plugin: Plugin) -> dict[str, type]:
    """Return test classes for all records of a plugin that can be tested, by name."""
    found: dict[str, type] = {}
    for _, record in plugin.records:
        if isinstance(record, Example):
            continue
        title = "".join(part.capitalize() for part in record.name.replace("-", ".").replace("_", ".").split("."))
        kind = type(record).__name__.removesuffix("Type")
        if not _examples(plugin, record) and _default(record) is None:
            continue
        makers: list[Callable[[Path], contextlib.AbstractContextManager[Any]]] = [
            item.make for item in _examples(plugin, record)
        ]
        if not makers:
            makers = [_always(_default(record))]
        for number, make in enumerate(makers, 1):
            name = f"Test{kind}{title}" + (str(number) if len(makers) > 1 else "")
            found[name] = _class(name, record, make)
    return found


test_classes.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def _always(value: Any) -> Callable[[Path], contextlib.AbstractContextManager[Any]]:  # noqa: ANN401 - of the kit
    return lambda _folder: contextlib.nullcontext(value)


def _class(name: str, record: Record, make: Callable[[Path], contextlib.AbstractContextManager[Any]]) -> type:
    """Return a test class whose fixture yields what `make` makes."""
    kit = KITS[type(record)]
    tests = kit.tests
    if isinstance(record, ConverterType | QuantizerType) and record.streams:
        tests = StreamingConformance

    def example(self: Any, tmp_path: Path) -> Iterator[Any]:  # noqa: ANN401, ARG001 - a fixture of any class
        folder = tmp_path / "example"
        folder.mkdir()
        with make(folder) as value:
            if not isinstance(value, kit.value):
                raise TypeError(f"the example of {record.name!r} gave {type(value).__name__}, not {kit.value.__name__}")
            yield value

    members: dict[str, Any] = {kit.fixture: pytest.fixture(example), "__doc__": f"{record.name}: {record.summary}"}
    if isinstance(record, CommandType):
        members["name"] = record.name
    if isinstance(record, BackendType):
        members |= _of_backend(record)
    return type(name, (tests,), members)


def _of_backend(record: BackendType) -> dict[str, Any]:
    """Return the class members that pass an example on to the kit of backends."""

    def prepared(self: Any, example: BackendExample) -> None:  # noqa: ANN401 - a fixture of the class
        self.probe, self.needs_device, self.options = example.probe, example.needs_device, example.options

    def model(self: Any, example: BackendExample) -> Path | None:  # noqa: ANN401, ARG001 - as above
        return example.model

    def executable(self: Any, example: BackendExample) -> Path | None:  # noqa: ANN401, ARG001 - as above
        return example.executable

    return {
        "name": record.name,
        "_prepared": pytest.fixture(autouse=True)(prepared),
        "model": pytest.fixture(model),
        "executable": pytest.fixture(executable),
    }
