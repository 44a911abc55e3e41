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
from lftool.api import Device, LaunchRequest, ModelSize, Probe
from lftool.host import isolated
from lftool.host.registry import Registry
from lftool.ops.run.backends import known_backends, probe_all, probe_backend
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
        ("a, b", "cannot parse the output of nvidia-smi: 'a, b'"),
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
        ("1,1", ["NVIDIA GeForce RTX 3060"]),
        ("MIG-1234", ["MIG-1234"]),
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


@pytest.mark.parametrize(
    "body",
    [
        "echo 'WARNING: infoROM is corrupted at gpu 0000:00:1E.0'; echo '{row}'; exit 14",
        "echo '{row}'; echo 'WARNING: infoROM is corrupted at gpu 0000:00:1E.0'",
    ],
)
def test_a_warning_beside_the_devices_hides_none(tmp_path, monkeypatch, body):
    """nvidia-smi(1): exit status 14 is a damaged infoROM."""
    stub(tmp_path / "bin", body.format(row="NVIDIA A100, 81920, 81000, 570.86.15, 8.0, GPU-1"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = cuda.CUDABackend().probe()
    assert [device.name for device in found.devices] == ["NVIDIA A100"]


@pytest.mark.parametrize("body", [r"printf '\377\376'", "head -c 200000 /dev/zero | tr '\\0' 0"])
def test_a_driver_that_prints_what_is_no_list_is_a_reason(tmp_path, monkeypatch, body):
    stub(tmp_path / "bin", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert "cannot parse the output of nvidia-smi" in cuda.CUDABackend().probe().reason


@pytest.mark.parametrize(
    ("order", "split"), [(None, True), ("PCI_BUS_ID", True), ("FASTEST_FIRST", False)], ids=["none", "listed", "other"]
)
def test_devices_get_shares_only_in_the_order_in_which_cuda_counts_them(monkeypatch, order, split):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    request = LaunchRequest(
        bundle="/dev/fd/3",
        runner=Path("/runner.py"),
        executable=Path("/runtime"),
        probe=cuda.parse(text("synthetic_nvidia_smi_two.csv"), library=True),
        size=ModelSize(weights=30 * 10**9, layers=(10**9,) * 30, cache=(0,) * 30),
    )
    command = cuda.CUDABackend().launch(request)
    assert ("--tensor-split" in command.argv, command.environment) == (
        split,
        {"CUDA_DEVICE_ORDER": order or "PCI_BUS_ID"},
    )


def test_a_driver_that_hangs_is_given_up(tmp_path, monkeypatch):
    stub(tmp_path / "bin", "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(cuda, "_SECONDS", 0.2)
    assert "cannot run nvidia-smi" in cuda.CUDABackend().probe().reason


def test_an_amd_gpu_beside_another_vendors():
    found = rocm.read(FIXTURES / "synthetic_amdgpu", lambda: True)
    assert found == Probe(
        available=True,
        devices=(Device(name="AMD Radeon Pro W7900", memory=48301604864, free=48000000000),),
        versions={"amdgpu": "6.12.12", "rocm": "6.4.1-83"},
        library=True,
        fingerprint="amdgpu 6.12.12, rocm 6.4.1-83; AMD Radeon Pro W7900 0x744c",
    )


@pytest.fixture
def amd_cards(tmp_path):
    """Three cards, whose memory says which is which."""
    for place in (10, 0, 2):
        folder = tmp_path / "sys/class/drm" / f"card{place}" / "device"
        folder.mkdir(parents=True)
        for name, value in {"vendor": "0x1002", "mem_info_vram_total": place, "unique_id": f"ab{place}"}.items():
            (folder / name).write_text(f"{value}\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "cards"),
    [
        ({}, [0, 2, 10]),
        ({"HIP_VISIBLE_DEVICES": "2,0"}, [10, 0]),
        ({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "1"}, [10]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-ab2"}, [2]),
        ({"HIP_VISIBLE_DEVICES": "1,7,0"}, [2]),
    ],
)
def test_amd_gpus_are_those_that_rocm_shows_in_the_order_of_their_numbers(amd_cards, variables, cards):
    found = rocm.read(amd_cards, lambda: True, variables)
    assert [device.memory for device in found.devices] == cards


@pytest.mark.parametrize("hidden", ["", "-1", "3"])
def test_amd_gpus_that_are_hidden_are_not_there(amd_cards, hidden):
    found = rocm.read(amd_cards, lambda: True, {"HIP_VISIBLE_DEVICES": hidden})
    assert found == Probe(available=False, reason=f"HIP_VISIBLE_DEVICES={hidden!r} leaves no device")


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


SHOWN = [
    ("cuda", "llama-cpp-python"),
    ("metal", "llama-cpp-python"),
    ("rocm", "llama-cpp-python"),
    ("cpu", "llama-cpp-python"),
    ("cpu", "xllamacpp"),
]


def test_all_are_shown_with_each_engine_and_the_processor_comes_last(tmp_path):
    found = probe_all(Registry.discovered(), Store(tmp_path))
    assert [(item.name, item.engine) for item in found] == SHOWN
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
    assert [(item["name"], item["engine"]) for item in listed] == SHOWN
    assert listed[-1]["devices"][0]["memory"] > 0


def test_a_probe_that_does_not_end_says_so(tmp_path, monkeypatch):
    stub(tmp_path / "bin", "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(isolated, "PROBE_SECONDS", 2.0)
    found = probe_backend("cuda", Registry.discovered(), Store(tmp_path / "store"))
    assert found.probe.reason.endswith(": probe did not end within 2 seconds")


def test_a_driver_crash_stays_in_the_probes_process(project, tmp_path):
    """The tool is found on PATH and dies: the command goes on."""
    stub(tmp_path / "bin", "kill -KILL $$")
    outcome = project.spawn("backends", "--json", env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    first = outcome.assert_success().json()["backends"][0]
    assert (first["name"], first["available"]) == ("cuda", False)
    assert "exit status -9" in first["reason"]
