"""Tests that every source must pass. Inherit the class, serve some files, and run pytest.

    class TestMine(SourceConformance):
        @pytest.fixture
        def served(self):
            files = {"model.gguf": large_model()}
            with FileServer(files={"/model.gguf": large_model()}) as server, FaultProxy(server.url) as proxy:
                yield Served(uri=f"mine:{proxy.url}/model.gguf", files=files, proxy=proxy)

A source that unpacks archives serves their contents, and sets `upstream` to what passes the proxy. A source that reads
files of the project puts them in `beside` and has no proxy. The tests with server faults are then skipped.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import Factory, frozen

from lftool.bundle.bundle_files import opened
from lftool.models.digest import Digest
from lftool.testing import faults
from lftool.testing.faults import FaultProxy
from lftool.testing.models import tiny_gguf

if TYPE_CHECKING:
    from lftool.testing.faults import Fault
    from lftool.testing.project_folder import Outcome, ProjectFolder

WIDTH = 768  # about 11 MB: three chunks
MANY = 1000
WRONG = 4


def _any(fault: Fault) -> Callable[[bytes], Fault]:
    """A fault that does not depend on the file."""
    return lambda _data: fault


# Name: the fault, given the file; how often; the exit status of a build that meets it.
FAULTS: dict[str, tuple[Callable[[bytes], Fault], int, int]] = {
    "a short body": (_any(faults.cut_short), 2, 0),
    "a body that goes on": (_any(faults.go_on), 1, 0),
    "a length that is wrong": (_any(faults.announce_less), 1, 0),
    "the whole instead of a part": (faults.ignore_range, MANY, 0),
    "another part": (faults.send_another_range, MANY, 0),
    "another version, once": (_any(faults.change_version), 1, 0),
    "another version for good": (_any(faults.change_version), MANY, WRONG),
    "a page of HTML, twice": (_any(faults.answer_with_html), 2, 0),
    "a page of HTML for good": (_any(faults.answer_with_html), MANY, 1),
    "silence": (_any(faults.stall), 1, 0),
    "a reset": (_any(faults.reset), 2, 0),
    "too many requests": (_any(faults.answer(429, retry_after="0")), 2, 0),
    "an overloaded server": (_any(faults.answer(503)), 2, 0),
    "a server that stays overloaded": (_any(faults.answer(503)), MANY, 1),
    "one wrong bit, once": (_any(faults.corrupt), 1, 0),
    "wrong bits for good": (_any(faults.corrupt), MANY, WRONG),
    "a token that has expired": (_any(faults.answer(401)), MANY, 1),
}


@frozen(kw_only=True)
class Served:
    """What a source serves during a test.

    Attributes:
        uri: URI in the recipe.
        files: Path within the source to content; one of them is `model.gguf`, made by `large_model`.
        options: Lines of the recipe's `[sources.base]` besides `uri`.
        environment: Environment variables for lftool.
        proxy: The proxy that every byte passes. Without one, the fault matrix is skipped.
        fault_path: Part of the request path of `model.gguf`.
        beside: Path beside the recipe to content, for a source that reads files of the project.
        upstream: What the server sends for `model.gguf` if that is not the file itself: the archive that contains it.
    """

    uri: str
    files: Mapping[str, bytes]
    options: str = ""
    environment: Mapping[str, str] = Factory(dict)
    proxy: FaultProxy | None = None
    fault_path: str = ""
    beside: Mapping[str, bytes] = Factory(dict)
    upstream: bytes | None = None


@cache
def large_model() -> bytes:
    """Return a GGUF of several chunks."""
    with tempfile.TemporaryDirectory() as folder:
        return tiny_gguf(Path(folder) / "large.gguf", width=WIDTH).read_bytes()


RECIPE = """\
[bundle]
name = "conforming"
version = "1"
[sources.base]
uri = "{uri}"
{options}
[model]
weights = "base"
[targets.plain]
layout = "gguf"
"""
BUNDLE = "dist/conforming-1-plain.gguf"


class SourceConformance:
    """Tests of a source through lftool itself; see the module's docstring.

    Attributes:
        spawns: Whether lftool runs in a process of its own each time: for a source whose library reads environment
            variables when it is imported.
    """

    spawns = False

    @pytest.fixture
    def served(self) -> Served:
        """Override: start the server, if any, and return what it serves."""
        raise NotImplementedError

    @pytest.fixture
    def source_project(self, project: ProjectFolder, served: Served) -> ProjectFolder:
        """A project whose recipe names the source."""
        project.write_recipe(RECIPE.format(uri=served.uri, options=served.options))
        for name, content in served.beside.items():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            (project.root / name).write_bytes(content)
        return project

    def lftool(self, project: ProjectFolder, served: Served, *arguments: str, **variables: str) -> Outcome:
        """Run lftool with what the source needs, few attempts and short timeouts."""
        quick = {"LFTOOL_STALL_SECONDS": "2", "LFTOOL_FETCH_ATTEMPTS": "4"}
        start = project.spawn if self.spawns else project.run
        return start(*arguments, env={**quick, **served.environment, **variables})

    def locked_files(self, project: ProjectFolder) -> list[dict[str, Any]]:
        """Return the files of the lock, without their revisions."""
        files = tomllib.loads(project.lock.read_text())["sources"]["base"]["files"]
        return [{key: file[key] for key in ("path", "size", "sha256")} for file in files]

    def test_the_lock_pins_every_file_with_size_and_digest(self, source_project: ProjectFolder, served: Served) -> None:
        """Size and sha256 of every file, sorted by path."""
        self.lftool(source_project, served, "lock").assert_success()

        assert self.locked_files(source_project) == [
            {"path": path, "size": len(data), "sha256": Digest.of(data).hex}
            for path, data in sorted(served.files.items())
        ]

    def test_locking_again_gives_the_same_lock(self, source_project: ProjectFolder, served: Served) -> None:
        """A revision is immutable: while nothing changes, an upgrade changes nothing."""
        self.lftool(source_project, served, "lock").assert_success()
        first = source_project.lock.read_bytes()

        self.lftool(source_project, served, "lock", "--upgrade").assert_success()

        assert source_project.lock.read_bytes() == first

    def test_an_unchanged_lock_asks_the_remote_nothing(self, source_project: ProjectFolder, served: Served) -> None:
        """`lftool lock` keeps a pin without a request."""
        self.lftool(source_project, served, "lock").assert_success()
        if served.proxy is None:
            pytest.skip("nothing counts requests")
        before = len(served.proxy.requests)

        self.lftool(source_project, served, "lock").assert_success()

        assert len(served.proxy.requests) == before

    def test_a_build_packs_the_very_bytes(self, source_project: ProjectFolder, served: Served) -> None:
        """From an empty cache, the bundle contains exactly the bytes that are served."""
        self.lftool(source_project, served, "lock").assert_success()

        self.lftool(source_project, served, "build", **self.empty_cache(source_project)).assert_success()

        assert self.packed(source_project) == served.files["model.gguf"]

    def test_offline_is_no_way_to_get_what_is_not_there(self, source_project: ProjectFolder, served: Served) -> None:
        """From an empty cache, only a `local` source can be built offline; from a full one, every source can."""
        self.lftool(source_project, served, "lock").assert_success()
        self.lftool(source_project, served, "fetch").assert_success()

        empty = self.lftool(source_project, served, "build", "--offline", **self.empty_cache(source_project))
        full = self.lftool(source_project, served, "build", "--offline")

        local = source_project.registry().source(served.uri.partition(":")[0]).record.local
        assert (empty.status, full.status) == (0 if local else 8, 0), (empty, full)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_fault_ends_in_the_right_bytes_or_in_none(
        self, source_project: ProjectFolder, served: Served, fault: str
    ) -> None:
        """Whatever happens: the right file, or a clear error with nothing stored, and the next try works."""
        if served.proxy is None:
            pytest.skip("nothing stands between source and server")
        break_it, times, status = FAULTS[fault]
        self.lftool(source_project, served, "lock").assert_success()
        sent = served.files["model.gguf"] if served.upstream is None else served.upstream
        served.proxy.inject(break_it(sent), times=times, path=served.fault_path)
        cache = self.empty_cache(source_project)

        met = self.lftool(source_project, served, "build", **cache)

        allowed = {status, 1} if status == WRONG and served.upstream is not None else {status}
        assert met.status in allowed, met  # a damaged archive may not even unpack
        assert "Traceback" not in met.err
        store = source_project.home / "another" / "lftool"
        if status:
            assert [path for path in store.glob("cas-v1/*/*") if path.stat().st_size > WIDTH * WIDTH] == []
            served.proxy.heal()
            self.lftool(source_project, served, "build", **cache).assert_success()
        assert self.packed(source_project) == served.files["model.gguf"]
        assert list(store.glob("partial-v1/*")) == []

    def empty_cache(self, project: ProjectFolder) -> dict[str, str]:
        """Return the environment variables for an empty cache."""
        return {"XDG_CACHE_HOME": str(project.home / "another")}

    def packed(self, project: ProjectFolder) -> bytes:
        """Return the weights in the bundle."""
        with opened(project.root / BUNDLE) as bundle:
            return bundle.read(0, bundle.manifest.prefix.size)
