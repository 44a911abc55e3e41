"""What a project, a bundle or a model file says is bounded in time and memory, and ends with the right exit status."""

from __future__ import annotations

import io
import json
import os
import struct
import time
import tracemalloc

import pytest

from lftool.bundle.reader import MAX_DOCUMENTS
from lftool.codec.toml_in import MOST_LOCK_BYTES, MOST_RECIPE_BYTES, parse_toml, read_bytes
from lftool.errors import FormatError, LftoolError, RecipeError
from lftool.formats.gguf_read import MAX_KEPT_BYTES, read_gguf
from lftool.formats.safetensors import read_safetensors
from lftool.models.globs import is_chosen, parse_glob
from lftool.models.manifest import PROVENANCE_PATH, RECIPE_PATH, SBOM_PATH
from lftool.testing import rewrite_bundle

SECONDS = 3


@pytest.fixture
def quick():
    """The test needs little of the processor: a bound that does not hold takes minutes, or for ever."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < SECONDS


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["lftool.toml", "lftool.lock"])
def test_a_fifo_in_the_place_of_a_file_hangs_nobody(plain_project, name):
    path = plain_project.root / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    done = plain_project.run("lock", "--check")
    assert done.status in {2, 3}


@pytest.mark.usefixtures("quick")
def test_a_recipe_that_is_too_large_is_not_parsed(plain_project):
    plain_project.write_recipe("#" * MOST_RECIPE_BYTES + "\n")
    done = plain_project.run("lock")
    assert (done.status, "at most 1048576 bytes are allowed" in done.err) == (2, True)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("name", "status"), [("trust.toml", 5), ("config.toml", 2), ("credentials.toml", 2)])
def test_a_file_of_the_users_that_is_too_large_is_not_parsed(plain_project, name, status):
    plain_project.write_configuration("")
    (plain_project.home / "config" / "lftool" / name).write_bytes(b"#" * (MOST_RECIPE_BYTES + 1))
    plain_project.write_recipe(plain_project.recipe.read_text().replace("file:model.gguf", "http://127.0.0.1:1/x.gguf"))
    (plain_project.root / "x").write_bytes(b"x")
    done = plain_project.run("run", "x") if name == "trust.toml" else plain_project.run("lock")
    assert (done.status, "at most 1048576 bytes are allowed" in done.err) == (status, True), done.err


@pytest.mark.usefixtures("quick")
def test_a_lock_that_is_too_large_is_not_read(plain_project):
    with plain_project.lock.open("wb") as file:
        file.truncate(MOST_LOCK_BYTES + 1)
    done = plain_project.run("build")
    assert (done.status, "at most 268435456 bytes are allowed" in done.err) == (3, True)


DEEP = ".".join(["a"] * 200)
KEYS = {
    "a key": f"{DEEP} = 1",
    "a table": f"[{DEEP}]",
    "an array of tables": f"[[{DEEP}]]",
    "in an inline table": f"x = {{ {DEEP} = 1 }}",
    "quoted": '"a".' * 200 + "b = 1",
    "quoted otherwise": "'a'." * 200 + "b = 1",
    "with spaces": " . ".join(["a"] * 200) + " = 1",
    "behind a comma": f"x = {{ y = 1, {DEEP} = 1 }}",
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("text", KEYS.values(), ids=KEYS.keys())
def test_a_dotted_key_of_many_parts_is_refused(text):
    with pytest.raises(RecipeError, match="a dotted key has more than 64 parts"):
        parse_toml(text.encode(), "lftool.toml", RecipeError)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("text", ['x = "' + ".".join(["a"] * 100) + '"', "x = 1." + "1" * 100, "a.b.c = 1"])
def test_what_is_no_deep_key_is_none(text):
    parse_toml(text.encode(), "lftool.toml", RecipeError)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("data", [b"a" * 1_000_000, b"a." * 60 + b"\n" * 100_000, b"[" * 500_000, b'"' * 500_000])
def test_text_that_is_no_toml_takes_no_time(data):
    with pytest.raises(RecipeError):
        parse_toml(data, "lftool.toml", RecipeError)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("glob", ["**a" * 40, "*a" * 60, "**/" * 60 + "b", "?*" * 60 + "b", "*" * 500 + "b"])
def test_a_glob_takes_time_in_proportion(glob):
    assert not is_chosen("a" * 3000 + "/c", [glob], [])


GLOBS = {
    "*.gguf": (["a.gguf"], ["x/a.gguf", "a.ggu"]),
    "**/*.gguf": (["a.gguf", "x/a.gguf", "x/y/a.gguf"], ["a.txt"]),
    "**.gguf": (["a.gguf", "x/a.gguf"], ["a.txt"]),
    "x/**": (["x/a", "x/y/a"], ["x", "xa"]),
    "a?c": (["abc"], ["ac", "a/c", "abbc"]),
    "[x].gguf": (["[x].gguf"], ["x.gguf"]),
    "*/*": (["a/b"], ["a", "a/b/c"]),
    "": ([""], ["a"]),
    "a**b": (["ab", "a/x/b", "axb"], ["a/x"]),
}


@pytest.mark.parametrize(("glob", "paths"), GLOBS.items(), ids=GLOBS.keys())
def test_globs_mean_what_they_meant(glob, paths):
    yes, no = paths
    assert {path: parse_glob(glob).matches(path) for path in (*yes, *no)} == {
        **dict.fromkeys(yes, True),
        **dict.fromkeys(no, False),
    }


@pytest.mark.parametrize("size", [2**53, 2**63, 10**30])
def test_a_size_that_no_file_has_is_a_malformed_lock(plain_project, size):
    plain_project.run("lock").assert_success()
    text = plain_project.lock.read_text()
    real = (plain_project.root / "model.gguf").stat().st_size
    assert f"size = {real}" in text
    plain_project.lock.write_text(text.replace(f"size = {real}", f"size = {size}"))
    done = plain_project.run("build")
    assert done.status == 3
    assert "internal" not in done.err


def safetensors(header: dict) -> tuple[io.BytesIO, int]:
    data = json.dumps(header).encode()
    whole = struct.pack("<Q", len(data)) + data
    return io.BytesIO(whole), len(whole)


HUGE = 10**4000
SHAPES = {
    "a shape": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4]},
    "shapes": {"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 4]},
    "an offset": {"dtype": "F32", "shape": [1], "data_offsets": [0, HUGE]},
    "just too large": {"dtype": "F32", "shape": [2**53], "data_offsets": [0, 4]},
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("tensor", SHAPES.values(), ids=SHAPES.keys())
def test_numbers_of_4000_digits_are_no_internal_error(tensor):
    file, size = safetensors({"x": tensor})
    with pytest.raises(FormatError, match="below 2\\^53"):
        read_safetensors(file, size, "weights")


@pytest.mark.usefixtures("quick")
def test_a_safetensors_header_of_33_megabytes_is_not_read():
    class Endless(io.RawIOBase):
        def read(self, count=-1):
            return struct.pack("<Q", 33 * 1024 * 1024) if count == 8 else pytest.fail("it was read")

    with pytest.raises(FormatError, match="at most 33554432 are allowed"):
        read_safetensors(Endless(), 1 << 40, "weights")


def gguf(keys: list[bytes]) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(keys)) + b"".join(keys)


def entry(name: str, text: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<IQ", 8, len(text)) + text


@pytest.mark.usefixtures("quick")
def test_a_gguf_header_of_text_stays_small_in_memory():
    """240 MB of text took a gigabyte: what is kept is bounded, not only what is read."""
    block = b"\xc3\xa9" * (4 * 1024 * 1024)
    data = gguf([entry(f"k{number}", block) for number in range(30)])
    tracemalloc.start()
    with pytest.raises(FormatError, match=f"take more than {MAX_KEPT_BYTES} bytes"):
        read_gguf(io.BytesIO(data), len(data), "weights")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * MAX_KEPT_BYTES


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("path", [PROVENANCE_PATH, SBOM_PATH, RECIPE_PATH])
def test_a_document_that_is_too_large_is_not_parsed(plain_project, tmp_path, path):
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    bundle = plain_project.root / "dist" / "tiny-1-plain.gguf"
    large = rewrite_bundle(bundle, tmp_path / "large.gguf", contents={path: b"[" * (MAX_DOCUMENTS[path] + 1)})
    done = plain_project.run("verify", "--allow-unsigned", large)
    assert (done.status, f"at most {MAX_DOCUMENTS[path]} are allowed" in done.err) == (4, True)


STEERING = "\x1b[2J\x1b]0;title\x07\u202egone\u2066\x9b31m"


@pytest.mark.parametrize("place", ["name of a file", "name of a target in an error", "what a lock says"])
def test_what_could_steer_a_terminal_is_spelt_out(plain_project, place):
    if place == "name of a file":
        (plain_project.root / "model.gguf").rename(plain_project.root / "m\u202eodel.gguf")
        plain_project.write_recipe(plain_project.recipe.read_text().replace("file:model.gguf", "file:*.gguf"))
        done = plain_project.run("lock")
        done = plain_project.run("build")
    elif place == "name of a target in an error":
        done = plain_project.run("build", STEERING)
    else:
        plain_project.run("lock").assert_success()
        text = plain_project.lock.read_text().replace('uri = "file:model.gguf"', 'uri = "file:\\u001b[2J\\u202e"')
        plain_project.lock.write_text(text)
        done = plain_project.run("build")
    shown = done.out + done.err
    assert not set(shown) & set(STEERING) - set("[2J]0;titlegonem31")


def test_the_console_spells_out_what_a_server_says(capsys):
    from lftool.api import Notice, StageFinished
    from lftool.builtin.console import ConsoleObserver

    show = ConsoleObserver()
    show(Notice(text=STEERING, warning=True))
    show(StageFinished(stage="fetch", target=STEERING, detail=STEERING, seconds=0))
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\u202e" not in err
    assert "\\x1b[2J" in err


def test_an_answer_does_not_steer_a_terminal(monkeypatch):
    from lftool.builtin.python_runtime import runner

    monkeypatch.setattr("sys.stdout", type("Terminal", (), {"isatty": lambda self: True})())
    assert runner.shown(STEERING) == "\\x1b[2J\\x1b]0;title\\x07\\u202egone\\u2066\\x9b31m"
    assert runner.shown("Zoë said: 你好 👨‍👩‍👧\n\tكتب") == "Zoë said: 你好 👨‍👩‍👧\n\tكتب"
    monkeypatch.setattr("sys.stdout", type("Pipe", (), {"isatty": lambda self: False})())
    assert runner.shown(STEERING) == STEERING


def test_a_file_is_not_read_past_its_budget(tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 11)
    with pytest.raises(LftoolError, match="at most 10 bytes are allowed"):
        read_bytes(tmp_path / "f", "f", RecipeError, most=10)
