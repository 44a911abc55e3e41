"""Executors: what they decide, and that a build is the same whatever they decide, also where one dies midway."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from attrs import define, field, frozen
from tests.pipeline.test_streaming import PLAIN, RECIPE
from tests.plugins.test_join import split

from lftool.errors import FetchError
from lftool.models.digest import Artifact
from lftool.ops.build import BuildOptions, build_project
from lftool.ops.lock import lock_project
from lftool.ops.project import find_project, open_ports
from lftool.pipeline.graph.executor import Threads, Work
from lftool.pipeline.graph.steps import Graph, Product, Step
from lftool.store.cas import MissingBlobError
from lftool.testing import tiny_gguf

if TYPE_CHECKING:
    from lftool.api import Event
    from lftool.pipeline.ports import Ports


class Died(BaseException):
    """The machine lost power, as far as an executor can tell."""


@frozen(kw_only=True)
class OneByOne:
    """Does steps one after the other, in a random order of those that are possible; ends after some of them."""

    seed: int
    steps: int = 1000

    def run(self, work: Work) -> None:
        choice, left = random.Random(self.seed), self.steps
        while ready := work.ready():
            if not left:
                raise Died
            left -= 1
            step = choice.choice(ready)
            work.begin(step)
            work.do(step, threads=1)


@contextmanager
def inside(folder) -> Iterator[Callable[[], Ports]]:
    """Work on a project in this process: yields what opens its ports."""
    before, here = dict(os.environ), Path.cwd()
    os.environ.clear()
    os.environ.update(folder.environment)
    os.chdir(folder.root)
    try:
        yield lambda: open_ports(find_project(None), threads=2)
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)


def bundles(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder.root / "dist").glob("*"))}


def recorded(folder) -> set[str]:
    """All actions that were done, remembered answers among them."""
    return {"".join(path.parts[-2:]) for path in (folder.cache / "ac-v2").glob("*/*")}


@pytest.fixture
def split_project(project, tmp_path):
    """A project whose weights come in parts; two targets are quantised."""
    parts = split(tiny_gguf(tmp_path / "whole.gguf", layers=2), tmp_path / "parts", 3)
    shutil.copytree(parts[0].parent, project.root / "parts")
    project.write_recipe(RECIPE)
    return project


@pytest.mark.parametrize(
    ("recipe", "seeds"),
    [
        pytest.param(RECIPE + PLAIN, range(1), id="stored"),
        pytest.param(RECIPE, range(8), id="streamed", marks=pytest.mark.slow),
        pytest.param(RECIPE + PLAIN, range(1, 8), id="stored, more orders", marks=pytest.mark.slow),
    ],
)
def test_bundles_and_locks_are_the_same_whatever_the_order_and_wherever_it_ends(split_project, recipe, seeds) -> None:
    split_project.write_recipe(recipe)
    split_project.run("lock").assert_success()
    split_project.run("build", "--no-sign").assert_success()
    expected, lock = bundles(split_project), split_project.lock.read_bytes()
    for seed in seeds:
        shutil.rmtree(split_project.home / "cache")
        shutil.rmtree(split_project.root / "dist")
        split_project.lock.unlink()
        with inside(split_project) as ports:
            project = find_project(None)
            with pytest.raises(Died):
                lock_project(project, ports(), executor=OneByOne(seed=seed, steps=seed % 4))
            assert not split_project.lock.exists()
            lock_project(project, ports(), executor=OneByOne(seed=seed))
            output = BuildOptions(
                sign=False, output=split_project.root / "dist", executor=OneByOne(seed=seed, steps=seed % 4)
            )
            with pytest.raises(Died):
                build_project(project, ports(), output)
            assert bundles(split_project).items() <= expected.items()
            whole = BuildOptions(sign=False, output=split_project.root / "dist", executor=OneByOne(seed=seed))
            build_project(project, ports(), whole)
        assert bundles(split_project) == expected
        assert split_project.lock.read_bytes() == lock


@pytest.mark.slow
def test_a_lock_then_a_build_does_what_a_build_from_an_empty_cache_does(split_project) -> None:
    known = recorded(split_project)  # of tools, which the fixture knows of
    split_project.write_recipe(RECIPE + PLAIN)
    split_project.run("lock").assert_success()
    split_project.run("build", "--no-sign").assert_success()
    stages = actions_of(split_project)
    locked_then_built = recorded(split_project) - known
    shutil.rmtree(split_project.home / "cache")
    shutil.rmtree(split_project.root / "dist")
    split_project.run("build", "--no-sign", "--locked").assert_success()
    assert stages <= recorded(split_project)
    assert recorded(split_project) - known == locked_then_built  # no source here is resolved by fetching it


def actions_of(folder) -> set[str]:
    """The actions of convert and quantize stages that the lock names."""
    lock = find_project(folder.root).require_lock()
    quantizes = {target.quantize.action.hex for target in lock.targets.values() if target.quantize is not None}
    return quantizes | {stage.action.hex for stage in lock.convert.values()}


@frozen(kw_only=True)
class Make(Step):
    """A step of a made-up graph."""

    stage = "make"
    share = "part"

    made: str
    of: tuple[str, ...] = ()
    blob: Artifact | None = None

    @property
    def reads(self):
        return tuple(Product("file", name) for name in self.of)

    @property
    def makes(self):
        return (Product("file", self.made),)

    @property
    def output(self):
        return self.blob

    @property
    def name(self):
        return self.made

    @property
    def detail(self):
        return self.made


@frozen(kw_only=True)
class Alone(Make):
    stage = "alone"
    share = "machine"


@frozen(kw_only=True)
class Far(Make):
    share = "network"


@define
class Fake:
    """A performer that writes down what it does; `act` may fail, or wait."""

    act: Callable[[Step], object] = lambda _: None
    memory: int = 0
    done: list[tuple[str, int]] = field(factory=list)

    def perform(self, step, made, threads):
        self.act(step)
        self.done.append((step.name, threads))
        return dict.fromkeys(step.makes, step.name)

    def memory_bytes(self, step, made):
        return self.memory


@pytest.fixture
def ports(project) -> Ports:
    with inside(project):
        return open_ports(None, threads=4)


def work_of(performer, ports, *steps, whole=()) -> Work:
    graph = Graph(steps=steps)
    return Work(graph=graph, whole=Graph(steps=tuple(whole)) if whole else graph, performer=performer, ports=ports)


def test_steps_are_done_after_those_they_need(ports) -> None:
    fake = Fake()
    steps = (Make(made="a"), Make(made="b", of=("a",)), Make(made="c", of=("a", "b")))
    Threads().run(work_of(fake, ports, *steps))
    assert [name for name, _ in fake.done] == ["a", "b", "c"]


def test_alike_steps_share_the_threads_and_others_have_all(ports) -> None:
    fake = Fake()
    Threads().run(work_of(fake, ports, Alone(made="a"), Make(made="b"), Make(made="c")))
    assert sorted(fake.done) == [("a", 4), ("b", 2), ("c", 2)]


@define
class Together:
    """Counts how many steps are being done at once."""

    now: int = 0
    most: int = 0
    lock: threading.Lock = field(factory=threading.Lock)
    wait: float = 0.05

    def __call__(self, _: Step) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(self.wait)
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(
    ("kind", "count", "most"),
    [(Make, 4, 4), (Make, 9, 4), (Alone, 3, 1), (Far, 20, 8)],
    ids=["parts", "more parts than threads", "what needs the machine", "what comes from far"],
)
def test_no_more_is_done_at_once_than_there_is_room_for(ports, kind, count, most) -> None:
    together = Together()
    ports.transfer = attrs.evolve(ports.transfer, files=8)
    Threads().run(work_of(Fake(act=together), ports, *(kind(made=str(number)) for number in range(count))))
    assert together.most == most


def test_a_step_waits_for_the_memory_that_others_hold(ports) -> None:
    together = Together()
    work = work_of(Fake(act=together, memory=60), ports, *(Make(made=str(number)) for number in range(3)))
    Threads(memory=100).run(work)
    assert together.most == 1


def test_a_step_that_takes_more_memory_than_there_is_runs_alone(ports) -> None:
    fake = Fake(memory=1000)
    Threads(memory=100).run(work_of(fake, ports, Make(made="a"), Make(made="b")))
    assert sorted(name for name, _ in fake.done) == ["a", "b"]


def test_files_come_while_processors_are_busy(ports) -> None:
    met = threading.Barrier(2, timeout=10)
    Threads().run(work_of(Fake(act=lambda _: met.wait()), ports, Alone(made="a"), Far(made="b")))


def test_the_first_failure_ends_the_run_and_nothing_else_begins(ports) -> None:
    events: list[Event] = []
    ports.emit = events.append

    def fail(step: Step) -> None:
        raise FetchError(f"no {step.name}")

    fake = Fake(act=fail)
    with pytest.raises(FetchError, match="no a"):
        Threads().run(work_of(fake, ports, Alone(made="a"), Alone(made="b", of=("a",))))
    assert fake.done == []
    assert ports.cancelled.is_set()
    assert [type(event).__name__ for event in events] == ["WorkStopped"]


LOST = Artifact.of(b"lost")


def test_a_lost_blob_is_made_again_by_the_step_that_makes_it_and_the_reader_goes_on(ports) -> None:
    gone = [True]

    def act(step: Step) -> None:
        if step.name == "source":
            gone[0] = False
        if step.name == "reader" and gone[0]:
            raise MissingBlobError(LOST, "lost")

    fake = Fake(act=act)
    reader = Make(made="reader", of=("source",))
    whole = (Make(made="source", blob=LOST), reader)
    Threads().run(work_of(fake, ports, reader, whole=whole))
    assert [name for name, _ in fake.done] == ["source", "reader"]


def test_what_a_lost_blob_is_made_of_may_be_lost_too(ports) -> None:
    there: set[str] = set()
    other = Artifact.of(b"other")

    def act(step: Step) -> None:
        for name, artifact in (("one", LOST), ("two", other)):
            if name in step.of and name not in there:
                raise MissingBlobError(artifact, "lost")
        there.add(step.name)

    fake = Fake(act=act)
    whole = (
        Make(made="one", blob=LOST),
        Make(made="two", of=("one",), blob=other),
        Make(made="three", of=("two",)),
    )
    Threads().run(work_of(fake, ports, whole[2], whole=whole))
    assert [name for name, _ in fake.done] == ["one", "two", "three"]


@pytest.mark.parametrize("whole", [(Make(made="source", blob=LOST),), ()], ids=["made again", "nobody makes it"])
def test_a_blob_that_stays_lost_is_an_error_and_no_circle(ports, whole) -> None:
    def act(step: Step) -> None:
        if step.name == "reader":
            raise MissingBlobError(LOST, "it is lost")

    reader = Make(made="reader", of=("source",))
    with pytest.raises(MissingBlobError, match="it is lost"):
        Threads().run(work_of(Fake(act=act), ports, reader, whole=(*whole, reader)))


def test_a_step_that_needs_what_nobody_makes_any_more_is_ready(ports) -> None:
    work = work_of(Fake(), ports, Make(made="b", of=("a",)))
    assert [step.name for step in work.ready()] == ["b"]
