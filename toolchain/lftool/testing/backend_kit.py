"""Tests that every backend must pass. Inherit the class, describe a machine with a device, and run pytest.

    class TestMine(BackendConformance):
        name = "npu"
        probe = Probe(
            available=True,
            devices=(Device(name="NPU 1", memory=8 << 30, free=8 << 30),),
            library=True,
            fingerprint="npu",
        )

The command that `launch` returns takes `--prompt`, `--max-tokens` and `--raw` at the end. To serve, it has `--host`
and `--port`. If it starts lftool's runner on a device, it passes `--require-device`, so that the runner never falls
back to the processor by itself.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest
from attrs import Factory, frozen

from lftool.api import LaunchRequest, ModelSize, Probe, ServeOptions
from lftool.builtin.python_runtime import PythonRuntime
from lftool.errors import UnavailableError, UsageError
from lftool.host.given_options import factory_arguments
from lftool.ops.run.backends import probe_backend
from lftool.store.store import Store

if TYPE_CHECKING:
    from lftool.api import Backend, LaunchCommand
    from lftool.testing.project_folder import ProjectFolder

_GIB = 1 << 30
_SECONDS = 120
# A model of 4 GiB in 32 blocks, whose cache takes 1 GiB for the whole context.
SIZE = ModelSize(weights=4 * _GIB, layers=(_GIB // 8,) * 32, cache=(4096,) * 32, context=8192)


@frozen(kw_only=True)
class BackendExample:
    """A backend under test.

    Attributes:
        probe: What it finds on a machine with its device.
        needs_device: Whether it needs a device. The processor is always there.
        options: Its options in the user's configuration.
        model: A small bundle to run; tests that need one are skipped without it.
        executable: A native runtime; the same applies.
    """

    probe: Probe
    needs_device: bool = True
    options: Mapping[str, Any] = Factory(dict)
    model: Path | None = None
    executable: Path | None = None


class BackendConformance:
    """Tests of one backend. `model` is a bundle to try commands with, and `executable` a native runtime, if any."""

    name: ClassVar[str]
    probe: ClassVar[Probe]
    engine: ClassVar[str | None] = None
    needs_device: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def backend(self, project: ProjectFolder) -> Backend:
        """The backend under test."""
        record = project.registry().backend(self.name, self.engine).record
        return record.factory(*factory_arguments(record, self.options, "backend", f"backends.{self.name}", UsageError))

    @pytest.fixture
    def model(self) -> Path | None:
        """A small bundle to run; tests that need one are skipped without it."""
        return None

    @pytest.fixture
    def executable(self) -> Path | None:
        """A native runtime; the same applies."""
        return None

    def request_for(
        self, bundle: str, *, executable: Path | None = None, serve: ServeOptions | None = None
    ) -> LaunchRequest:
        """Return a request to run `bundle` on the machine that `probe` describes."""
        return LaunchRequest(
            bundle=bundle,
            runner=PythonRuntime().runner(),
            executable=executable,
            probe=self.probe,
            size=SIZE,
            scratch=Path(tempfile.gettempdir()),
            serve=serve,
        )

    def test_it_says_what_is_here_or_why_it_is_not(self, project: ProjectFolder, tmp_path: Path) -> None:
        """In a separate process and within its time limit, whatever this machine has."""
        found = probe_backend(self.name, project.registry(), Store(tmp_path / "store"), self.engine).probe
        assert found.available == bool(found.devices)
        assert bool(found.reason) != found.available
        assert bool(found.fingerprint) == found.available

    def test_it_does_not_fail_where_nothing_is_installed(
        self, project: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No driver tool can be found."""
        monkeypatch.setenv("PATH", str(tmp_path))
        found = probe_backend(self.name, project.registry(), Store(tmp_path / "store"), self.engine)
        assert isinstance(found.probe, Probe)
        assert found.probe.available or found.probe.reason

    def test_the_command_opens_the_bundle_that_was_checked(self, backend: Backend) -> None:
        """It also describes what runs where."""
        command = backend.launch(self.request_for("/dev/fd/7"))
        assert command.argv.count("/dev/fd/7") == 1
        assert command.sentence

    def test_the_sentence_names_the_device(self, backend: Backend) -> None:
        """The user must see what is used."""
        sentence = backend.launch(self.request_for("/dev/fd/7")).sentence
        named = [device.name for device in self.probe.devices] if self.needs_device else ["processor"]
        assert all(name in sentence for name in named)

    def test_a_server_listens_where_it_is_asked_to(self, backend: Backend) -> None:
        """The command line contains no key."""
        command = backend.launch(self.request_for("/dev/fd/7", serve=ServeOptions(host="127.0.0.9", port=8123)))
        text = " ".join(command.argv)
        assert "--host 127.0.0.9" in text
        assert "--port 8123" in text
        assert "key" not in text

    def test_a_device_that_is_missing_is_an_error_with_reason_and_way_out(self, backend: Backend) -> None:
        """It never falls back to the processor silently."""
        if not self.needs_device:
            return
        missing = Probe(available=False, reason="the driver is on strike")
        with pytest.raises(UnavailableError, match="the driver is on strike") as caught:
            backend.launch(attrs.evolve(self.request_for("/dev/fd/7"), probe=missing))
        assert any("--backend cpu" in hint for hint in caught.value.hints)

    def _require_answer(self, command: LaunchCommand) -> None:
        """Without the device, the command is refused, or runs on the processor if `--require-device` is dropped."""
        if self.needs_device:
            assert "--require-device" in command.argv
            refused = self._answer(command.argv, command)
            assert (refused.returncode, refused.stdout) == (8, ""), refused.stderr
            assert "there is no device here that this" in refused.stderr
        argv = tuple(word for word in command.argv if word != "--require-device")
        done = self._answer(argv, command)
        assert (done.returncode, bool(done.stdout.strip())) == (0, True), done.stderr

    def _answer(self, argv: tuple[str, ...], command: LaunchCommand) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*argv, "--prompt", "Once", "--max-tokens", "3"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **command.environment},
        )

    def test_llama_cpp_python_takes_the_command_line(self, backend: Backend, model: Path | None) -> None:
        """It starts inference. Without the device, llama.cpp computes on the processor."""
        if model is None:
            pytest.skip("the test gives no model")
        self._require_answer(backend.launch(self.request_for(str(model))))

    def test_the_native_runtime_takes_the_command_line(
        self, backend: Backend, model: Path | None, executable: Path | None
    ) -> None:
        """It starts inference. An executable for the processor accepts the options of all devices."""
        if model is None or executable is None:
            pytest.skip("the test gives no model, or no native runtime")
        self._require_answer(backend.launch(self.request_for(str(model), executable=executable)))
