"""Bundles of the example run in place: one story from both layouts, weights mapped from the bundle, nothing copied."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.known_tools import give

from lftool.testing import ProjectFolder

PROMPT = "Tell me a story about a fox."
DEADLINE = 60


@pytest.fixture(scope="session")
def example(repository, tmp_path_factory, worker_id, known_tools) -> ProjectFolder:
    """The example, built unsigned; once, by the first worker."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "tiny-story"
    shared.mkdir(exist_ok=True)
    found = ProjectFolder(root=shared / "project", home=shared / "home")
    with (shared / "mutex").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not (shared / "ready").exists():
            give(known_tools, found.home)
            source = repository / "examples" / "tiny-story"
            shutil.copytree(source, found.root, ignore=shutil.ignore_patterns("dist", "train"))
            found.spawn("build", "--no-sign").assert_success()
            (shared / "ready").touch()
    return found


NAMES = {"q4": "tiny-story-1.0.0-q4.llamafile", "q8": "tiny-story-1.0.0-q8.gguf", "f16": "tiny-story-1.0.0-f16.gguf"}


@pytest.fixture
def bundles(example) -> dict[str, Path]:
    return {target: example.root / "dist" / name for target, name in NAMES.items()}


@pytest.fixture
def project(example, tmp_path) -> ProjectFolder:
    """A working directory of its own, with a file that must not be taken for the model, and an empty TMPDIR."""
    root = tmp_path / "elsewhere"
    root.mkdir()
    (root / "model.gguf").write_bytes(b"not the model")
    (tmp_path / "tmp").mkdir()
    return ProjectFolder(root=root, home=example.home)


@pytest.fixture
def run(project, tmp_path):
    def call(bundle: Path, *arguments: str, stdin: str = ""):
        return project.spawn("run", bundle, *arguments, env={"TMPDIR": str(tmp_path / "tmp")}, stdin=stdin)

    return call


def story_of(path: Path, prompt: str = PROMPT, *, raw: bool = False, most: int = 160) -> str:
    """What stock llama_cpp.Llama tells when it loads the file by path, with the example's contract.

    The template ends in `Assistant:`, so an answer begins with a space, which the runner leaves out.
    """
    code = (
        "import sys, llama_cpp\n"
        "path, prompt, raw, most = sys.argv[1:]\n"
        "llm = llama_cpp.Llama(model_path=path, n_ctx=512, seed=0, verbose=False)\n"
        "if raw == 'True':\n"
        "    print(llm.create_completion(prompt, temperature=0.0, max_tokens=int(most))['choices'][0]['text'])\n"
        "else:\n"
        "    messages = [{'role': 'user', 'content': prompt}]\n"
        "    answer = llm.create_chat_completion(messages, temperature=0.0, max_tokens=int(most))\n"
        "    print(answer['choices'][0]['message']['content'].lstrip())\n"
    )
    command = [sys.executable, "-c", code, str(path), prompt, str(raw), str(most)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow_cases(r"\[f16")
@pytest.mark.parametrize("target", ["q8", "f16"])
def test_gguf_bundle_loads_by_path_in_stock_llama_and_tells_what_lftool_run_tells(bundles, run, target):
    expected = story_of(bundles[target])
    assert run(bundles[target], "-p", PROMPT).assert_success().out == expected
    assert len(expected.split()) > 20


def test_llamafile_bundle_tells_what_its_extracted_weights_tell(bundles, run, project, tmp_path):
    project.run("extract", bundles["q4"], tmp_path / "parts").assert_success()
    (weights,) = (tmp_path / "parts").rglob("*.gguf")
    assert run(bundles["q4"], "-p", PROMPT).assert_success().out == story_of(weights)


def test_llamafile_bundle_started_by_itself_tells_the_same(bundles, run, project):
    started = subprocess.run(
        [bundles["q4"], "-p", PROMPT],
        cwd=project.root,
        env={**project.environment, "LFTOOL_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout == run(bundles["q4"], "-p", PROMPT).assert_success().out


def test_q4_bundle_in_both_layouts_tells_the_same_story(example, bundles, run, tmp_path):
    """The same weights, once behind a runtime and once in front."""
    other = ProjectFolder(root=tmp_path / "both", home=example.home)
    shutil.copytree(example.root, other.root, ignore=shutil.ignore_patterns("dist"))
    recipe = other.recipe.read_text()
    other.write_recipe(recipe.replace('layout = "llamafile"', 'layout = "gguf"'))
    other.spawn("lock").assert_success()
    other.spawn("build", "q4", "--no-sign").assert_success()
    in_front = other.root / "dist" / "tiny-story-1.0.0-q4.gguf"
    behind = run(bundles["q4"], "-p", PROMPT).assert_success().out
    assert run(in_front, "-p", PROMPT).assert_success().out == behind


def test_prompt_on_standard_input_is_answered(bundles, run):
    assert run(bundles["q8"], stdin=PROMPT).assert_success().out == run(bundles["q8"], "-p", PROMPT).out


def test_max_tokens_bounds_the_answer(bundles, run):
    short = run(bundles["f16"], "-p", PROMPT, "--max-tokens", "5").assert_success().out
    assert short == story_of(bundles["f16"], most=5)
    assert len(short) < len(run(bundles["f16"], "-p", PROMPT).out)


def test_raw_completes_the_text_without_the_chat_template(bundles, run):
    told = run(bundles["f16"], "-p", "Once upon a time", "--raw", "--max-tokens", "20").assert_success().out
    assert told == story_of(bundles["f16"], "Once upon a time", raw=True, most=20)
    assert told != run(bundles["f16"], "-p", "Once upon a time", "--max-tokens", "20").out


@pytest.mark.parametrize("target", NAMES)
def test_run_says_that_nobody_signed_and_what_runs_where(bundles, run, target):
    name = bundles[target].name
    done = run(bundles[target], "-p", PROMPT, "--max-tokens", "1").assert_success()
    assert done.err == (
        f"{name}: unsigned: integrity checked, no signature to verify\n{name}: on the processor; llama-cpp-python\n"
    )


@pytest.mark.parametrize("target", NAMES)
def test_nothing_is_left_in_the_temporary_folder(bundles, run, tmp_path, target):
    run(bundles[target], "-p", PROMPT, "--max-tokens", "1").assert_success()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_changed_bundle_is_not_run(bundles, run, tmp_path):
    changed = tmp_path / bundles["f16"].name
    data = bytearray(bundles["f16"].read_bytes())
    data[1_000_000] ^= 1
    changed.write_bytes(data)
    done = run(changed, "-p", PROMPT)
    assert (done.status, done.out) == (4, "")


def start_by_itself(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "LFTOOL_PYTHON": sys.executable}
    command = ["sh", bundle, *arguments]
    return subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_bundle_checks_itself(bundles):
    done = start_by_itself(bundles["q4"], "--verify")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "every content is what the manifest names; `lftool verify` also says who signed it\n",
        "",
    )


def test_bundle_notices_that_its_weights_changed(bundles, project, tmp_path):
    offsets = project.run("inspect", "--json", bundles["q4"]).assert_success().json()["offsets"]
    (weights,) = (name for name in offsets if name.endswith(".gguf"))
    changed = tmp_path / "changed.llamafile"
    data = bytearray(bundles["q4"].read_bytes())
    data[offsets[weights] + 1_000_000] ^= 1
    changed.write_bytes(data)
    done = start_by_itself(changed, "--verify")
    assert (done.returncode, done.stdout, done.stderr) == (
        4,
        "",
        f"{changed}: {weights} is not what the manifest names\n",
    )


class Chat:
    """`lftool run` on a pseudo-terminal."""

    def __init__(self, command: list[str | Path], folder: Path, variables: dict[str, str]) -> None:
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def read_until(self, end: str) -> str:
        """Read until the terminal shows `end` last; a terminal that is closed ends the reading."""
        shown = ""
        while not shown.endswith(end):
            assert select.select([self.terminal], [], [], DEADLINE)[0], f"nothing more came after {shown!r}"
            try:
                piece = os.read(self.terminal, 4096).decode()
            except OSError:  # Linux says EIO when the other side is closed
                break
            shown = (shown + piece).replace("\r\n", "\n")
        return shown

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def ask(self, prompt: str) -> str:
        """Return the answer, without the echo of the prompt and the next `>>> `; lines may break between its words."""
        self.type(prompt + "\n")
        shown = self.read_until("\n>>> ")
        assert shown.startswith(prompt + "\n")
        return " ".join(shown.removeprefix(prompt + "\n").removesuffix("\n>>> ").split())


@pytest.fixture
def chat(project, tmp_path):
    opened = []

    def start(bundle: Path) -> Chat:
        variables = {**project.environment, "TMPDIR": str(tmp_path / "tmp"), "TERM": "dumb"}
        command = [sys.executable, "-m", "lftool.cli.entry", "run", bundle]
        opened.append(Chat(command, project.root, variables))
        return opened[-1]

    yield start
    for item in opened:
        item.process.kill()
        item.process.wait()
        os.close(item.terminal)


@pytest.mark.parametrize("target", ["q4", "q8"])
def test_chat_answers_two_turns_and_ends_on_ctrl_d(bundles, chat, project, tmp_path, target):
    project.run("extract", bundles[target], tmp_path / "parts").assert_success()
    (weights,) = (tmp_path / "parts").rglob("*.gguf")
    talk = chat(bundles[target])
    greeting = talk.read_until(">>> ")
    first = talk.ask(PROMPT)
    second = talk.ask("Tell me another story about a bird.")
    talk.type("\x04")
    rest = talk.read_until("\0")
    assert "Ctrl-D ends the conversation, /help lists commands.\n>>> " in greeting
    assert first == " ".join(story_of(weights).split())
    assert second
    assert second != first
    assert talk.process.wait(timeout=DEADLINE) == 0
    assert "Traceback" not in rest


_MAP = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) +(/.*)")


def mapped(pid: int) -> dict[str, int]:
    """Bytes mapped of each file."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _MAP.fullmatch(line)
        if match:
            start, end, path = int(match[1], 16), int(match[2], 16), match[4]
            found[path] = found.get(path, 0) + end - start
    return found


def opened(pid: int) -> set[str]:
    """Regular files that a process has open."""
    links = (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())
    return {str(path) for path in links if path.is_file() and not str(path).startswith(("/proc", "/dev"))}


@pytest.mark.parametrize("target", NAMES)
def test_weights_are_mapped_from_the_bundle_and_not_copied(bundles, chat, project, target):
    bundle = bundles[target]
    talk = chat(bundle)
    talk.read_until("> ")
    pid = talk.process.pid
    maps = mapped(pid)
    weights = project.run("inspect", "--json", bundle).assert_success().json()["weights"]
    tensors = sum(tensor["size"] for tensor in weights["tensors"])
    # llama.cpp unmaps what lies at the ends and is kept in another arrangement for the CPU: a few per cent
    assert maps.get(str(bundle), 0) > 0.9 * tensors
    models = {path for path in maps if path.endswith((".gguf", ".llamafile", ".bin", "(deleted)"))}
    assert models == {str(bundle)}
    assert {path for path in opened(pid) if ".so" not in path} <= {str(bundle)}


@pytest.mark.parametrize("name", ["struct", "json", "argparse", "llama_cpp", "lftool"])
def test_a_bundle_imports_nothing_from_the_folder_that_it_is_started_in(bundles, tmp_path, name):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')\n")
    variables = {"PATH": os.environ["PATH"], "LFTOOL_PYTHON": sys.executable}
    command = ["sh", bundles["q4"], "-p", PROMPT, "--max-tokens", "1"]

    done = subprocess.run(
        command, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
