"""Which backend runs a bundle: its own, the one that is asked for, or the best that is here; and it says why."""

from __future__ import annotations

import pytest

from lftool.pipeline.identity import host_runtime
from lftool.store.store import Store

GPU = "NVIDIA H100 80GB HBM3, 81559, 80994, 570.86.15, 9.0, GPU-1"


@pytest.fixture
def gpu_project(plain_project):
    """A bundle whose target is for cuda."""
    recipe = plain_project.recipe.read_text().replace('layout = "gguf"', 'layout = "gguf"\nbackend = "cuda"')
    plain_project.write_recipe(recipe)
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    return plain_project


BUNDLE = "dist/tiny-1-plain.gguf"


def test_a_bundle_for_a_device_that_is_missing_is_refused_with_reason_and_way_out(gpu_project):
    done = gpu_project.run("run", BUNDLE, "-p", "hi")
    assert (done.status, done.out) == (8, "")
    assert done.err == (
        "error: backend cuda cannot be used here: there is no NVIDIA driver: nvidia-smi is not on PATH\n"
        "  hint: use an available backend: --backend auto\n"
        "  hint: or the processor: --backend cpu\n"
    )


def spawned(project, tmp_path, *arguments, driver: str | None = None):
    variables = {}
    if driver is not None:
        folder = tmp_path / "bin"
        folder.mkdir()
        tool = folder / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{driver}\n")
        tool.chmod(0o755)
        variables["PATH"] = f"{folder}:/usr/bin:/bin"
    return project.spawn(*arguments, env=variables)


def test_auto_takes_the_processor_where_there_is_nothing_else_and_says_why(gpu_project, tmp_path):
    done = spawned(gpu_project, tmp_path, "run", BUNDLE, "-p", "hi", "--backend", "auto")
    assert "no cuda: there is no NVIDIA driver: nvidia-smi is not on PATH" in done.err
    assert "no metal: Metal needs macOS" in done.err
    assert "no rocm: " in done.err
    assert "; cpu has " in done.err
    assert "tiny-1-plain.gguf: on the processor; " in done.err


def have_runtime(project) -> None:
    """Have this machine a native runtime for cuda: a script that prints how it was started."""
    store = Store(project.cache)
    blob = store.blobs.put_bytes(b'#!/bin/sh\necho "$@"; echo "order: $CUDA_DEVICE_ORDER"\n', "a runtime")
    store.actions.put(host_runtime("native-cuda/1"), {"executable": blob})


def test_auto_takes_the_device_that_something_can_compute_on(gpu_project, tmp_path):
    have_runtime(gpu_project)
    done = spawned(gpu_project, tmp_path, "run", BUNDLE, "-p", "-hi", "--backend", "auto", driver=f"echo '{GPU}'")
    assert done.status == 0
    assert "cuda has NVIDIA H100 80GB HBM3 (84.9 GB free)" in done.err
    assert done.out.startswith("--bundle ")
    assert done.out.endswith("--require-device --prompt=-hi\norder: PCI_BUS_ID\n")


def test_auto_passes_over_a_device_that_nothing_can_compute_on_and_says_so(gpu_project, tmp_path):
    done = spawned(gpu_project, tmp_path, "run", BUNDLE, "-p", "hi", "--backend", "auto", driver=f"echo '{GPU}'")
    assert "no cuda: nothing installed can compute on NVIDIA H100 80GB HBM3 (84.9 GB free)" in done.err
    assert "tiny-1-plain.gguf: on the processor; llama-cpp-python\n" in done.err


def test_a_device_that_nothing_can_compute_on_is_refused_where_it_was_asked_for(gpu_project, tmp_path):
    done = spawned(gpu_project, tmp_path, "run", BUNDLE, "-p", "hi", driver=f"echo '{GPU}'")
    assert done.status == 8
    assert "backend cuda: a device is available, but the installed llama-cpp-python cannot use it" in done.err
    assert "lftool runtime build --backend cuda" in done.err


def test_a_device_older_than_the_runtime_is_compiled_for_is_refused(gpu_project, tmp_path):
    have_runtime(gpu_project)
    old = "NVIDIA GeForce GTX 1080, 8192, 8000, 570.86.15, 6.1, GPU-1"
    done = spawned(gpu_project, tmp_path, "run", BUNDLE, "-p", "hi", driver=f"echo '{old}'")
    assert (done.status, done.err) == (
        8,
        (
            "error: a device has compute capability 6.1, and the native runtime for cuda is compiled for 7.5 and newer\n"
            "  hint: hide it with CUDA_VISIBLE_DEVICES\n"
            "  hint: or use the processor: --backend cpu\n"
        ),
    )


def test_a_backend_nobody_knows_is_named(gpu_project):
    done = gpu_project.run("run", BUNDLE, "-p", "hi", "--backend", "abacus")
    assert (done.status, "unknown backend 'abacus'" in done.err) == (8, True)


@pytest.fixture
def both(plain_project):
    """One target per backend."""
    recipe = plain_project.recipe.read_text()
    plain_project.write_recipe(recipe + '[targets.fast]\nlayout = "gguf"\nbackend = "cuda"\n')
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    return plain_project


def test_of_a_folder_the_bundle_is_taken_whose_backend_is_here(both, tmp_path):
    done = spawned(both, tmp_path, "run", "dist", "-p", "hi")
    assert (
        "picked tiny-1-plain.gguf: no cuda: there is no NVIDIA driver: nvidia-smi is not on PATH; cpu has " in done.err
    )


def test_of_a_folder_the_bundle_for_the_device_is_taken_where_there_is_one(both, tmp_path):
    have_runtime(both)
    done = spawned(both, tmp_path, "run", "dist", "-p", "hi", driver=f"echo '{GPU}'")
    assert "picked tiny-1-fast.gguf: cuda has NVIDIA H100 80GB HBM3 (84.9 GB free)" in done.err


def test_a_backend_that_is_asked_for_picks_its_bundle(both, tmp_path):
    done = spawned(both, tmp_path, "run", "dist", "-p", "hi", "--backend", "cpu")
    assert "picked tiny-1-plain.gguf" in done.err


def test_two_bundles_for_the_same_backend_are_no_choice(both):
    recipe = both.recipe.read_text()
    both.write_recipe(recipe + '[targets.other]\nlayout = "gguf"\n')
    both.run("lock").assert_success()
    both.run("build").assert_success()
    done = both.run("run", "dist", "-p", "hi")
    assert (done.status, done.err) == (
        2,
        (
            "error: dist has several bundles for the backend cpu: tiny-1-other.gguf, tiny-1-plain.gguf\n"
            "  hint: name one of them\n"
        ),
    )


def test_a_folder_without_bundles_says_so(both):
    (both.root / "empty").mkdir()
    done = both.run("run", "empty", "-p", "hi")
    assert (done.status, done.err) == (2, "error: there is no bundle in empty\n  hint: build some: lftool build\n")


def test_backends_shows_the_native_runtime_that_is_here(gpu_project):
    def shown(*more: str):
        return gpu_project.run("backends", *more).assert_success()

    def native() -> dict[str, list[str]]:
        return {item["name"]: item["native"] for item in shown("--json").json()["backends"]}

    assert native()["cuda"] == []
    have_runtime(gpu_project)
    assert (native()["cuda"], native()["cpu"]) == (["native-cuda/1"], [])
    assert "       native runtime native-cuda/1, compiled\n" in shown().out
