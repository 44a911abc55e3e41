"""Where a target's backend is `cuda`: the GPU quantizer where it can work, this processor where not, the same bytes."""

from __future__ import annotations

import tomllib

import pytest

from lftool_cuda.quantizer import CUDAQuantizer
from lftool_strict.quantizer import StrictQuantizer

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.q8]
quantize = "Q8_0"
layout = "gguf"
"""


@pytest.fixture
def cuda_project(plain_project):
    """A project whose target is for GPUs, not locked yet."""
    plain_project.write_recipe(RECIPE + 'backend = "cuda"\n')
    return plain_project


def weights_of(project) -> str:
    return tomllib.loads(project.lock.read_text())["targets"]["q8"]["quantize"]["sha256"]


def test_without_a_gpu_the_processor_does_it_and_that_is_said(cuda_project) -> None:
    cuda_project.run("lock").assert_success()
    done = cuda_project.run("build").assert_success()
    assert "quantising without 'cuda': there is no NVIDIA GPU here: /dev/nvidiactl is missing" in done.err
    cuda = weights_of(cuda_project)
    cuda_project.write_recipe(RECIPE)
    cuda_project.run("lock").assert_success()
    assert "quantising without" not in cuda_project.run("build").assert_success().err
    assert weights_of(cuda_project) == cuda


def test_the_lock_pins_the_plugin_and_names_the_processor_s_quantizer(cuda_project) -> None:
    cuda_project.run("lock").assert_success()
    lock = tomllib.loads(cuda_project.lock.read_text())
    assert {"lftool-cuda", "lftool-strict"} <= lock["plugins"].keys()
    assert lock["targets"]["q8"]["quantize"]["quantizer"] == "strict"


def test_a_plugin_that_the_lock_does_not_pin_does_not_run(cuda_project) -> None:
    cuda_project.run("lock").assert_success()
    lock = cuda_project.lock.read_text()
    start = lock.index("[plugins.lftool-cuda]")
    end = lock.index("[", start + 1)
    cuda_project.lock.write_text(lock[:start] + lock[end:])
    done = cuda_project.run("build").assert_success()
    assert "quantising without 'cuda': the lock does not pin its plugin" in done.err


def test_a_driver_that_fails_leaves_it_to_the_processor(cuda_project, monkeypatch) -> None:
    monkeypatch.setattr(CUDAQuantizer, "tool", StrictQuantizer.tool)  # as if there were a device
    cuda_project.run("lock").assert_success()
    done = cuda_project.run("build").assert_success()
    assert "quantising without 'cuda': plugin 'cuda' of lftool-cuda" in done.err


def test_who_asks_for_the_gpu_by_name_is_told_that_there_is_none(cuda_project) -> None:
    cuda_project.write_recipe(RECIPE + 'quantizer = "cuda"\n')
    done = cuda_project.run("lock")
    assert done.status == 8
    assert "there is no NVIDIA GPU here" in done.err
