"""What lftool knows of its tools once it has used them: fingerprints, for the caches of projects.

A tool is fingerprinted once on a machine: it transforms a fixed input, and the result is compared with the lock. Nearly
every test has a cache of its own, and fingerprints are nine tenths of the time that locking a tiny model takes there.
Tests of fingerprints and of the cache itself begin with an empty one: they override the fixture `known_tools`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tomllib
from pathlib import Path

from lftool.testing import ProjectFolder

STORY = Path(__file__).resolve().parent.parent / "examples" / "tiny-story" / "tiny-story"
RECIPE = """\
[bundle]
name = "known"
version = "1"
[sources.base]
uri = "file:tiny-story"
[model]
weights = "base"
intermediate = "f16"
[targets.q4]
quantize = "Q4_K_M"
layout = "gguf"
[targets.q8]
quantize = "Q8_0"
layout = "gguf"
[targets.llama-q4]
quantize = "Q4_K_M"
quantizer = "llama.cpp"
layout = "gguf"
[targets.llama-q8]
quantize = "Q8_0"
quantizer = "llama.cpp"
layout = "gguf"
"""
KINDS = {"fingerprint", "members"}  # of records: a tool's output on the fixed input; the scripts in an archive


def learn(shared: Path) -> Path:
    """Return a folder with the records and their blobs; made once in a run, by the first worker that asks.

    Args:
        shared: A folder of all workers of this run.
    """
    folder = shared / "known-tools"
    folder.mkdir(exist_ok=True)
    with (folder / "mutex").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            project = ProjectFolder(root=folder / "project", home=folder / "home")
            project.root.mkdir()
            project.home.mkdir()
            shutil.copytree(STORY, project.root / "tiny-story")
            project.write_recipe(RECIPE)
            project.run("lock").assert_success()
            project.write_recipe(RECIPE.replace('intermediate = "f16"\n', ""))
            project.run("lock").assert_success()
            for record in sorted((project.cache / "ac-v2").glob("*/*")):
                outputs = json.loads(record.read_bytes())
                if outputs.keys() <= KINDS:
                    digests = [output["sha256"] for output in outputs.values()]
                    for path in (record, *(project.cache / "cas-v1" / name[:2] / name[2:] for name in digests)):
                        place = folder / "known" / path.relative_to(project.cache)
                        place.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(path, place)
            (archive,) = tomllib.loads(project.lock.read_text())["tools"]["hf-gguf/1"]["archive"]["files"]
            blob = Path("cas-v1", archive["sha256"][:2], archive["sha256"][2:])
            (folder / "archive" / blob).parent.mkdir(parents=True)
            shutil.copy2(project.cache / blob, folder / "archive" / blob)
            (folder / "ready").touch()
    return folder


def give(folder: Path, home: Path, *, archive: bool = True) -> None:
    """Put what is known of tools into the cache of a project.

    Args:
        folder: From `learn`.
        home: The project's.
        archive: Whether the sources of the conversion scripts are there, 76 MB. They are linked: nothing may write to that blob.
    """
    cache = home / "cache" / "lftool"
    shutil.copytree(folder / "known", cache, dirs_exist_ok=True)
    if archive:
        shutil.copytree(folder / "archive", cache, dirs_exist_ok=True, copy_function=link)


def link(source: str, place: str) -> None:
    """Link a file, or copy it where that cannot be done; for `shutil.copytree`."""
    try:
        os.link(source, place)
    except FileExistsError:
        pass
    except OSError:
        shutil.copy2(source, place)
