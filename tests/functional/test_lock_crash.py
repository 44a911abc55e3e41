"""The lock survives what happens beside it: a killed writer of long file lists, a build that records outputs meanwhile."""

from __future__ import annotations

import signal

import pytest

from lftool.ops import lock as locking
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
"""


@pytest.fixture
def many(project):
    """A project whose source has more files than a lock lists itself; locked."""
    folder = project.root / "model"
    folder.mkdir()
    tiny_gguf(folder / "model.gguf", width=32)
    for number in range(1000):
        (folder / f"{number:04}.txt").write_text(str(number))
    project.write_recipe(RECIPE)
    project.run("lock").assert_success()
    return project


def lists(project) -> list[str]:
    return sorted(path.name for path in (project.root / "lftool.lock.d").iterdir())


@pytest.mark.slow
def test_a_signed_bundle_of_a_thousand_files_verifies(many):
    many.run("keygen", "-o", "release").assert_success()
    many.write_recipe(RECIPE + '[sign]\nkey = "file:release.key"\n')
    many.run("build", "--json").assert_success()

    outcome = many.run("verify", "--key", "release.pub", "dist/tiny-1-plain.gguf", "--full").assert_success()

    assert outcome.out.splitlines()[1] == "signed by release.pub, which you trust"


@pytest.mark.slow
@pytest.mark.parametrize("step", ["before-rename", "after-rename"])
def test_a_writer_killed_between_list_and_lock_leaves_the_old_lock_whole(many, step):
    before, file = many.lock.read_bytes(), many.root / "model" / "0000.txt"
    locked = file.read_bytes()
    file.write_text("changed")

    killed = many.spawn("lock", "--upgrade", "base", env={"LFTOOL_FAILPOINT": f"lock.{step}=kill"})

    assert killed.status == -signal.SIGKILL
    assert many.lock.read_bytes() == before
    file.write_bytes(locked)
    many.run("lock", "--check").assert_success()
    file.write_text("changed")
    many.run("lock", "--upgrade", "base").assert_success()
    assert len(lists(many)) == 1


@pytest.mark.slow
def test_a_list_that_no_lock_names_any_more_is_removed(many):
    first = lists(many)
    (many.root / "model" / "0000.txt").write_text("changed")

    many.run("lock", "--upgrade", "base").assert_success()

    assert (len(lists(many)), lists(many) == first) == (1, False)


def test_outputs_that_a_build_records_while_the_lock_is_made_are_kept(locked_project, monkeypatch):
    make_lock = locking.make_lock

    def slowly(*arguments):
        made = make_lock(*arguments)
        locked_project.run("build").assert_success()
        return made

    monkeypatch.setattr(locking, "make_lock", slowly)
    locked_project.run("lock").assert_success()
    monkeypatch.undo()

    locked_project.run("build", "--locked").assert_success()


def test_a_lock_without_the_pin_of_a_plugin_that_the_build_needs_is_refused(quantized_project):
    text = quantized_project.lock.read_text()
    start = text.index("[plugins.lftool-strict]")
    quantized_project.lock.write_text(text[:start] + text[text.index("[recipe]", start) :])

    done = quantized_project.run("build")

    assert (done.status, done.err.splitlines()[-2:]) == (
        3,
        [
            "error: lftool.lock pins no plugin lftool-strict, which this build needs",
            "  hint: pin it: lftool lock",
        ],
    )
    quantized_project.run("lock").assert_success()
    quantized_project.run("build").assert_success()
