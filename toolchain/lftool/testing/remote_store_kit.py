"""Tests that every remote store must pass: `class TestMine(RemoteStoreConformance)` with a `place` fixture.

The fixture serves an empty store. The tests run lftool itself: they push from one machine, and build on another that
has neither the sources nor a quantizer's result.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
from attrs import Factory, frozen

from lftool.models.digest import Digest
from lftool.testing.models import tiny_gguf

if TYPE_CHECKING:
    from lftool.testing.project_folder import Outcome, ProjectFolder

RECIPE = """\
[bundle]
name = "shared"
version = "1"
[sources.base]
uri = "file:files"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
"""
BUNDLE = "dist/shared-1-plain.gguf"


@frozen(kw_only=True)
class RemotePlace:
    """An empty remote store during a test.

    Attributes:
        url: What `LFTOOL_REMOTE_STORE` is set to.
        stored: Returns what is stored under a key, as stored; None if nothing is.
        environment: Additional environment variables for lftool.
    """

    url: str
    stored: Callable[[str], bytes | None]
    environment: Mapping[str, str] = Factory(dict)


def bf16_weights(count: int) -> bytes:
    """Return `count` weights in BF16 like those of a trained model: half of the bits repeat."""
    chance = random.Random(2026)  # noqa: S311 - data of a test
    return b"".join(
        bytes((chance.getrandbits(8), 0x3C + chance.choice((0, 0, 0, 1, 128, 128, 129)))) for _ in range(count)
    )


class RemoteStoreConformance:
    """Tests of a remote store through lftool itself; see the module's docstring."""

    @pytest.fixture
    def place(self) -> RemotePlace:
        """Override: start a store, and return where it is."""
        raise NotImplementedError

    @pytest.fixture
    def files(self) -> dict[str, bytes]:
        """The files that the project pins: one that compresses, one that does not, an empty one."""
        noise = random.Random(1).randbytes(300_000)  # noqa: S311 - data of a test
        return {"bf16.bin": bf16_weights(200_000), "noise.bin": noise, "none": b""}

    @pytest.fixture
    def pushing(self, project: ProjectFolder, files: Mapping[str, bytes]) -> ProjectFolder:
        """A built project; nothing of it has been pushed."""
        folder = project.root / "files"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        tiny_gguf(folder / "model.gguf")
        project.write_recipe(RECIPE)
        project.run("lock").assert_success()
        project.run("build").assert_success()
        return project

    def lftool(self, project: ProjectFolder, place: RemotePlace, *arguments: str, **variables: str) -> Outcome:
        """Run lftool with the remote store, few attempts and short timeouts."""
        quick = {"LFTOOL_STALL_SECONDS": "2", "LFTOOL_FETCH_ATTEMPTS": "2"}
        chosen = {**quick, **place.environment, "LFTOOL_REMOTE_STORE": place.url, **variables}
        return project.run(*arguments, env=chosen)

    def elsewhere(self, project: ProjectFolder) -> str:
        """Delete the sources, and return the empty cache of another machine."""
        for path in (project.root / "files").iterdir():
            path.unlink()
        return str(project.home / "elsewhere")

    def test_what_was_pushed_is_enough_to_build(self, pushing: ProjectFolder, place: RemotePlace) -> None:
        """The sources are gone, and the bundle is the same."""
        before = (pushing.root / BUNDLE).read_bytes()
        self.lftool(pushing, place, "cache", "push").assert_success()
        cache = self.elsewhere(pushing)
        (pushing.root / BUNDLE).unlink()

        self.lftool(pushing, place, "build", "--locked", XDG_CACHE_HOME=cache).assert_success()

        assert (pushing.root / BUNDLE).read_bytes() == before

    def test_pushing_again_sends_nothing(self, pushing: ProjectFolder, place: RemotePlace) -> None:
        """What is already there is not sent again."""
        first = self.lftool(pushing, place, "cache", "push", "--json").assert_success().json()
        again = self.lftool(pushing, place, "cache", "push", "--json").assert_success().json()

        assert (first["files"], first["present"]) == (4, 0)
        assert again == {"files": 0, "bytes": 0, "present": 4, "unbuilt": []}

    def test_only_what_gets_smaller_travels_compressed(
        self, pushing: ProjectFolder, place: RemotePlace, files: Mapping[str, bytes]
    ) -> None:
        """BF16 weights do; random bytes and the empty file are stored as they are."""
        import zstandard

        self.lftool(pushing, place, "cache", "push").assert_success()

        kept = {name: place.stored(f"cas/{Digest.of(data)}") for name, data in files.items()}
        packed = kept.pop("bf16.bin") or b""
        assert kept == {name: files[name] for name in ("noise.bin", "none")}
        assert len(packed) < 0.9 * len(files["bf16.bin"])
        assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == files["bf16.bin"]

    def test_every_file_comes_back_as_it_was(
        self, pushing: ProjectFolder, place: RemotePlace, files: Mapping[str, bytes]
    ) -> None:
        """Compressed or not, empty or not."""
        self.lftool(pushing, place, "cache", "push").assert_success()
        cache = self.elsewhere(pushing)

        self.lftool(pushing, place, "fetch", XDG_CACHE_HOME=cache).assert_success()

        self.lftool(pushing, place, "vendor", "v", "--json", XDG_CACHE_HOME=cache).assert_success()
        found = {path.read_bytes() for path in (pushing.root / "v").rglob("*") if path.is_file()}
        assert set(files.values()) < found

    def test_what_it_does_not_have_comes_from_the_source(self, pushing: ProjectFolder, place: RemotePlace) -> None:
        """An empty store changes nothing and causes no warning."""
        done = self.lftool(pushing, place, "fetch", XDG_CACHE_HOME=str(pushing.home / "elsewhere")).assert_success()

        assert "remote store" not in done.err
