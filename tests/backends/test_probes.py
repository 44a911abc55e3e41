"""What the backends make of what drivers say; fixtures/README.md says where that comes from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lftool_cuda.backend as cuda
import lftool_metal.backend as metal
import lftool_rocm.backend as rocm
from lftool.api import Device, Probe
from lftool.host.registry import Registry
from lftool.ops.backends import known_backends, probe_all
from lftool.store.store import Store

FIXTURES = Path(__file__).parent / "fixtures"
MIB = 1024 * 1024


def text(name: str) -> str:
    return (FIXTURES / name).read_text()


def test_one_nvidia_device():
    found = cuda.parse(text("synthetic_nvidia_smi_one.csv"), library=True)
    assert found == Probe(
        available=True,
        devices=(Device(name="NVIDIA H100 80GB HBM3", memory=81559 * MIB, free=80994 * MIB),),
        versions={"driver": "570.86.15", "compute capability": "9.0"},
        library=True,
        fingerprint="driver 570.86.15; NVIDIA H100 80GB HBM3 9.0 GPU-00000000-0000-0000-0000-000000000001",
    )


def test_two_nvidia_devices_keep_their_order():
    found = cuda.parse(text("synthetic_nvidia_smi_two.csv"), library=False)
    assert [device.name for device in found.devices] == ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3060"]
    assert found.versions["compute capability"] == "8.6, 8.9"


def test_a_device_that_shares_the_machines_memory_does_not_say_how_much():
    found = cuda.parse(text("synthetic_nvidia_smi_shared_memory.csv"), library=True)
    assert found.devices == (Device(name="NVIDIA GB10"),)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "the NVIDIA driver lists no device"),
        ("\n\n", "the NVIDIA driver lists no device"),
        ("a, b", "nvidia-smi answered what lftool does not understand: 'a, b'"),
    ],
)
def test_what_nvidia_smi_should_not_print_is_a_reason(output, reason):
    assert cuda.parse(output, library=True) == Probe(available=False, reason=reason)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3060"]),
        ("1", ["NVIDIA GeForce RTX 3060"]),
        ("1,0", ["NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 4090"]),
        ("GPU-00000000-0000-0000-0000-000000000002", ["NVIDIA GeForce RTX 3060"]),
        ("0,7,1", ["NVIDIA GeForce RTX 4090"]),
    ],
)
def test_devices_are_those_that_cuda_shows(visible, names):
    found = cuda.parse(text("synthetic_nvidia_smi_two.csv"), library=True, visible=visible)
    assert [device.name for device in found.devices] == names


@pytest.mark.parametrize("visible", ["", "-1", "7"])
def test_devices_that_are_hidden_are_not_there(visible):
    found = cuda.parse(text("synthetic_nvidia_smi_two.csv"), library=True, visible=visible)
    assert found == Probe(available=False, reason=f"CUDA_VISIBLE_DEVICES={visible!r} leaves no device")


@given(st.text(max_size=200))
def test_nothing_that_nvidia_smi_prints_breaks_the_probe(output):
    found = cuda.parse(output, library=False)
    assert found.available != bool(found.reason)


def stub(folder: Path, body: str) -> None:
    folder.mkdir(exist_ok=True)
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9", "has failed"),
        ("kill -SEGV $$", "exit status -11"),
        ("exit 3", "exit status 3"),
    ],
)
def test_a_driver_that_fails_is_a_reason(tmp_path, monkeypatch, body, reason):
    stub(tmp_path / "bin", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = cuda.CUDABackend().probe()
    assert not found.available
    assert reason in found.reason


def test_a_driver_that_hangs_is_given_up(tmp_path, monkeypatch):
    stub(tmp_path / "bin", "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(cuda, "_SECONDS", 0.2)
    assert "does not answer" in cuda.CUDABackend().probe().reason


def test_an_amd_gpu_beside_another_vendors():
    found = rocm.read(FIXTURES / "synthetic_amdgpu", lambda: True)
    assert found == Probe(
        available=True,
        devices=(Device(name="AMD Radeon Pro W7900", memory=48301604864, free=48000000000),),
        versions={"amdgpu": "6.12.12", "rocm": "6.4.1-83"},
        library=True,
        fingerprint="amdgpu 6.12.12, rocm 6.4.1-83; AMD Radeon Pro W7900 0x744c",
    )


def test_an_amd_gpu_without_the_compute_driver_is_a_reason(tmp_path):
    shutil.copytree(FIXTURES / "synthetic_amdgpu", tmp_path / "root")
    (tmp_path / "root" / "dev" / "kfd").unlink()
    found = rocm.read(tmp_path / "root", lambda: True)
    assert found == Probe(
        available=False, reason="there is an AMD GPU, but no /dev/kfd: ROCm's kernel driver is missing"
    )


def test_a_machine_without_an_amd_gpu_is_a_reason(tmp_path):
    assert not rocm.read(tmp_path, lambda: pytest.fail("asked")).available


def test_an_apple_gpu_gets_two_thirds_of_the_memory():
    found = metal.parse(text("system_profiler_m3_pro.json"), "38654705664\n", library=True, system="15.4")
    assert found == Probe(
        available=True,
        devices=(Device(name="Apple M3 Pro", memory=38654705664, free=25769803776),),
        versions={"macOS": "15.4"},
        library=True,
        fingerprint="macOS 15.4; Apple M3 Pro",
    )


def test_an_older_macos_names_it_otherwise():
    found = metal.parse(text("system_profiler_m1.json"), "8589934592", library=True, system="11.2")
    assert [device.name for device in found.devices] == ["kHW_AppleM1Item"]


def test_a_gpu_without_metal_is_a_reason():
    found = metal.parse(text("synthetic_system_profiler_no_metal.json"), "1", library=True, system="10.12")
    assert found == Probe(available=False, reason="macOS lists no GPU that supports Metal")


@given(st.text(max_size=100), st.text(max_size=20))
def test_nothing_that_system_profiler_prints_breaks_the_probe(profile, memory):
    assert not metal.parse(profile, memory, library=False, system="15").available


def test_all_four_are_shown_and_the_processor_comes_last(tmp_path):
    found = probe_all(Registry.discovered(), Store(tmp_path))
    assert [item.name for item in found] == ["cuda", "metal", "rocm", "cpu"]
    assert found[-1].probe.available
    assert all(item.probe.available or item.probe.reason for item in found)


def test_a_backend_whose_plugin_is_missing_is_shown_too(tmp_path):
    found = {item.name: item for item in probe_all(Registry.discovered(third_party=False), Store(tmp_path))}
    assert found["cuda"].probe == Probe(available=False, reason="the plugin lftool-cuda is not installed")
    assert set(found) == set(known_backends(Registry.discovered()))


def test_the_command_shows_devices_and_reasons(project):
    shown = project.run("backends").assert_success().out
    assert "cpu    available" in shown
    assert all(f"{name}" in shown for name in ("cuda", "rocm", "metal"))
    listed = project.run("backends", "--json").assert_success().json()["backends"]
    assert [item["name"] for item in listed] == ["cuda", "metal", "rocm", "cpu"]
    assert listed[-1]["devices"][0]["memory"] > 0


def test_a_driver_crash_stays_in_the_probes_process(project, tmp_path):
    """The tool is found on PATH and dies: the command goes on."""
    stub(tmp_path / "bin", "kill -KILL $$")
    outcome = project.spawn("backends", "--json", env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    first = outcome.assert_success().json()["backends"][0]
    assert (first["name"], first["available"]) == ("cuda", False)
    assert "exit status -9" in first["reason"]
