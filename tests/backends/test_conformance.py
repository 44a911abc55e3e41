"""The backends do what every backend must."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
from tests.known_tools import give
from tests.native.conftest import CACHE, STORY

import lftool_cuda.backend as cuda
import lftool_metal.backend as metal
import lftool_rocm.backend as rocm
from lftool.api import BackendType, Device, Probe, ServeOptions
from lftool.errors import UnavailableError
from lftool.host.registry import Registry
from lftool.pipeline.identity import host_runtime
from lftool.store.executables import executable as executable_of
from lftool.store.store import Store
from lftool.testing import ProjectFolder
from lftool.testing.backend_kit import BackendConformance

FIXTURES = Path(__file__).parent / "fixtures"
RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:tiny-story-f16.gguf"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
[run]
context = 64
temperature = 0.0
"""


@pytest.fixture(scope="module")
def story_bundle(tmp_path_factory, known_tools) -> Path:
    base = tmp_path_factory.mktemp("backend-story")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    give(known_tools, made.home)
    shutil.copy(STORY / "tiny-story-f16.gguf", made.root)
    made.write_recipe(RECIPE)
    made.run("lock").assert_success()
    made.run("build").assert_success()
    return made.root / "dist" / "story-1-plain.gguf"


class Runs(BackendConformance):
    """With a bundle and, where `make native` has compiled one, the native runtime."""

    @pytest.fixture
    def model(self, story_bundle) -> Path:
        return story_bundle

    @pytest.fixture
    def executable(self) -> Path | None:
        store = Store(CACHE)
        made = store.actions.get(host_runtime("native-cpu/1"))
        return None if made is None else executable_of(made["executable"], store)


class TestCPU(Runs):
    name = "cpu"
    probe = Probe(available=True)
    needs_device = False


class TestXllamacpp(Runs):
    name, engine = "cpu", "xllamacpp"
    probe = Probe(available=True)
    needs_device = False


class TestCUDA(Runs):
    name = "cuda"
    probe = cuda.parse((FIXTURES / "synthetic_nvidia_smi_two.csv").read_text(), library=True)


class TestROCm(Runs):
    name = "rocm"
    probe = rocm.read(FIXTURES / "synthetic_amdgpu", lambda: True)


class TestMetal(Runs):
    name = "metal"
    probe = metal.parse(
        (FIXTURES / "system_profiler_m3_pro.json").read_text(), "38654705664", library=True, system="15.4"
    )


@pytest.mark.parametrize("backend", ["cuda", "rocm", "metal"])
def test_a_native_server_leaves_room_for_the_context_of_every_request(backend):
    """4 GiB of weights and 1 GiB of context for each request, on 7 GiB: one context fits, four do not."""
    case = {"cuda": TestCUDA, "rocm": TestROCm, "metal": TestMetal}[backend]()
    device = Device(name="small", memory=8 << 30, free=7 << 30)
    asked = attrs.evolve(
        case.request_for("/dev/fd/7", executable=Path("runtime"), serve=ServeOptions()),
        probe=attrs.evolve(case.probe, devices=(device,), library=True),
    )
    asked = attrs.evolve(asked, size=attrs.evolve(asked.size, asked=True))
    plugin = Registry.discovered().get(BackendType, backend).record.factory()

    def layers(request) -> str:
        argv = plugin.launch(request).argv
        return argv[argv.index("--gpu-layers") + 1]

    assert layers(attrs.evolve(asked, serve=None)) == "33"
    assert layers(attrs.evolve(asked, executable=None)) == "33"  # one request at a time
    assert layers(asked) == "25"  # 24 blocks of 256 MiB, and the output, which takes nothing in this model


@pytest.mark.parametrize("backend", ["cuda", "rocm", "metal"])
def test_a_device_that_nothing_installed_can_use_says_how_to_get_what_can(backend):
    case = {"cuda": TestCUDA, "rocm": TestROCm, "metal": TestMetal}[backend]()
    request = case.request_for("/dev/fd/7")
    blind = attrs.evolve(request, probe=attrs.evolve(case.probe, library=False))
    with pytest.raises(UnavailableError, match="the installed llama-cpp-python cannot use it") as caught:
        Registry.discovered().get(BackendType, backend).record.factory().launch(blind)
    assert any("--backend cpu" in hint for hint in caught.value.hints)
