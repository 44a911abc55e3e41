"""A native bundle starts by itself: no Python, no files beside it, nothing written, on processors old and new."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.native.conftest import CHROOT, NAME, PROMPT, RECIPE, make_project, root_command, start

SAYS = "on the processor ({}), weights mapped where they lie\n"
LEVELS = ("x86-64-v1", "x86-64-v3", "x86-64-v4")


def best_level() -> str:
    import platform

    flags = Path("/proc/cpuinfo").read_text().split()
    if platform.machine() != "x86_64":
        return platform.machine()
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= set(flags):
        return LEVELS[2]
    return LEVELS[1] if {"avx2", "bmi2", "fma", "f16c"} <= set(flags) else LEVELS[0]


@pytest.fixture
def empty_root(native, tmp_path) -> Path:
    """A root with the bundle in it, and nothing else."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(native, root / "story.llamafile")
    return root


def told(story, bundle: Path, *arguments: str) -> str:
    """What the runtime in Python tells of the same weights."""
    return story.spawn("run", bundle, "-p", PROMPT, *arguments).assert_success().out


def test_it_answers_in_a_root_without_anything(empty_root):
    done = start(*root_command(empty_root, "/story.llamafile", "-p", PROMPT), env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Once upon a time there was a girl named ")
    assert done.stderr == f"story.llamafile: {SAYS.format(best_level())}"
    assert sorted(path.name for path in empty_root.rglob("*")) == ["story.llamafile"]


def test_it_tells_what_llama_cpp_python_tells_of_the_same_weights(story, native, tmp_path):
    plain = story.root / "dist" / NAME.format("python", "llamafile")
    outside = subprocess.run(
        [plain, "-p", PROMPT],
        env={**os.environ, "LFTOOL_PYTHON": os.sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert start(native, "-p", PROMPT).stdout == outside.stdout


@pytest.mark.parametrize("level", LEVELS)
def test_it_has_code_for_old_and_new_processors(native, level):
    if level > best_level():
        pytest.skip(f"this processor is not {level}")
    done = start(native, "-p", PROMPT, "--max-tokens", "8", env={"LFTOOL_CPU": level})
    assert done.stderr == f"{native.name}: {SAYS.format(level)}"
    assert done.stdout == "Once upon a time there was a girl\n"


def test_a_level_that_nobody_knows_is_refused_and_an_empty_one_is_none(native):
    done = start(native, "--version", env={"LFTOOL_CPU": "v9"})
    says = f"{native.name}: LFTOOL_CPU is 'v9': x86-64-v1, x86-64-v3 or x86-64-v4 can be asked for\n"
    assert (done.returncode, done.stderr) == (2, says)
    assert f", {best_level()}, " in start(native, "--version", env={"LFTOOL_CPU": ""}).stdout


def test_a_limit_on_the_size_of_files_leaves_the_oldest_code(native):
    command = ["/bin/sh", "-c", 'ulimit -f 1; exec "$@"', "sh", native, "-p", PROMPT, "--max-tokens", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, "Once upon a\n")
    assert "code cannot be started from memory (File too large); going on with x86-64-v1" in done.stderr


def test_a_decoy_of_the_same_name_in_the_working_directory_is_not_taken(native, tmp_path):
    for name in ("lftool:weights", "model.gguf", native.name):
        (tmp_path / name).write_bytes(b"GGUF, but not the model")
    done = start(native, "-p", PROMPT, "--max-tokens", "8", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Once upon a time there was a girl\n")


def test_it_needs_no_place_to_write(empty_root, tmp_path):
    """A read-only root whose only writable folder has 16 MiB: less than the executable that is started from memory."""
    if os.geteuid() != 0:
        pytest.skip("needs to mount")
    (empty_root / "tmp").mkdir()
    script = (
        f"mount --bind {empty_root} {empty_root} && mount -t tmpfs -o size=16m none {empty_root}/tmp"
        f" && mount -o remount,ro,bind {empty_root} && {CHROOT} {empty_root} /story.llamafile -p '{PROMPT}' --max-tokens 8"
        f" && find {empty_root}/tmp -type f"
    )
    done = start("unshare", "--mount", "sh", "-c", script, env=os.environ)
    assert (done.returncode, done.stdout) == (0, "Once upon a time there was a girl\n"), done.stderr


def test_it_opens_no_file_for_writing(native, tmp_path):
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=open,openat,creat,rename,unlink", "-o", trace, native, "-p", PROMPT]
    done = start(*command, "--max-tokens", "2", env=os.environ, cwd=tmp_path)
    if done.returncode == 127 or "ptrace" in done.stderr:
        pytest.skip("no strace here")
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines()
    assert [line for line in lines if "O_WRONLY" in line or "O_RDWR" in line or "O_CREAT" in line] == []


def test_the_prompt_may_come_on_standard_input(native):
    done = start(native, "--max-tokens", "8", stdin=None, input=PROMPT)
    assert done.stdout == "Once upon a time there was a girl\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_end_of_the_last_line_of_standard_input_is_no_part_of_the_prompt(native, end):
    asked = start(native, "-p", PROMPT, "--max-tokens", "40").stdout
    assert start(native, "--max-tokens", "40", stdin=None, input=f"{PROMPT}{end}").stdout == asked


def test_a_prompt_that_no_context_holds_is_not_read_to_its_end(native):
    done = start(native, stdin=None, input="a " * 9_000_000)
    assert done.returncode == 1
    assert done.stderr.endswith(f"{native.name}: the prompt is longer than 16 MiB\n")


def test_no_prompt_is_an_error(native):
    done = start(native, stdin=None, input=" \n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"{native.name}: no prompt: give -p, or write one to standard input\n")


def test_raw_completes_the_text_as_it_is(native):
    done = start(native, "-p", "Once upon a time", "--raw", "--max-tokens", "4")
    assert done.stdout.startswith(" there was a ")


def talk(bundle: Path, text: str, *arguments: str) -> tuple[str, str]:
    """Type `text` and Ctrl-D into a terminal that the bundle reads from; return what it wrote."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [bundle, *arguments], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    os.write(ours, text.encode() + b"\x04")
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    return out, err


def test_it_talks_on_a_terminal(native):
    out, err = talk(native, "Tell me a story about a fox.\n\nAnd one about a cat.\n", "--max-tokens", "6")
    assert out == "> Once upon a time there was\n> > Once upon a time there was\n> \n"
    assert "Ctrl-D ends the conversation, /help lists commands.\n" in err
    assert err.count("(cut off: --max-tokens 6)\n") == 2


def test_a_prompt_that_is_longer_than_the_context_is_an_error_and_a_conversation_begins_anew(tmp_path):
    project = make_project(tmp_path, _contract("", context=64))
    project.spawn("lock").assert_success()
    project.spawn("build").assert_success()
    bundle = project.root / "dist" / NAME.format("native", "llamafile")
    done = start(bundle, "-p", "fox " * 400)  # llama.cpp rounds a context up to 256 tokens
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"{bundle.name}: the prompt is longer than the context\n")
    out, err = talk(bundle, "Tell me a story about a fox.\n" * 12, "--max-tokens", "24")
    assert out.count("Once upon a time") == 12  # what did not fit is forgotten
    assert "(the context of 256 tokens is full: the oldest turn is forgotten)\n" in err
    out, err = talk(bundle, "fox " * 400 + "\nTell me a story about a fox.\n", "--max-tokens", "6")
    assert out == "> > Once upon a time there was\n> \n"
    assert "tokens, and the context 256\n" in err


@pytest.mark.slow
def test_an_answer_that_the_context_ends_says_so(tmp_path):
    project = make_project(tmp_path, _contract("", context=64))
    project.spawn("lock").assert_success()
    project.spawn("build").assert_success()
    done = start(project.root / "dist" / NAME.format("native", "llamafile"), "--raw", "-p", "fox " * 60)
    assert done.stderr.endswith("the answer ends here: the context of 256 tokens is full\n")


def test_a_manifest_that_is_nested_too_deeply_is_refused(native, executable, tmp_path):
    """Its members are stored, so what stands in the place of the manifest has its length."""
    with zipfile.ZipFile(native) as members:
        info = members.getinfo("lftool/bundle.json")
        manifest = members.read(info)
    data = native.read_bytes()
    at = data.index(manifest, info.header_offset)
    deep = b'{"run":' + b"[" * 100 + b"]" * 100
    deep += b" " * (len(manifest) - len(deep) - 1) + b"}"
    (tmp_path / "deep").write_bytes(data[:at] + deep + data[at + len(manifest) :])
    done = start(executable, "--bundle", tmp_path / "deep", "--verify")
    assert (done.returncode, done.stderr) == (4, f"{executable.name}: its manifest is nested too deeply\n")


@pytest.mark.slow
def test_a_chat_template_that_cannot_be_read_is_no_matter_of_raw_text(tmp_path):
    project = make_project(tmp_path, RECIPE)
    weights = project.root / "tiny-story-f16.gguf"
    weights.write_bytes(with_template(weights.read_bytes(), "{% if"))
    project.spawn("lock").assert_success()
    project.spawn("build").assert_success()
    bundle = project.root / "dist" / NAME.format("native", "llamafile")
    assert start(bundle, "--raw", "-p", "Once upon a time", "--max-tokens", "4").stdout.startswith(" there was a ")
    done = start(bundle, "-p", PROMPT)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{bundle.name}: the model's chat template cannot be read; --raw completes without it\n" in done.stderr


def with_template(gguf: bytes, template: str) -> bytes:
    """Replace the chat template by another of the same length."""
    key = b"tokenizer.chat_template"
    at = gguf.index(key) + len(key) + 4  # behind the type of the value
    size = int.from_bytes(gguf[at : at + 8], "little")
    return gguf[: at + 8] + template.encode().ljust(size) + gguf[at + 8 + size :]


def test_it_checks_itself(native):
    done = start(native, "--verify")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "every content is what the manifest names; `lftool verify` also says who signed it\n",
        "",
    )


def test_it_notices_that_its_weights_changed(story, native, tmp_path):
    offset = story.run("inspect", "--json", native).assert_success().json()["offsets"]["model.gguf"]
    changed = tmp_path / "changed.llamafile"
    data = bytearray(native.read_bytes())
    data[offset + 1_000_000] ^= 1
    changed.write_bytes(data)
    changed.chmod(0o755)
    done = start(changed, "--verify")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "changed.llamafile: model.gguf is not what the manifest names\n"


@pytest.mark.parametrize("size", [20, 97, 4096, 41_000_000])
def test_a_bundle_that_was_cut_off_says_so(native, tmp_path, size):
    cut = tmp_path / "cut.llamafile"
    cut.write_bytes(native.read_bytes()[:-size])
    cut.chmod(0o755)
    done = start(cut, "-p", PROMPT)
    if size < 41_000_000:
        assert (done.returncode, done.stdout, done.stderr) == (4, "", "cut.llamafile: not an lftool bundle\n")
    else:
        assert done.returncode != 0  # the executable itself is cut


@pytest.mark.parametrize("at", range(1, 400, 23))
def test_damaged_directories_end_with_a_message(native, executable, tmp_path, at):
    """Every byte near the end of the file, one after the other: an exit status of ours, never a crash."""
    data = bytearray(native.read_bytes())
    data[-at] ^= 0xFF
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    done = start(executable, "--bundle", damaged, "--verify")
    assert done.returncode in {0, 4}, done.stderr


def test_the_runtime_alone_has_no_model(executable):
    done = start(executable, "-p", PROMPT)
    assert (done.returncode, done.stderr) == (4, "runtime: not an lftool bundle\n")


@pytest.mark.parametrize("target", ["python", "gguf"])
def test_the_runtime_runs_bundles_of_other_layouts(story, native, executable, target):
    (bundle,) = (story.root / "dist").glob(f"story-1-{target}.*")
    assert start(executable, "--bundle", bundle, "-p", PROMPT).stdout == start(native, "-p", PROMPT).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--frobnicate"], "unknown option --frobnicate; --help lists them"),
        (["--max-tokens"], "--max-tokens needs a value"),
        (["--max-tokens", "0"], "--max-tokens: 0 is not a number from 1 on"),
        (["--raw=yes"], "--raw takes no value"),
        (["--", "--parallel", "2"], "what follows -- is for the server; give --server too"),
    ],
)
def test_wrong_command_lines_say_what_is_wrong(native, arguments, says):
    done = start(native, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{native.name}: {says}\n")


def test_help_version_and_licences(native):
    assert start(native, "--help").stdout.startswith(f"Usage: {native.name} [OPTIONS]\n")
    assert start(native, "--version").stdout.startswith(f"lftool native/1, cpu, {best_level()}, llama.cpp ")
    licenses = start(native, "--licenses").stdout
    assert "GNU C and C++ libraries (LGPL-2.1" in licenses
    assert "MIT License" in licenses


def test_it_stops_at_stop_strings_and_says_nothing_of_them(tmp_path):
    project = make_project(tmp_path, _contract('stop = ["girl named", "xyz"]\nsystem = "You tell stories."\n'))
    project.spawn("lock").assert_success()
    project.spawn("build").assert_success()
    bundle = project.root / "dist" / NAME.format("native", "llamafile")
    assert start(bundle, "-p", PROMPT).stdout == "Once upon a time there was a \n"


def _contract(more: str, context: int = 512) -> str:
    return RECIPE.partition("[targets.python]")[0] + f"[run]\ncontext = {context}\ntemperature = 0.0\n{more}"


FULL = "standard output cannot be written"


@pytest.mark.parametrize("arguments", [("-p", PROMPT), ("--version",)], ids=str)
def test_an_answer_that_cannot_be_written_is_a_failure(native, arguments):
    """The disk is full, or nobody gave it a standard output."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run([native, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, FULL in done.stderr) == (1, True)
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", native, *arguments], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (closed.returncode, FULL in closed.stderr) == (1, True)


def test_a_closed_standard_input_is_no_prompt(story, native, tmp_path):
    """Else the first file that is opened would be standard input: the bundle itself."""
    lftool = [sys.executable, "-m", "lftool.cli.entry", "run"]
    without = {"XDG_CACHE_HOME": str(tmp_path)}  # a cache that knows of no native runtime
    for argv, more in (([native], {}), ([*lftool, native], {}), ([*lftool, native], without)):
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" <&-', "sh", *argv],
            env={**story.environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, "no prompt: give -p" in done.stderr) == (1, "", True), argv
