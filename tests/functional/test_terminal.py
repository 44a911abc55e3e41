"""On a terminal `build` makes or renews the lock by itself; everything else is said without bars."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest


def on_a_terminal(project, *arguments: str) -> tuple[int, str, str]:
    """Run a command whose standard input and error are a terminal; return status, output and what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lftool.cli.entry", *arguments],
        cwd=project.root,
        env={**project.environment, "TERM": "dumb", "COLUMNS": "200"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # the last writer has closed the terminal
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, seen.decode()


def test_a_missing_lock_is_made(plain_project):
    status, _, seen = on_a_terminal(plain_project, "build")

    assert status == 0
    assert "lftool.lock is missing; locking" in seen
    assert (plain_project.root / "dist" / "tiny-1-plain.gguf").is_file()
    plain_project.run("lock", "--check").assert_success()


def test_a_stale_lock_is_renewed(locked_project):
    locked_project.write_recipe(locked_project.recipe.read_text() + "\n[run]\ncontext = 64\n")

    status, _, seen = on_a_terminal(locked_project, "build")

    assert status == 0
    assert "lftool.lock is stale; locking" in seen
    locked_project.run("lock", "--check").assert_success()


@pytest.mark.parametrize("option", ["--locked", "--frozen"])
def test_a_locked_build_never_locks(plain_project, option):
    status, _, seen = on_a_terminal(plain_project, "build", option)

    assert status == 3
    assert f"error: there is no lftool.lock in {plain_project.root}" in seen.replace("\r\n", "\n")
    assert not plain_project.lock.exists()


def test_json_stays_alone_on_standard_output(quantized_project):
    status, out, _ = on_a_terminal(quantized_project, "build", "--json")

    assert status == 0
    assert [item["target"] for item in json.loads(out)["bundles"]] == ["q8"]
