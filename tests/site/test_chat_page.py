"""The chat page at `GET /` of both servers, in Debian's Chromium, driven by playwright-core, which brings no browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from tests.native.conftest import NAME, RECIPE, make_project
from tests.native.test_serving import KEY, KINDS, serving

pytestmark = pytest.mark.site

FILES = Path(__file__).parent / "browser"
CONTRACT = 'context = 512\ntemperature = 0.0\nmax_tokens = 60\nsystem = "You tell stories."\n'
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SERVERS = [KINDS[0], KINDS[2]]


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    """playwright-core, as package-lock.json pins it."""
    if shutil.which("npm") is None or shutil.which("chromium") is None:
        pytest.skip("npm and chromium drive the page, and are not here")
    folder = tmp_path_factory.mktemp("browser")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FILES / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "node_modules" / "playwright-core"


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    made = make_project(tmp_path_factory.mktemp("page"), RECIPE.partition("[targets.python]")[0] + f"[run]\n{CONTRACT}")
    made.spawn("lock").assert_success()
    made.spawn("build").assert_success()
    return made


@pytest.fixture(scope="module", params=SERVERS)
def server(request, talking, tmp_path_factory):
    bundle = talking.root / "dist" / NAME.format("native", "llamafile")
    with serving(request.param, talking, bundle, log=tmp_path_factory.mktemp("log") / "log") as made:
        yield made


@pytest.fixture
def look(driver):
    def run(server, case: str, *arguments: object) -> dict:
        command = ["node", FILES / "chat_page.mjs", driver, shutil.which("chromium"), server.url, case, *arguments]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_conversation(server, look):
    seen = look(server, "conversation")
    assert seen["title"] == "story 1"
    assert seen["questions"] == ["Tell me a story about a fox.", "And a drum."]
    assert [answer.startswith("Once upon a time there was") for answer in seen["answers"]] == [True, True]
    assert seen["copied"] == seen["answers"][0]
    used = [int(text.removesuffix(" of 512 tokens")) for text in seen["tokens"]]
    assert used[0] > 60
    assert used[1] > used[0] + 60, "the second question brings the first one's answer"
    assert seen["asked"] == [server.url]
    assert seen["said"] == []


def test_it_says_who_signed(server, look):
    facts = look(server, "conversation")["facts"]
    told = (
        "unsigned: integrity checked, no signature to verify" if server.kind == KINDS[2] else "signature not looked at"
    )
    assert facts == told


def test_an_error_is_said_and_the_question_kept(server, look):
    seen = look(server, "failure")
    assert "context" in seen["problem"]
    assert seen["kept"] == 8000
    assert seen["then"].startswith("Once upon a time")


def test_an_answer_is_stopped(talking, look, tmp_path):
    bundle = talking.root / "dist" / NAME.format("native", "llamafile")
    for kind in SERVERS:
        with serving(
            kind, talking, bundle, "--max-tokens", "480", "--temperature", "3", "--seed", "1", log=tmp_path / "log"
        ) as server:
            seen = look(server, "stop", "Tell me a long story.")
        assert seen == {"stopped": ["stopped", "stopped"], "left": 0}


def test_it_fits_a_phone_dark_or_light(server, look):
    seen = look(server, "phone")
    assert (seen["over"], seen["inside"]) == (0, True)
    assert (seen["dark"], seen["light"]) == ("rgb(20, 23, 26)", "rgb(255, 255, 255)")


def test_it_asks_for_the_key(talking, look, tmp_path):
    bundle = talking.root / "dist" / NAME.format("native", "llamafile")
    for kind in SERVERS:
        with serving(kind, talking, bundle, log=tmp_path / "log", LLAMA_API_KEY=KEY) as server:
            assert httpx2.get(f"{server.url}/lftool.json", trust_env=False).status_code == 401
            seen = look(server, "key", KEY)
        assert seen["title"] == "story 1"
        assert seen["answer"].startswith("Once upon a time")


def test_what_a_model_says_is_text(server, look):
    seen = look(server, "hostile")
    assert seen["inside"] == ["article", "button", "div", "h2", "pre"]
    assert "<img src=x onerror=alert(1)>" in seen["shown"]
    assert seen["mine"] == "<b>me</b>"
    assert (seen["title"], seen["said"]) == ("story 1", [])


def test_the_page_loads_nothing_but_itself(server):
    answers = [httpx2.get(server.url + path, trust_env=False) for path in ("/", "/chat.css", "/chat.js")]
    assert {answer.status_code for answer in answers} == {200}
    policies = {answer.headers["content-security-policy"] for answer in answers}
    assert policies == {POLICY}
    assert not any(word in answers[0].text for word in ("http:", "https:", "onclick", "style="))
