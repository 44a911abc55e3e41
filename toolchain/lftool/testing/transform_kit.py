"""Tests that every converter and quantizer must pass. Inherit the class, describe what to make, and run pytest.

    class TestMine(TransformConformance):
        @pytest.fixture
        def work(self, tmp_path):
            weights = tiny_gguf(tmp_path / "m.gguf")
            return Work(kind=QuantizerType, name="mine", produces="Q4_K_M", inputs={"weights": weights})

If the record has `streams`, inherit `StreamingConformance` instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from attrs import Factory, frozen

from lftool.api import ConverterType, InputFile, TransformSpec, TransformType
from lftool.api.gguf import read_gguf
from lftool.errors import LftoolError
from lftool.host.isolated import Isolated
from lftool.host.workers import Workers
from lftool.models.digest import Artifact, Digest
from lftool.models.globs import is_chosen

if TYPE_CHECKING:
    from lftool.host.registry import Registered
    from lftool.testing.project_folder import ProjectFolder


@frozen(kw_only=True)
class Work:
    """What a transform makes during a test.

    Attributes:
        kind: `ConverterType` or `QuantizerType`.
        name: Name of the record.
        produces: What to make.
        inputs: Role to file.
        model: For a converter, the model's name.
        archive: A ZIP of the archive members that the tool requested; None if it needs none.
        options: Options as in a recipe. A quantizer that chooses the types for another one gets them too.
    """

    kind: type[TransformType]
    name: str
    produces: str
    inputs: Mapping[str, Path]
    model: str = ""
    archive: Path | None = None
    options: Mapping[str, object] = Factory(dict)

    def files(self) -> dict[str, InputFile]:
        """Return the inputs as the core passes them."""
        return {role: InputFile(path=path, artifact=_artifact(path)) for role, path in self.inputs.items()}


def _artifact(path: Path) -> Artifact:
    with path.open("rb") as file:
        return Artifact(Digest(hashlib.file_digest(file, "sha256").hexdigest()), path.stat().st_size)


class TransformConformance:
    """Tests that any converter or quantizer must pass."""

    @pytest.fixture
    def work(self) -> Work:
        """Override: return what to make."""
        raise NotImplementedError

    @pytest.fixture
    def registered(self, project: ProjectFolder, work: Work) -> Registered[TransformType]:
        """Return the record under test."""
        return project.registry().get(work.kind, work.name)

    @pytest.fixture
    def isolated(self, tmp_path: Path) -> Isolated:
        """Return what runs the transform in child processes."""
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        return Isolated(scratch, Workers())

    @pytest.fixture
    def spec(
        self, project: ProjectFolder, work: Work, registered: Registered[TransformType], isolated: Isolated
    ) -> TransformSpec:
        """Return the spec. For a quantizer with a `mixture`, it has the types that the other quantizer chose."""
        spec = TransformSpec(produces=work.produces, name=work.model, archive=work.archive)
        mixture = getattr(registered.record, "mixture", None)
        if mixture is None:
            return spec
        chooser = project.registry().get(work.kind, mixture)
        return attrs.evolve(spec, types=isolated.plan(chooser, spec, dict(work.options), work.files()).tensors)

    def _make(
        self,
        work: Work,
        registered: Registered[TransformType],
        isolated: Isolated,
        spec: TransformSpec,
        out: Path,
        threads: int = 2,
    ) -> list[tuple[str, int, int]]:
        seen: list[tuple[str, int, int]] = []
        isolated.run(
            registered, spec, dict(work.options), work.files(), out, threads, lambda *event: seen.append(event)
        )
        return seen

    def test_it_says_which_arithmetic_it_has_and_what_executes_it(self, registered: Registered[TransformType]) -> None:
        """A lock names semantics and version."""
        assert registered.record.deterministic
        assert registered.record.semantics
        assert registered.record.factory().tool().version

    def test_asking_for_the_tool_loads_nothing_heavy(self, project: ProjectFolder, work: Work) -> None:
        """Every build calls `tool`. Whatever takes long belongs in child processes."""
        code = (
            "import sys; from lftool.host.registry import Registry; import lftool.api;"
            f" Registry.discovered().get(lftool.api.{work.kind.__name__}, {work.name!r}).record.factory().tool();"
            " print(*sorted({'numpy', 'torch', 'llama_cpp', 'llvmlite', 'transformers'} & sys.modules.keys()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=project.environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == []

    def test_its_plan_is_the_same_every_time(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec
    ) -> None:
        """A plan enters the lock."""
        plans = [isolated.plan(registered, spec, dict(work.options), work.files()) for _ in range(2)]
        assert plans[0] == plans[1]

    def test_it_makes_what_it_planned(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec, tmp_path: Path
    ) -> None:
        """A sound GGUF with the planned tensors and types. A plan without tensors leaves them open."""
        plan = isolated.plan(registered, spec, dict(work.options), work.files())
        self._make(work, registered, isolated, spec, tmp_path / "out")
        with (tmp_path / "out").open("rb") as file:
            header = read_gguf(file, (tmp_path / "out").stat().st_size, "the output")
        made = {tensor.name: tensor.type.name for tensor in header.tensors}
        assert made == ({item.tensor: item.type for item in plan.tensors} or made)

    def test_threads_and_repetition_change_no_byte(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec, tmp_path: Path
    ) -> None:
        """Each run has its own process, folder and number of threads."""
        made = []
        for threads in (1, 3):
            self._make(work, registered, isolated, spec, tmp_path / str(threads), threads)
            made.append((tmp_path / str(threads)).read_bytes())
        assert made[0] == made[1]

    def test_it_reports_every_tensor_once(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec, tmp_path: Path
    ) -> None:
        """Index and count show the progress."""
        seen = self._make(work, registered, isolated, spec, tmp_path / "out")
        count = len(seen)
        assert [(index, total) for _, index, total in seen] == [(index, count) for index in range(1, count + 1)]
        assert len({name for name, _, _ in seen}) == count

    def test_its_fixed_input_is_the_same_every_time(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, tmp_path: Path
    ) -> None:
        """The fingerprint depends on the tool, not on the moment."""
        found = []
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir()
            paths = isolated.probe_inputs(registered, work.produces, folder)
            found.append({role: path.read_bytes() for role, path in paths.items()})
        assert found[0] == found[1]
        assert found[0]

    def test_inputs_stay_as_they_are(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec, tmp_path: Path
    ) -> None:
        """They are in the store, and other processes read them."""
        before = {role: path.read_bytes() for role, path in work.inputs.items()}
        self._make(work, registered, isolated, spec, tmp_path / "out")
        assert {role: path.read_bytes() for role, path in work.inputs.items()} == before

    def test_weights_that_are_cut_off_are_an_error_for_people(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec, tmp_path: Path
    ) -> None:
        """The core checks first. A transform called anyway raises, and does not pass off half a file as whole."""
        cut = {}
        for role, path in work.inputs.items():
            cut[role] = tmp_path / f"cut-{path.name}"
            data = path.read_bytes()
            own = registered.record.recognises if isinstance(registered.record, ConverterType) else ()
            weights = (
                role == "weights" or path.suffix in {".safetensors", ".gguf"} or (own and is_chosen(role, own, ()))
            )
            cut[role].write_bytes(data[: len(data) * 3 // 4] if weights else data)
        with pytest.raises(LftoolError):
            self._make(attrs.evolve(work, inputs=cut), registered, isolated, spec, tmp_path / "out")


class StreamingConformance(TransformConformance):
    """Tests for a transform whose record has `streams`."""

    def test_a_pipe_gives_the_same_bytes(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec, tmp_path: Path
    ) -> None:
        """A converter writes to a pipe, a quantizer reads its weights from one."""
        assert registered.record.streams
        self._make(work, registered, isolated, spec, tmp_path / "out")
        if work.kind is ConverterType:
            made = _written_to_a_pipe(work, registered, isolated, spec)
        else:
            made = _read_from_a_pipe(work, registered, isolated, spec, tmp_path)
        assert made == (tmp_path / "out").read_bytes()

    def test_a_pipe_that_ends_early_is_an_error_for_people(
        self, registered: Registered[TransformType], work: Work, isolated: Isolated, spec: TransformSpec, tmp_path: Path
    ) -> None:
        """A quantizer needs all of the weights. A converter sees that the reader has closed the pipe."""
        if work.kind is ConverterType:
            with pytest.raises(LftoolError):
                _written_to_a_pipe(work, registered, isolated, spec, most=0)
        else:
            with pytest.raises(LftoolError):
                _read_from_a_pipe(work, registered, isolated, spec, tmp_path, missing=4096)


def _pipe() -> tuple[FileIO, FileIO]:
    read, write = os.pipe()
    return FileIO(read, "r"), FileIO(write, "w")


def _written_to_a_pipe(
    work: Work, registered: Registered[TransformType], isolated: Isolated, spec: TransformSpec, most: int = -1
) -> bytes:
    source, output = _pipe()
    path = Path(f"/dev/fd/{output.fileno()}")
    with source, output, ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            isolated.run, registered, spec, dict(work.options), work.files(), path, 2, lambda *_: None, handed=[output]
        )
        made = source.read(most)
        source.close()
        running.result()
    return made or b""


def _read_from_a_pipe(
    work: Work,
    registered: Registered[TransformType],
    isolated: Isolated,
    spec: TransformSpec,
    folder: Path,
    missing: int = 0,
) -> bytes:
    weights, skeleton, out = work.inputs["weights"], folder / "skeleton", folder / "streamed"
    data = weights.read_bytes()
    with weights.open("rb") as file:
        header = read_gguf(file, len(data), "the weights")
    skeleton.write_bytes(data[: header.data_offset])
    os.truncate(skeleton, len(data))
    source, sink = _pipe()
    head = attrs.evolve(Artifact.of(data[: header.data_offset]), size=len(data))
    piped = InputFile(path=skeleton, artifact=head, pipe=Path(f"/dev/fd/{source.fileno()}"))
    inputs = {**work.files(), "weights": piped}
    with source, sink, ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            isolated.run, registered, spec, dict(work.options), inputs, out, 2, lambda *_: None, handed=[source]
        )
        with contextlib.suppress(BrokenPipeError):
            view = memoryview(data)[: len(data) - missing]
            while view:
                view = view[sink.write(view) :]
        sink.close()
        running.result()
    return out.read_bytes()
