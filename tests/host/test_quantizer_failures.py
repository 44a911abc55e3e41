"""Quantizers that crash, hang or lie: the error names the plugin, and nothing of theirs enters the store."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest
from attrs import frozen

from lftool.models.digest import Artifact
from lftool.testing import Outcome, ProjectFolder, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.copy]
quantize = "COPY"
layout = "gguf"
"""

PLUGIN = """
import ctypes, os, pathlib, sys, threading

from lftool.errors import RecipeError

class Copier:
    def tool(self):
        return ToolIdentity(version="1.0", files=(pathlib.Path(__file__),))

    def probe_inputs(self, use, folder):
        data = b"fixed"
        {probe}
        (folder / "fixed").write_bytes(data)
        return {{"weights": folder / "fixed"}}

    def plan(self, spec, inputs):
        {plan}
        weights = inputs["weights"]
        with weights.path.open("rb") as file:
            header = read_gguf(file, weights.artifact.size, "weights")
        types = tuple(TensorType(tensor=item.name, type=item.type.name) for item in header.tensors)
        return TransformPlan(parameters={{}}, tensors=types)

    def run(self, spec, inputs, output, threads, progress):
        data = inputs["weights"].path.read_bytes()
        if inputs["weights"].path.name == "fixed":
            output.write_bytes(data)
            return
        {run}

@hookimpl
def lftool_quantizers():
    yield QuantizerType(
        name="copier", summary="", consumes=("gguf",), produces=("COPY",), semantics="copy/1",
        deterministic={deterministic}, factory=Copier,
    )
"""
ORIGIN = "plugin 'copying' of copy-shop 3.1"
DIED = f"error: {ORIGIN} died in {{method}} ({{how}}); its last output:\n"
FAILED = f"error: {ORIGIN} failed: "


_PROGRESS = re.compile(r"^ *(?:fetch|quantize|pack|sign|note)  .*\n", re.MULTILINE)


def without_progress(err: str) -> str:
    """What was said on standard error besides the plain line of each stage."""
    return _PROGRESS.sub("", err)


@frozen(kw_only=True)
class Shop:
    """A project whose only target is made by the fake quantizer, and the Python that has it installed."""

    site: object
    project: ProjectFolder
    interpreter: Path

    def install(self, *, probe="pass", plan="pass", run="output.write_bytes(data)", deterministic=True):
        code = PLUGIN.format(probe=probe, plan=plan, run=run, deterministic=deterministic)
        self.site.install("copy-shop", code, entry="copying", version="3.1")

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.interpreter, "-m", "lftool.cli.entry", *arguments],
            cwd=self.project.root,
            env={**self.project.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lftool(self, *arguments: str, **variables: str) -> Outcome:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=60)
        return Outcome(status=process.returncode, out=out, err=without_progress(err))

    def lock_then(self, **parts) -> None:
        """Lock with a sound quantizer whose `run` will be the one in `parts`: locking does not call it."""
        self.install(**parts)
        self.lftool("lock").assert_success()

    def weights_in_store(self) -> set[str]:
        """Digests of all GGUF blobs in the store."""
        places = (self.project.cache / "cas-v1").rglob("*")
        blobs = [path for path in places if path.is_file() and not path.suffix]
        return {path.parent.name + path.name for path in blobs if path.read_bytes().startswith(b"GGUF")}

    @property
    def source(self) -> Artifact:
        return Artifact.of((self.project.root / "model.gguf").read_bytes())


@pytest.fixture
def known_tools() -> None:
    """The store is empty before."""


@pytest.fixture
def shop(site, project, interpreter) -> Shop:
    tiny_gguf(project.root / "model.gguf", width=32)
    project.write_recipe(RECIPE)
    # These quantizers read and write files of the tests: tests/hostile/test_confinement.py is about confined ones.
    project.write_configuration("[plugins]\nconfine = false\n")
    return Shop(site=site, project=project, interpreter=interpreter)


def test_sound_quantizer_builds(shop):
    shop.lock_then()
    shop.lftool("build").assert_success()
    output = tomllib.loads(shop.project.lock.read_text())["targets"]["copy"]["quantize"]
    assert output["sha256"] == shop.source.sha256.hex


RUNS = {
    "raises": ("raise ValueError('boom')", 8, FAILED + "ValueError: boom\n"),
    "exits": (
        "print('bye'); sys.stdout.flush(); os._exit(3)",
        8,
        DIED.format(method="run", how="exit status 3") + "bye\n",
    ),
    "exits as if all were well": ("os._exit(0)", 8, DIED.format(method="run", how="exit status 0")),
    "crashes": ("ctypes.string_at(0)", 8, DIED.format(method="run", how="signal SIGSEGV")),
    "raises an error for people": (
        "raise RecipeError('not these weights', hints=('others',))",
        2,
        "error: not these weights\n  hint: others\n",
    ),
    "writes nothing": (
        "pass",
        4,
        "error: the output of copier: not a sound GGUF: the file ends at byte 0 inside its header: it is truncated\n",
    ),
    "writes no GGUF": (
        "output.write_bytes(b'not weights, something else')",
        4,
        "error: the output of copier: not a sound GGUF: it starts with b'not ', not b'GGUF'\n",
    ),
    "writes other types": (
        "output.write_bytes(data.replace(b'output_norm.weight', b'output_nerm.weight'))",
        4,
        "error: the output of copier: tensor output_nerm.weight is F32, expected not there\n",
    ),
}


@pytest.mark.slow_cases(r"\[(raises an error|exits as|writes other|writes no GGUF)")
@pytest.mark.parametrize(("run", "status", "error"), RUNS.values(), ids=RUNS.keys())
def test_failing_run_is_named_and_stores_nothing(shop, run, status, error):
    shop.lock_then(run=run)
    lock = shop.project.lock.read_bytes()
    assert shop.lftool("build") == Outcome(status=status, out="", err=error)
    assert shop.weights_in_store() == {shop.source.sha256.hex}
    assert shop.project.lock.read_bytes() == lock
    assert list(shop.project.root.glob("dist/*")) == []
    assert list((shop.project.cache / "tmp").iterdir()) == []


def test_truncated_output_is_refused_before_it_is_stored(shop):
    shop.lock_then(run="output.write_bytes(data[:-5000])")
    assert shop.lftool("build") == Outcome(
        status=4,
        out="",
        err=(
            "error: the output of copier: not a sound GGUF: tensor 'blk.0.ffn_down.weight' ends 520 bytes past the end"
            " of the file: it is truncated, or its header lies\n"
        ),
    )
    assert shop.weights_in_store() == {shop.source.sha256.hex}


def test_output_with_another_type_than_planned_is_refused(shop):
    shop.lock_then(run="output.write_bytes(pathlib.Path(PATH).read_bytes())".replace("PATH", repr(str(_f32(shop)))))
    assert shop.lftool("build") == Outcome(
        status=4,
        out="",
        err="error: the output of copier: tensor blk.0.attn_k.weight is F32, expected F16\n",
    )
    assert shop.weights_in_store() == {shop.source.sha256.hex}


def _f32(shop) -> Path:
    return tiny_gguf(shop.project.home / "f32.gguf", width=32, kind="F32")


def test_quantizer_that_leaves_garbage_on_its_output_stream_does_not_disturb_the_wire(shop):
    shop.lock_then(run='os.write(1, b"{}\\n" * 9); print("noise"); output.write_bytes(data)')
    shop.lftool("build").assert_success()


LOCKING = {
    "plan raises": ({"plan": "raise ValueError('boom')"}, FAILED + "ValueError: boom\n"),
    "plan crashes": ({"plan": "ctypes.string_at(0)"}, DIED.format(method="plan", how="signal SIGSEGV")),
    "probe raises": ({"probe": "raise ValueError('boom')"}, FAILED + "ValueError: boom\n"),
    "probe exits": ({"probe": "os._exit(9)"}, DIED.format(method="probe_inputs", how="exit status 9")),
    "probe is killed": (
        {"probe": "os.kill(os.getpid(), 9)"},
        DIED.format(method="probe_inputs", how="signal SIGKILL"),
    ),
}


@pytest.mark.parametrize(("parts", "error"), LOCKING.values(), ids=LOCKING.keys())
def test_quantizer_that_fails_while_locking_is_named_and_no_lock_is_written(shop, parts, error):
    shop.install(**parts)
    assert shop.lftool("lock") == Outcome(status=8, out="", err=error)
    assert not shop.project.lock.exists()


def test_quantizer_that_says_it_is_not_deterministic_is_refused(shop):
    shop.install(deterministic=False)
    assert shop.lftool("lock") == Outcome(
        status=2,
        out="",
        err="error: the quantizer 'copier' does not make the same bytes twice; a bundle cannot be locked\n",
    )


COUNTING = "count = pathlib.Path({path!r}); count.write_text(count.read_text() + '.'); turn = len(count.read_text())"


def test_output_that_changes_between_runs_is_exit_7_with_both_digests(shop, tmp_path):
    counter = tmp_path / "runs"
    counter.write_text("")
    count = COUNTING.format(path=str(counter))
    shop.lock_then(run=f"{count}; output.write_bytes(data[:-1] + bytes([turn]))")
    shop.lftool("build").assert_success()
    shutil.rmtree(shop.project.cache)
    shutil.rmtree(shop.project.root / "dist")
    lock = shop.project.lock.read_bytes()
    data = (shop.project.root / "model.gguf").read_bytes()
    first, second = (Artifact.of(data[:-1] + bytes([turn])).sha256 for turn in (1, 2))
    done = shop.lftool("build")
    assert (done.status, done.err.splitlines()[0]) == (
        7,
        (
            f"error: targets.copy, stage quantize: the lock names sha256 {first} ({len(data)} bytes),"
            f" this build made sha256 {second} ({len(data)} bytes)"
        ),
    )
    assert shop.project.lock.read_bytes() == lock
    assert list(shop.project.root.glob("dist/*")) == []


def test_hint_of_exit_7_names_only_what_is_in_the_cache(shop, tmp_path):
    """The file that the lock names need not be there: this cache has never seen it."""
    counter = tmp_path / "runs"
    counter.write_text("")
    shop.lock_then(run=f"{COUNTING.format(path=str(counter))}; output.write_bytes(data[:-1] + bytes([turn]))")
    shop.lftool("build").assert_success()
    shutil.rmtree(shop.project.cache)
    done = shop.lftool("build")
    locked = tomllib.loads(shop.project.lock.read_text())["targets"]["copy"]["quantize"]["sha256"]
    assert locked not in shop.weights_in_store()
    assert "both files are in the cache" not in done.err


def test_fingerprint_that_changes_is_exit_8(shop, tmp_path):
    counter = tmp_path / "probes"
    counter.write_text("")
    shop.lock_then(probe=f"{COUNTING.format(path=str(counter))}; data = bytes([turn])")
    shutil.rmtree(shop.project.cache)
    first, second = (Artifact.of(bytes([turn])).sha256 for turn in (1, 2))
    done = shop.lftool("build")
    assert done.status == 8
    assert done.err.splitlines()[0] == (
        "error: copier 1.0 does not reproduce copy/1 for COPY:"
        f" the lock pins fingerprint {first}, this machine's is {second}"
    )


def test_worker_sees_nothing_of_the_users_environment(shop):
    """Variables of the coverage tool apart, which measures workers too."""
    shop.lock_then(
        run="raise RecipeError(' '.join(sorted(k for k in os.environ if not k.startswith(('COVERAGE', 'LC_CTYPE')))))"
    )
    done = shop.lftool("build", SECRET_TOKEN="hush", PYTHONPATH="/nowhere", LANG="tr_TR.UTF-8")
    assert done == Outcome(status=2, out="", err="error: HOME LC_ALL PATH PYTHONHASHSEED TMPDIR TZ\n")


@pytest.fixture
def hanging(shop, tmp_path):
    """A build whose worker hangs; yields the process of lftool and a descriptor that is readable when the worker ends."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    say = f"pathlib.Path({str(pipe)!r}).write_text(str(os.getpid()))"
    shop.lock_then(run=f"{say}; output.write_bytes(data[:100]); threading.Event().wait()")
    process = shop.start("build")
    worker = os.pidfd_open(int(pipe.read_text()))
    yield process, worker
    os.close(worker)
    process.kill()
    process.communicate()


def _ends(worker: int) -> bool:
    return bool(select.select([worker], [], [], 30)[0])


def test_hanging_quantizer_is_ended_by_ctrl_c_and_nothing_is_left(shop, hanging):
    process, worker = hanging
    lock = shop.project.lock.read_bytes()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, without_progress(err).lstrip("\n")) == (
        130,
        "",
        "interrupted; nothing half-written is left\n",
    )
    assert _ends(worker)
    assert shop.weights_in_store() == {shop.source.sha256.hex}
    assert list((shop.project.cache / "tmp").iterdir()) == []
    assert shop.project.lock.read_bytes() == lock
    assert list(shop.project.root.glob("dist/*")) == []


def test_worker_ends_when_lftool_is_killed(hanging):
    process, worker = hanging
    process.kill()
    assert _ends(worker)
