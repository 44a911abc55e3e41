"""Tests that every observer must pass. Inherit the class, name your observer, and run pytest.

    class TestMine(ObserverConformance):
        @pytest.fixture
        def observer(self):
            return ObserverExample(name="mine")

In an example of `lftool_examples`, `make` gives the same value.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from attrs import Factory, frozen

from lftool.api import BytesFetched, Notice, ObserverType, StageFinished, StageStarted, TensorDone, WorkStopped
from lftool.errors import UsageError
from lftool.host.given_options import factory_arguments
from lftool.testing.bundle_recipes import built, toml, write_small_recipe

if TYPE_CHECKING:
    from lftool.api import Event, Observer
    from lftool.testing.project_folder import ProjectFolder

# One of each event, with and without optional fields.
EVENTS: tuple[Event, ...] = (
    StageStarted(stage="fetch", target="base", detail="model.gguf"),
    BytesFetched(source="base", path="model.gguf", done=1, total=None),
    BytesFetched(source="base", path="model.gguf", done=2, total=2),
    StageFinished(stage="fetch", target="base", seconds=0.5, detail="2 B"),
    StageStarted(stage="quantize", target="q4", detail="Q4_K_M", cached=True),
    StageFinished(stage="quantize", target="q4", seconds=0.0, detail="Q4_K_M", cached=True),
    TensorDone(stage="quantize", target="q4", tensor="output.weight", index=1, count=2),
    TensorDone(stage="quantize", target="q4", tensor="", index=2, count=2, done=10, total=10),
    Notice(text="something to know"),
    Notice(text="something to heed", warning=True),
    WorkStopped(),
)


@frozen(kw_only=True)
class ObserverExample:
    """An observer under test.

    Attributes:
        name: Name of the record.
        options: Its options in the user's configuration.
    """

    name: str
    options: Mapping[str, Any] = Factory(dict)


class ObserverConformance:
    """Tests of an observer."""

    @pytest.fixture
    def observer(self) -> ObserverExample:
        """Override: return the observer to test."""
        raise NotImplementedError

    @pytest.fixture
    def observing(self, project: ProjectFolder, observer: ObserverExample) -> Observer:
        """The observer under test."""
        record = project.registry().get(ObserverType, observer.name).record
        arguments = factory_arguments(record, observer.options, "observer", f"observers.{observer.name}", UsageError)
        made: Observer = record.factory(*arguments)
        return made

    def test_it_takes_every_event(self, observing: Observer) -> None:
        """An observer that raises is dropped for the rest of a build."""
        for event in EVENTS:
            observing(event)

    def test_it_takes_events_from_several_threads(self, observing: Observer) -> None:
        """Stages of one build run at the same time."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(observing, EVENTS * 20))

    def test_a_build_goes_on_with_it(self, project: ProjectFolder, observer: ObserverExample) -> None:
        """No failure of a plugin is reported."""
        write_small_recipe(project, {"layout": "gguf"})
        if observer.options:
            table = "".join(f"{key} = {toml(value)}\n" for key, value in observer.options.items())
            project.write_configuration(f'[observers."{observer.name}"]\n{table}')
        built(project)

        done = project.spawn("build").assert_success()

        assert "failed:" not in done.err
