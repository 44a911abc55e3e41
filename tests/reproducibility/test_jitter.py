"""The example's bundles are the same bytes whatever surrounds the build.

Every variant runs in fresh processes with an empty cache, once for `lock` and once for `build`; a stage that was served
from a cache fails the test. Comparison goes member by member first, so that a failure names the culprit.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

FAKETIME = next(
    (
        path
        for folder in ("/usr/lib", "/usr/local/lib")
        for path in sorted(Path(folder).glob("**/faketime/libfaketimeMT.so.1"))
    ),
    None,
)


@frozen(kw_only=True)
class Surroundings:
    """What a build must not depend on."""

    variables: dict[str, str]
    umask: int
    depth: int
    reverse: bool
    jobs: int
    times: int
    home: str


PLAIN = Surroundings(
    variables={"TZ": "UTC", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
    umask=0o022,
    depth=0,
    reverse=False,
    jobs=2,
    times=1_700_000_000,
    home="home",
)
VARIANTS = {
    "far away, in another order, one thread": Surroundings(
        variables={"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "1"},
        umask=0o077,
        depth=9,
        reverse=True,
        jobs=1,
        times=0,
        home="a home with spaces and ümlauts",
    ),
    "another zone and locale, a wide umask": Surroundings(
        variables={"TZ": "America/St_Johns", "LC_ALL": "POSIX", "LANG": "de_DE.ISO-8859-1", "PYTHONHASHSEED": "4242"},
        umask=0o000,
        depth=3,
        reverse=False,
        jobs=2,
        times=4_000_000_000,
        home="h",
    ),
    "no locale and no zone at all": Surroundings(
        variables={"TZ": "", "LC_ALL": "", "LANG": "", "PYTHONHASHSEED": "random", "SOURCE_DATE_EPOCH": "86400"},
        umask=0o027,
        depth=1,
        reverse=True,
        jobs=1,
        times=1_234_567_890,
        home="x" * 100,
    ),
}


@frozen(kw_only=True)
class Built:
    """The lock before and after a build, and every bundle by name."""

    lock: bytes
    recorded: bytes
    bundles: dict[str, Path]
    said: str


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> str:
    """A P-256 key, made once, as PEM."""
    folder = tmp_path_factory.mktemp("key")
    subprocess.run([sys.executable, "-m", "lftool.cli.entry", "keygen", "-o", folder / "release"], check=True)
    return (folder / "release.key").read_text()


def lftool(arguments: list[str], project: Path, environment: dict[str, str], umask: int) -> str:
    """Run a command in a fresh process and return what it said on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "lftool.cli.entry", *arguments],
        cwd=project,
        env=environment,
        umask=umask,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def build(
    example: Path,
    folder: Path,
    key: str,
    around: Surroundings,
    extra: dict[str, str] | None = None,
    *,
    converted: bool = False,
) -> Built:
    """Copy the example below `folder`, lock and build it in the given surroundings.

    It starts from the GGUF that its conversion makes, unless `converted`: conversion fetches an archive, and no server
    proves who it is to a clock that is years off.
    """
    project = folder.joinpath("project", *["deeper"] * around.depth)
    project.mkdir(parents=True)
    start = "tiny-story" if converted else "tiny-story-f16.gguf"
    for name in sorted(["held-out.txt", "lftool.toml", start, "unrelated"], reverse=around.reverse):
        if name == "lftool.toml":
            text = (example / name).read_text()
            if not converted:
                text = re.sub("intermediate.*\n", "", text).replace('"file:tiny-story"', f'"file:{start}"')
            (project / name).write_text(text.replace("file:demo.key", "env:RELEASE_KEY"))
        elif name == "unrelated":
            (project / name).write_text("nothing of this is asked for")
        elif (example / name).is_dir():
            shutil.copytree(example / name, project / name)
        else:
            shutil.copyfile(example / name, project / name)
        os.utime(project / name, (around.times, around.times))
    home = folder / around.home
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "RELEASE_KEY": key,
        **around.variables,
        **(extra or {}),
    }
    said = lftool(["lock"], project, {**environment, "XDG_CACHE_HOME": str(folder / "cache-lock")}, around.umask)
    lock = (project / "lftool.lock").read_bytes()
    said += lftool(
        ["build", "-j", str(around.jobs)],
        project,
        {**environment, "XDG_CACHE_HOME": str(folder / "cache-build")},
        around.umask,
    )
    recorded = (project / "lftool.lock").read_bytes()
    bundles = {path.name: path for path in (project / "dist").iterdir()}
    return Built(lock=lock, recorded=recorded, bundles=bundles, said=said)


def members(path: Path) -> list[tuple[str, int, str]]:
    """Name, size and sha256 of every member in the order of the file, the prefix first."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        start = min(info.header_offset for info in infos)
        prefix = path.read_bytes()[:start]
        found = [("(prefix)", start, hashlib.sha256(prefix).hexdigest())]
        for info in infos:
            data = archive.read(info)
            found.append((info.filename, info.file_size, hashlib.sha256(data).hexdigest()))
    return found


def assert_nothing_came_from_a_cache(built: Built) -> None:
    lines = built.said.splitlines()
    assert [line for line in lines if "cached" in line] == []
    done = sorted(tuple(line.split()[:2]) for line in lines if line.split()[0] in {"quantize", "pack", "sign"})
    assert done == [
        *[("pack", target) for target in ("f16", "q4", "q8")],
        *[("quantize", target) for target in ("q4", "q8")],
        *[("sign", target) for target in ("f16", "q4", "q8")],
    ]


def assert_same(expected: Built, got: Built) -> None:
    assert got.bundles.keys() == expected.bundles.keys()
    for name, path in sorted(expected.bundles.items()):
        assert members(got.bundles[name]) == members(path), name
    for name, path in sorted(expected.bundles.items()):
        assert got.bundles[name].read_bytes() == path.read_bytes(), name
        assert got.bundles[name].stat().st_mode == path.stat().st_mode, name
    assert got.lock.decode() == expected.lock.decode()
    assert got.recorded.decode() == expected.recorded.decode()


@pytest.fixture(scope="module")
def example(request) -> Path:
    """The committed example."""
    return request.getfixturevalue("repository") / "examples" / "tiny-story"


@pytest.fixture(scope="module")
def reference(example, key, tmp_path_factory) -> Built:
    """The example, built in plain surroundings."""
    return build(example, tmp_path_factory.mktemp("reference"), key, PLAIN)


@pytest.mark.slow
def test_the_reference_was_made_and_not_found(reference):
    assert_nothing_came_from_a_cache(reference)
    assert sorted(reference.bundles) == [
        "tiny-story-1.0.0-f16.gguf",
        "tiny-story-1.0.0-q4.llamafile",
        "tiny-story-1.0.0-q8.gguf",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_surroundings_change_no_byte(reference, example, key, tmp_path, variant):
    got = build(example, tmp_path, key, VARIANTS[variant])

    assert_nothing_came_from_a_cache(got)
    assert_same(reference, got)


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime (apt-get install faketime)")
@pytest.mark.parametrize(
    "clock", ["@2037-12-31 23:59:58", pytest.param("@1980-01-01 00:00:00", marks=pytest.mark.slow)]
)
def test_the_clock_changes_no_byte(reference, example, key, tmp_path, clock):
    faked: dict[str, Any] = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    got = build(example, tmp_path, key, PLAIN, faked)

    assert_nothing_came_from_a_cache(got)
    assert_same(reference, got)


def without_providers(lock: bytes) -> dict[str, Any]:
    plain = tomllib.loads(lock.decode())
    for tool in plain["tools"].values():
        del tool["providers"]
    return plain


# `lftool lock --check` of the example and the tutorial are quick.
@pytest.mark.slow
def test_the_committed_lock_is_the_one_that_locking_and_building_gives(example, key, tmp_path):
    """Versions of the tools that were asked inform: another Python has another NumPy, and the same bytes."""
    made = build(example, tmp_path, key, PLAIN, converted=True)
    assert without_providers(made.recorded) == without_providers((example / "lftool.lock").read_bytes())


# The committed lock is also compared with the one that locking gives.
@pytest.mark.slow
def test_the_committed_example_builds_under_its_committed_lock(example, key, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(example, project, ignore=shutil.ignore_patterns("dist", "train"))
    recipe = project / "lftool.toml"
    recipe.write_text(recipe.read_text().replace("file:demo.key", "env:RELEASE_KEY"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "RELEASE_KEY": key,
    }

    said = lftool(["build", "--locked"], project, environment, 0o022)

    assert "cached" not in said
    assert (project / "lftool.lock").read_bytes() == (example / "lftool.lock").read_bytes()
