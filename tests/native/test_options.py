"""What may stand behind `--`: a list of what is allowed, each of it an option of the pinned sources."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from tests.native.conftest import CACHE, start

import lftool_llamacpp

SERVE = Path(lftool_llamacpp.__file__).parent / "native" / "serve.cpp"


def listed(name: str) -> set[str]:
    text = SERVE.read_text()
    block = re.search(rf"const char \* const {name}\[\] = \{{(.*?)\}};", text, re.DOTALL)
    return set(re.findall(r'"(-[^"]+)"', block[1]))


@pytest.fixture(scope="module")
def parsed(native) -> set[str]:
    """Every option of the sources that the runtime was compiled from (common/arg.cpp)."""
    for path in sorted((CACHE / "cas-v1").rglob("*")):
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as members:
                for name in members.namelist():
                    if name.endswith("common/arg.cpp"):
                        text = members.read(name).decode()
                        lists = re.findall(r"common_arg\(\s*\{([^}]*)\}(?:,\s*\{([^}]*)\})?", text)
                        return {found for pair in lists for found in re.findall(r'"(-[^"]+)"', "".join(pair))}
    pytest.fail("the sources are not in the cache")


def test_what_is_allowed_is_an_option_of_the_pinned_sources(parsed):
    assert listed("ALLOWED") - parsed == set()
    assert listed("ALLOWED_WITH_KEY") - parsed == set()


# What names a file, a program, another machine, an address, a model or a key, in the pinned sources.
REACHES = re.compile(
    r"file|path|dir\b|dir$|url|repo|hf|host$|port|key|rpc|model$|lora|control-vector|mcp|tools|agent|draft|spec-|mmproj$|cors"
    r"|grammar|json-schema|^--slots|props|save|cache-static|cache-dynamic|output|image$|audio$|video|-default$|alias|tags"
)


def test_nothing_that_reaches_outside_is_allowed(parsed):
    allowed = listed("ALLOWED")
    assert {name for name in allowed if REACHES.search(name)} == {"--no-host"}


@pytest.mark.parametrize(
    "word",
    [
        "--log-file",
        "--log-prompts-dir",
        "--chat-template-file",
        "--rpc",
        "--ssl-key-file",
        "--lora-init-without-apply",
        "--control-vector",
        "--video-ffmpeg-dir",
        "--slot-save-path",
        "--slots",
        "--props",
        "--cors-origins",
        "--no-such-option",
        "--LOG_FILE",
        "--log_file=x",
        "-",
        "--",
    ],
)
def test_what_is_not_listed_is_refused(native, word):
    done = start(native, "--server", "--", word, "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "may not stand behind --" in done.stderr


def test_a_number_below_zero_is_a_value(native):
    done = start(native, "--server", "--host", "a,b", "--", "--seed", "-1", "--temp", "-.5")
    assert (done.returncode, "--host takes one address" in done.stderr) == (2, True)
