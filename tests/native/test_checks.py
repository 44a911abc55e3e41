"""`lftool check`: bundles held against the recipe's checks, by asking them."""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.native.conftest import PROMPT

from lftool.api import ProjectFiles
from lftool.builtin.check_kinds import EmbeddingCheck, EmbeddingOptions
from lftool.builtin.json_schemas import difference, read_schema
from lftool.errors import RecipeError, UnavailableError
from lftool.ops.checks.junit import junit_xml
from lftool.ops.checks.report import CheckReport, CheckResult
from lftool.ops.run import served_model as answers
from lftool.store.store import Store
from lftool.testing import FakeCheckContext, ProjectFolder
from lftool.testing.loopback import LoopbackServer

SCHEMA = (
    '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": false}'
)


@pytest.fixture
def project(story, tmp_path) -> ProjectFolder:
    """The story's project, with files that checks name."""
    root = tmp_path / "checked"
    shutil.copytree(story.root, root)
    (root / "answer.schema.json").write_text(SCHEMA)
    return ProjectFolder(root=root, home=story.home)


def checked(project, text: str, target: str = "native", *arguments: str):
    (bundle,) = (project.root / "dist").glob(f"story-1-{target}.*")
    project.write_recipe(project.recipe.read_text() + text)
    return project.run("check", bundle, *arguments)


SCHEMA_CHECK = """
[[checks]]
kind = "json-schema"
prompt = "Tell me"
schema = "answer.schema.json"
constrained = true
max_tokens = 200
"""
HOLD = f"""
[[checks]]
kind = "prompt"
name = "tells a story"
prompt = "{PROMPT}"
contains = ["fox", "friends"]
[[checks]]
kind = "regex"
prompt = "{PROMPT}"
matches = "girl named [A-Z][a-z]+"
[[checks]]
kind = "embedding"
prompt = "{PROMPT}"
similar_to = "Once upon a time there was a girl named Mia who had a fox."
min_similarity = 0.5
[[checks]]
kind = "time-to-first-token"
prompt = "{PROMPT}"
max_seconds = 5
[[checks]]
kind = "perplexity"
text = "held-out.txt"
max_increase = 0.05
"""


@pytest.mark.parametrize("target", ["native", pytest.param("python", marks=pytest.mark.slow)])
def test_checks_that_hold(project, tmp_path, target):
    done = checked(project, HOLD, target, "--json", "--junit", str(tmp_path / "junit.xml")).assert_success()
    (report,) = done.json()["bundles"]
    assert report["asked"] == "on the processor; native runtime"  # it is there, so it is asked
    assert [(check["name"], check["holds"]) for check in report["checks"]] == [
        ("tells a story", True),
        ("regex-2", True),
        ("embedding-3", True),
        ("time-to-first-token-4", True),
        ("perplexity-5", True),
    ]
    suites = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("5", "0")
    assert next(suites.iter("testcase")).get("name") == "tells a story"


def test_checks_that_hold_where_there_is_no_native_runtime(project, tmp_path):
    """llama-cpp-python answers; the cache is one that knows of no executable."""
    elsewhere = ProjectFolder(root=project.root, home=tmp_path / "home")
    elsewhere.home.mkdir()
    done = checked(
        elsewhere, HOLD.partition('[[checks]]\nkind = "perplexity"')[0] + SCHEMA_CHECK, "gguf"
    ).assert_success()
    assert done.out.count("  passes  ") == 5
    assert "(on the processor; llama-cpp-python)\n" in done.out


def test_a_detached_bundle_is_checked_as_the_bundle(project, tmp_path):
    (bundle,) = (project.root / "dist").glob("story-1-native.*")
    project.run("detach", bundle, "-o", tmp_path / "parts").assert_success()
    project.write_recipe(
        f'{project.recipe.read_text()}\n[[checks]]\nkind = "prompt"\nprompt = "{PROMPT}"\ncontains = ["fox"]\n'
    )
    for name in ("story-1-native.lftool", "story-1-native.gguf"):
        done = project.run("check", tmp_path / "parts" / name).assert_success()
        assert done.out.count("  passes  ") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'kind = "prompt"\nprompt = "{PROMPT}"\ncontains = ["aardvark"]', "'aardvark' is not in the answer"),
        (f'kind = "regex"\nprompt = "{PROMPT}"\nmatches = "^Never"', "'^Never' matches nothing in the answer"),
        ('kind = "json-schema"\nprompt = "Tell"\nschema = "answer.schema.json"', "the answer is not JSON; "),
        (
            f'kind = "embedding"\nprompt = "{PROMPT}"\nsimilar_to = "x"\nmin_similarity = 1.0',
            "but the check needs 1; the answer is",
        ),
        (f'kind = "time-to-first-token"\nprompt = "{PROMPT}"\nmax_seconds = 0.0', "but the check allows 0 s"),
        ('kind = "perplexity"\ntext = "held-out.txt"\nmax_increase = 0.0', "but the check allows +0.00%"),
    ],
)
def test_a_check_that_does_not_hold_is_a_failure_with_what_was_found(project, tmp_path, text, says):
    done = checked(project, f"\n[[checks]]\n{text}\n", "native", "--junit", str(tmp_path / "junit.xml"))
    assert done.status == 6
    assert "  FAILS  " in done.out
    assert says in done.out
    assert "error: 1 of 1 checks failed: native/" in done.err
    (failure,) = ET.parse(tmp_path / "junit.xml").getroot().iter("failure")
    assert says in failure.get("message")


def test_a_report_has_the_whole_answer_and_the_terminal_its_beginning(project, tmp_path):
    text = f'\n[[checks]]\nkind = "prompt"\nprompt = "{PROMPT}"\nmax_tokens = 160\ncontains = ["aardvark"]\n'
    done = checked(project, text, "native", "--junit", str(tmp_path / "junit.xml"))
    (said,) = ET.parse(tmp_path / "junit.xml").getroot().iter("system-out")
    assert len(said.text) > 250
    assert f"the answer {said.text[:200]!r} … ({len(said.text) - 200} more characters)" in done.out


def test_a_native_bundle_is_held_to_a_schema_after_a_template_that_ends_in_text(project):
    """llama-server by itself refuses: its grammar and this model's chat template do not go together."""
    assert checked(project, SCHEMA_CHECK, "native").status == 0


def test_a_check_that_the_server_cannot_make_is_an_error_and_no_failure(project, tmp_path):
    """llama.cpp's grammars repeat a rule 2,000 times at most."""
    (project.root / "answer.schema.json").write_text('{"type": "array", "minItems": 5000}')
    text = '\n[[checks]]\nkind = "json-schema"\nprompt = "Tell"\nschema = "answer.schema.json"\nconstrained = true\n'
    done = checked(project, text, "native", "--junit", str(tmp_path / "junit.xml"))
    assert done.status == 8
    assert "drop `constrained`" in done.out
    assert "error: 1 of 1 checks could not be run: native/json-schema-1\n" in done.err
    suites = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("1", "0", "1")


def test_a_recipe_without_checks_says_so(project):
    done = checked(project, "")
    assert (done.status, done.err) == (
        2,
        "error: the recipe has no [[checks]] for native\n  hint: how to write them: lftool help check-bundles\n",
    )


def test_a_schema_that_is_missing_is_no_failure_of_the_bundle(project):
    text = '\n[[checks]]\nkind = "json-schema"\nprompt = "Tell"\nschema = "none.json"\n'
    done = checked(project, text)
    assert (done.status, f"checks: there is no {project.root / 'none.json'}" in done.err) == (1, True)


@pytest.mark.parametrize(
    "check", ['kind = "json-schema"\nprompt = "Tell"\nschema', 'kind = "perplexity"\nmax_increase = 1\ntext']
)
def test_a_file_of_a_check_that_is_missing_is_told_before_anything_is_built(project, check):
    project.write_recipe(project.recipe.read_text() + f'\n[[checks]]\n{check} = "none"\n')
    for command in ("lock", "build"):
        done = project.run(command)
        key = check.rpartition("\n")[2]
        assert (done.status, done.err) == (
            2,
            f"error: lftool.toml: $.checks[0].{key}: there is no {project.root / 'none'}\n",
        )


class Stranger(LoopbackServer):
    """A server that has an answer for everything."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, handler) -> None:
        self.asked.append(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"true")


@pytest.mark.parametrize("answer", ["NaN", "[" * 100_000, "Infinity"])
def test_what_is_not_json_does_not_hold(answer):
    schema = {"type": ["number", "array"], "maximum": 3}
    assert difference(answer, schema, "s.json") == "the answer is not JSON"


def test_a_schema_fetches_nothing(tmp_path):
    """Neither from a server nor from a file beside it."""
    (tmp_path / "true.json").write_text("true")
    with Stranger() as server:
        for uri in (f"http://{server.address}/s.json", (tmp_path / "true.json").as_uri()):
            with pytest.raises(RecipeError, match="has a reference that does not resolve"):
                difference("1", {"$ref": uri}, "s.json")
        assert server.asked == []


def test_a_schema_may_be_that_of_schemas():
    assert difference('{"type": "object"}', {"$ref": "https://json-schema.org/draft/2020-12/schema"}, "s.json") is None


@pytest.mark.parametrize("text", ["5", "null", '{"$schema": 5}', "{", '{"type": 7}', "[" * 100_000])
def test_what_is_no_schema_is_an_error_of_the_recipe(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(RecipeError, match=r"s\.json is not a valid JSON Schema"):
        read_schema("s.json", ProjectFiles(project=tmp_path))


def test_a_pattern_that_is_no_regular_expression_is_an_error_of_the_recipe():
    with pytest.raises(RecipeError, match="not a valid regular expression"):
        difference('"a"', {"pattern": "("}, "s.json")


@pytest.mark.parametrize("vectors", [[[math.nan], [1.0]], [[0.0], [1.0]]])
def test_embeddings_that_are_no_numbers_or_nothing_are_not_similar(vectors):
    options = EmbeddingOptions(prompt="p", similar_to="s", min_similarity=0.1)
    context = FakeCheckContext(answers={"p": "a"}, vectors=dict(zip(["a", "s"], vectors, strict=True)))
    assert EmbeddingCheck(options).check(context).failure


@pytest.mark.parametrize(
    "check", ['kind = "prompt"\nprompt = "p"\ncontains = [""]', 'kind = "regex"\nprompt = "p"\nmatches = ""']
)
def test_a_check_that_cannot_fail_is_refused(project, check):
    done = checked(project, f"\n[[checks]]\n{check}\n")
    assert (done.status, "nothing would be checked" in done.err) == (2, True)


def test_a_bundle_of_another_release_is_not_checked(project, tmp_path):
    project.write_recipe(project.recipe.read_text().replace('version = "1"', 'version = "2"') + HOLD)
    done = project.run("check", project.root / "dist" / "story-1-native.llamafile", "--junit", tmp_path / "junit.xml")
    assert done.status == 2
    assert "story-1-native.llamafile is story 1, but the recipe is for story 2" in done.err
    (error,) = ET.parse(tmp_path / "junit.xml").getroot().iter("error")
    assert error.get("message") == "story-1-native.llamafile is story 1, but the recipe is for story 2"


def test_a_bundle_that_no_check_is_for_is_said_to_be_unchecked(project):
    text = f'\n[[checks]]\nkind = "regex"\ntargets = ["native"]\nprompt = "{PROMPT}"\nmatches = "fox"\n'
    project.write_recipe(project.recipe.read_text() + text)
    (other,) = (project.root / "dist").glob("story-1-gguf.*")
    done = project.run("check", project.root / "dist" / "story-1-native.llamafile", other).assert_success()
    assert f"{other.name}: no checks for target gguf\n" in done.out


def test_another_server_that_came_to_the_port_first_is_not_asked(project, monkeypatch):
    """It answers everything; what the check started cannot listen, and says so."""
    with Stranger() as stranger:
        monkeypatch.setattr(answers, "_free_port", lambda: int(stranger.address.rpartition(":")[2]))
        with (
            pytest.raises(UnavailableError, match="cannot be served"),
            answers.served(project.root / "dist" / "story-1-native.llamafile", Store(project.cache), None),
        ):
            pass
        assert "/health" in stranger.asked


def test_what_was_found_is_written_even_if_another_bundle_cannot_be_checked(project, tmp_path):
    bundle = project.root / "dist" / "story-1-native.llamafile"
    project.write_recipe(project.recipe.read_text() + HOLD.partition('[[checks]]\nkind = "embedding"')[0])
    done = project.run("check", project.root / "nothing", bundle, "--junit", tmp_path / "junit.xml")
    assert done.status == 1
    assert done.out.count("  passes  ") == 2
    assert "nothing: not checked\n" in done.out
    suites = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("3", "0", "1")
    assert "nothing" in next(suites.iter("error")).get("message")


def test_its_server_ends_when_the_check_is_stopped(project, tmp_path):
    text = HOLD.partition('[[checks]]\nkind = "embedding"')[0] + SLOW
    project.write_recipe(project.recipe.read_text() + text)
    bundle, junit = project.root / "dist" / "story-1-native.llamafile", tmp_path / "junit.xml"
    process = project.start("check", bundle, "--junit", junit)
    deadline = time.monotonic() + 60
    while not (children := servers_of(process.pid)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    assert process.wait(30) == 143
    process.communicate()
    (error,) = ET.parse(junit).getroot().iter("error")
    assert error.get("message") == "it was stopped"
    while any(is_alive(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_signal_that_comes_while_its_server_is_being_started_ends_the_server(project, monkeypatch):
    """Python runs handlers between any two instructions: here as soon as the process is there."""
    begun = []
    popen = subprocess.Popen

    def start_and_be_told_to_stop(*arguments, **more):
        begun.append(popen(*arguments, **more))
        signal.raise_signal(signal.SIGTERM)
        return begun[0]

    def stop(*_):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    monkeypatch.setattr(answers.subprocess, "Popen", start_and_be_told_to_stop)
    try:
        with (
            pytest.raises(SystemExit),
            answers.served(project.root / "dist" / "story-1-native.llamafile", Store(project.cache), None),
        ):
            pass
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert begun[0].poll() is not None


SLOW = "".join(f'[[checks]]\nkind = "prompt"\nprompt = "Tell {n}"\ncontains = ["e"]\n' for n in range(200))


def is_alive(pid: int) -> bool:
    """A process that has ended counts as gone, whether or not somebody has taken note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def servers_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(path.parent.name))
    return found


def test_a_bundle_that_has_changed_is_not_asked(project):
    (bundle,) = (project.root / "dist").glob("story-1-gguf.*")
    data = bytearray(bundle.read_bytes())
    data[500_000] ^= 1
    bundle.write_bytes(data)
    assert checked(project, HOLD, "gguf").status == 4


def test_checks_change_no_byte_of_a_bundle(project):
    (bundle,) = (project.root / "dist").glob("story-1-gguf.*")
    before = bundle.read_bytes()
    project.write_recipe(project.recipe.read_text() + HOLD)
    project.run("lock", "--check").assert_success()
    assert bundle.read_bytes() == before


def test_junit_has_what_a_model_says_without_what_xml_cannot_hold():
    result = CheckResult(name="a", failure="it said \x00\x1b[31m<&>\ud800", detail="", seconds=1.5)
    document = junit_xml([CheckReport(bundle="b", target="t", found={1: result})])
    (failure,) = ET.fromstring(document).iter("failure")
    assert failure.text == "it said \ufffd\ufffd[31m<&>\ufffd"
