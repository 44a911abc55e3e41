"""Builds at the same time, in processes of their own: all succeed, all make the same, none loses another's outputs."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING

from lftool.models.digest import Digest
from lftool.store.locking import advisory_lock
from lftool.testing.plugin import PLAIN_RECIPE

if TYPE_CHECKING:
    import subprocess

    from lftool.testing import ProjectFolder


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=120)
    return (process.returncode, "" if process.returncode == 0 else out + err)


def outputs(project: ProjectFolder) -> dict[str, str | None]:
    """The sha256 of U of each target in the lock."""
    lock = tomllib.loads(project.lock.read_text())
    return {name: target["pack"].get("sha256") for name, target in lock["targets"].items()}


def undisturbed(project: ProjectFolder, copy_of, tmp_path, tree, *targets: str) -> dict[str, bytes]:
    alone = copy_of(project, tmp_path / "alone")
    for target in targets or ("",):
        alone.run("build", *filter(None, [target])).assert_success()
    return tree(alone.root)


def test_four_builds_of_one_plain_target_from_nothing_make_the_same(start, plain_project, copy_of, tmp_path, tree):
    plain_project.run("lock").assert_success()
    expected = undisturbed(plain_project, copy_of, tmp_path, tree)
    started = [start(plain_project, "build") for _ in range(4)]
    assert [finish(process) for process in started] == [(0, "")] * 4
    assert tree(plain_project.root) == expected


def test_three_builds_of_one_quantised_target_make_the_same(start, quantized_project, copy_of, tmp_path, tree):
    expected = undisturbed(quantized_project, copy_of, tmp_path, tree)
    started = [start(quantized_project, "build") for _ in range(3)]
    assert [finish(process) for process in started] == [(0, "")] * 3
    assert tree(quantized_project.root) == expected


def test_builds_into_folders_of_their_own_make_the_same_bundle(start, plain_project, tmp_path):
    plain_project.run("lock").assert_success()
    folders = [tmp_path / name for name in ("one", "two", "three")]
    started = [start(plain_project, "build", "-o", folder) for folder in folders]
    assert [finish(process) for process in started] == [(0, "")] * 3
    assert len({(folder / "tiny-1-plain.gguf").read_bytes() for folder in folders}) == 1


def test_four_locks_at_the_same_time_write_one_lock(start, plain_project, copy_of, tmp_path, tree):
    alone = copy_of(plain_project, tmp_path / "alone")
    alone.run("lock").assert_success()
    started = [start(plain_project, "lock") for _ in range(4)]
    assert [finish(process) for process in started] == [(0, "")] * 4
    assert tree(plain_project.root) == tree(alone.root)


def test_builds_of_different_targets_merge_into_one_lock(start, plain_project, copy_of, tmp_path, tree):
    """All read the lock before the first one may write it: the one that writes last must not undo the others."""
    names = ("app", "more", "plain")
    plain_project.write_recipe(
        PLAIN_RECIPE + '[targets.app]\nlayout = "llamafile"\n[targets.more]\nlayout = "llamafile"\n'
    )
    plain_project.run("lock").assert_success()
    assert outputs(plain_project) == dict.fromkeys(names)
    expected = undisturbed(plain_project, copy_of, tmp_path, tree, *names)

    key = Digest.of(os.fsencode(plain_project.lock.resolve())).hex
    with advisory_lock(plain_project.cache / "locks" / f"project-{key}") as held:
        assert held
        started = [start(plain_project, "build", name) for name in names]
        for process in started:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert any("pack" in line for line in lines)  # packed, so it has read the lock without any output
    assert [finish(process) for process in started] == [(0, "")] * 3
    assert tree(plain_project.root) == expected
    assert None not in outputs(plain_project).values()


def test_a_build_succeeds_while_another_was_killed_in_the_middle(start, plain_project, copy_of, tmp_path, tree):
    plain_project.run("lock").assert_success()
    expected = undisturbed(plain_project, copy_of, tmp_path, tree)
    started = [
        start(plain_project, "build", env={"LFTOOL_FAILPOINT": "blob.before-rename=kill"}),
        start(plain_project, "build", env={"LFTOOL_FAILPOINT": "bundle.before-rename=kill"}),
        start(plain_project, "build"),
    ]
    assert [finish(process)[0] for process in started][-1] == 0
    plain_project.run("build").assert_success()
    assert tree(plain_project.root) == expected


def test_garbage_collection_beside_a_build_takes_nothing_from_it(start, plain_project, copy_of, tmp_path, tree):
    plain_project.run("lock").assert_success()
    expected = undisturbed(plain_project, copy_of, tmp_path, tree)
    started = [
        start(plain_project, "build"),
        start(plain_project, "cache", "gc", "--max-size", "0"),
        start(plain_project, "build"),
        start(plain_project, "cache", "gc", "--max-size", "0"),
    ]
    assert [finish(process) for process in started] == [(0, "")] * 4
    assert tree(plain_project.root) == expected
