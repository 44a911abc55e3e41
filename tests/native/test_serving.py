"""Bundles served: by their own executable, by `lftool serve` with the native runtime, and with llama-cpp-python."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest
from attrs import frozen
from tests.native.conftest import NAME, PROMPT, RECIPE, make_project, start

from lftool.testing import FaultProxy, FileServer

KINDS = ("by itself", "lftool serve, native", "lftool serve, llama-cpp-python")
XLLAMACPP = "lftool serve, xllamacpp"  # with bundles of layout gguf
KEY = "a-key-for-tests"
CONTRACT = 'context = 512\ntemperature = 0.0\nmax_tokens = 24\nsystem = "You tell stories."\nstop = ["who had a fox"]\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@frozen(kw_only=True)
class Server:
    """A server that is ready."""

    kind: str
    url: str
    process: subprocess.Popen

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self, key: str = "none", **more) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, **more)

    def post(self, path: str, **more) -> httpx2.Response:
        return httpx2.post(self.url + path, trust_env=False, **more)

    def get(self, path: str, **more) -> httpx2.Response:
        return httpx2.get(self.url + path, trust_env=False, **more)


def command(kind: str, project, bundle: Path) -> tuple[list[str], dict[str, str]]:
    if kind == KINDS[0]:
        return [str(bundle), "--server"], {"PATH": "/nonexistent"}
    environment = dict(project.environment)
    if kind == KINDS[2]:  # a cache that knows of no native runtime
        environment["XDG_CACHE_HOME"] = str(project.home / "python-cache")
    engine = ["--engine", "xllamacpp"] if kind == XLLAMACPP else []
    return [sys.executable, "-m", "lftool.cli.entry", "serve", str(bundle), *engine], environment


@contextlib.contextmanager
def serving(
    kind: str,
    project,
    bundle: Path,
    *arguments: str,
    log: Path,
    user: int | None = None,
    threads: int | None = None,
    address: str = "127.0.0.1",
    **variables: str,
):
    """Serve until the block ends; as another user, who may have that many threads."""
    port = free_port()
    argv, environment = command(kind, project, bundle)
    if threads:
        argv = ["/usr/bin/prlimit", f"--nproc={threads}", *argv]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*argv, "--port", str(port), *arguments],
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            user=user,
        )
    server = Server(kind=kind, url=f"http://{address}:{port}", process=process)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if server.get("/health").status_code == 200:
                    break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def contract_project(tmp_path_factory):
    """A bundle whose contract has a system prompt, a stop string and a bound."""
    recipe = RECIPE.partition("[targets.python]")[0] + f"[run]\n{CONTRACT}"
    made = make_project(tmp_path_factory.mktemp("contract"), recipe)
    made.spawn("lock").assert_success()
    made.spawn("build").assert_success()
    return made


@pytest.fixture(scope="module", params=KINDS)
def server(request, contract_project, tmp_path_factory):
    """One server of each kind for all tests that only ask."""
    bundle = contract_project.root / "dist" / NAME.format("native", "llamafile")
    log = tmp_path_factory.mktemp("log") / "log"
    with serving(request.param, contract_project, bundle, log=log) as made:
        yield made


def test_the_openai_client_gets_an_answer_by_the_contract(server):
    answer = server.client().chat.completions.create(
        model="story", messages=[{"role": "user", "content": PROMPT}], stop=["nothing of the kind"]
    )
    assert answer.choices[0].message.content.strip().startswith("Once upon a time there was a girl named ")
    assert answer.usage.completion_tokens == 24
    assert answer.choices[0].finish_reason == "length"


def test_stop_strings_of_the_contract_end_an_answer(server):
    answer = server.client().chat.completions.create(
        model="story", messages=[{"role": "user", "content": PROMPT}], max_tokens=60
    )
    said = answer.choices[0].message.content.strip()
    assert said.startswith("Once upon a time there was a girl named ")
    assert "who had a fox" not in said
    assert answer.choices[0].finish_reason == "stop"


def test_the_system_prompt_of_the_contract_is_used_where_a_request_brings_none(server):
    client = server.client()

    def tokens(*messages) -> int:
        return client.chat.completions.create(model="story", messages=list(messages), max_tokens=1).usage.prompt_tokens

    user = {"role": "user", "content": PROMPT}
    bare = tokens({"role": "system", "content": ""}, user)
    own = tokens({"role": "system", "content": "You tell stories."}, user)
    assert tokens(user) == own
    if server.kind != KINDS[2]:  # llama-cpp-python leaves out what the model's template has no place for
        assert own > bare


def test_answers_come_piece_by_piece(server):
    stream = server.client().chat.completions.create(
        model="story", messages=[{"role": "user", "content": PROMPT}], stream=True, max_tokens=12, stop=["zzz"]
    )
    pieces = [part.choices[0].delta.content or "" for part in stream if part.choices]
    assert len([piece for piece in pieces if piece]) > 5
    assert "".join(pieces).strip().startswith("Once upon a time there was a girl")


def test_text_is_completed(server):
    done = server.client().completions.create(model="story", prompt="Once upon a time", max_tokens=4)
    assert done.choices[0].text.startswith(" there was a ")


def test_the_model_is_listed_by_the_bundles_name(server):
    assert [model.id for model in server.client().models.list()] == ["story"]


SHORT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("kind", "more"),
    [(KINDS[0], ()), (KINDS[0], ("--", "--chat-template", SHORT)), (KINDS[2], ())],
    ids=["native, a template that ends in text", "native, a template that ends in what is said", "llama-cpp-python"],
)
def test_a_json_schema_holds_the_answer(kind, more, story, native, tmp_path):
    """llama-server by itself cannot constrain after tiny-story's own template: its tokenizer writes the last word with a space."""
    with serving(kind, story, native, *more, log=tmp_path / "log") as server:
        schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
        assert _constrained(server, response_format=schema)
        assert _constrained(server, response_format=schema, stream=True)
        assert _constrained(server, response_format=schema, extra_body={"tools": []})
        if kind == KINDS[0]:  # llama-server's own way of asking
            assert _constrained(server, extra_body={"json_schema": SCHEMA})


def test_a_json_object_is_an_object_after_a_template_that_ends_in_text(story, native, tmp_path):
    with serving(KINDS[0], story, native, log=tmp_path / "log") as server:
        said = _answer(server, response_format={"type": "json_object"}, max_tokens=40)
    assert said.lstrip().startswith("{")


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}


def _answer(server, **asked):
    answer = server.client().chat.completions.create(
        model="story", messages=[{"role": "user", "content": "Tell"}], **{"max_tokens": 200, **asked}
    )
    if asked.get("stream"):
        return "".join(part.choices[0].delta.content or "" for part in answer if part.choices)
    return answer.choices[0].message.content


def _constrained(server, **asked) -> bool:
    return re.fullmatch(r'\s*\{\s*"a"\s*:\s*(true|false)\s*\}\s*', _answer(server, **asked)) is not None


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_server_says_where_it_serves_and_leaves_out_the_engines_log(kind, story, native, tmp_path):
    with serving(kind, story, native, log=tmp_path / "log") as server:
        _answer(server, max_tokens=4)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if re.match(r"[^ ]+: ", line)] == lines
    assert lines[-1].endswith(f"serving on {server.url}/v1")


def test_the_engines_log_is_there_for_those_who_ask(story, native, tmp_path):
    with serving(KINDS[0], story, native, "--", "-lv", "3", log=tmp_path / "log"):
        pass
    assert "llama_server: model loaded" in (tmp_path / "log").read_text()


def test_health_and_metrics_are_told(server):
    assert server.get("/health").json() == {"status": "ok"}
    metrics = server.get("/metrics")
    assert metrics.status_code == 200
    assert "llamacpp:requests_processing" in metrics.text


def test_a_request_that_is_wrong_is_answered_with_an_error(server):
    answer = httpx2.post(server.url + "/v1/chat/completions", content=b"{", trust_env=False)
    assert 400 <= answer.status_code <= 500
    assert "error" in answer.json()


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_key_nothing_is_answered(kind, story, native, tmp_path):
    with serving(kind, story, native, log=tmp_path / "log", LLAMA_API_KEY=KEY) as server:
        assert server.get("/health").status_code == 200
        with pytest.raises(openai.AuthenticationError):
            server.client("wrong").models.list()
        assert [model.id for model in server.client(KEY).models.list()] == ["story"]
        shown = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode()
        assert KEY not in shown


@pytest.mark.slow_cases(r"\[lftool serve, native")
@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (KINDS[0], "nothing"),
        (KINDS[0], "an answer"),
        (KINDS[1], "a stream"),
        (KINDS[2], "a stream"),
        *(
            pytest.param(kind, asked, marks=pytest.mark.slow)
            for kind, asked in [(KINDS[0], "a stream"), (KINDS[1], "an answer"), (KINDS[2], "an answer")]
        ),
    ],
)
def test_it_stops_gracefully_when_it_is_told_to(kind, asked, story, native, tmp_path):
    """Whatever is under way, the process ends with status 0, and soon; the client keeps its connection open."""
    with serving(kind, story, native, log=tmp_path / "log") as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        if asked != "nothing":
            body = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": asked == "a stream"}
            kinds = {"content-type": "application/json"}
            connection.request("POST", "/v1/completions", json.dumps(body), kinds)
        if asked == "a stream":
            connection.getresponse().read(20)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 12
        connection.close()


def test_what_stands_behind_the_dashes_cannot_undo_the_key_check(native):
    for word in (
        "--host",
        "--api-key",
        "--api_key",
        "-m",
        "--model_url",
        "--tools",
        "--host=0.0.0.0",
        "-ag",
        "--cors-origins",
    ):
        done = start(native, "--server", "--", word, "0.0.0.0")
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{word.partition('=')[0].replace('_', '-')} may not stand behind --" in done.stderr


def test_no_option_names_a_model_of_a_hub(native):
    done = start(native, "--server", "--", "--fim-qwen-3b-default")
    assert (done.returncode, "--fim-qwen-3b-default may not stand behind --" in done.stderr) == (2, True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [",", "a,b", "a b", "k\n", "sch\u00f6n"])
def test_a_key_that_clients_cannot_send_is_refused(kind, key, story, native):
    argv, environment = command(kind, story, native)
    done = subprocess.run(
        argv, env={**environment, "LLAMA_API_KEY": key}, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "an API key has no spaces, commas" in done.stderr) == (2, True)


@pytest.mark.parametrize("host", ["127.0.0.1,::", "127.0.0.1,192.0.2.2", "127.x", "127.0.0.1.example.com", "::2", ""])
def test_what_is_not_an_address_of_this_machine_alone_needs_a_key(host, native):
    done = start(native, "--server", "--host", host)
    assert done.returncode == 2
    assert "lets other machines in" in done.stderr or "--host takes one address" in done.stderr


FOREIGN = ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"})


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_without_a_key_pages_of_other_sites_get_no_answer(server, headers):
    body = {"prompt": "Once", "max_tokens": 1}
    done = httpx2.post(f"{server.url}/v1/completions", json=body, headers=headers, trust_env=False)
    assert (done.status_code, "choices" in done.text) == (403, False)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://localhost:1"}, {"Host": "[::1]:80"}, {"Host": "127.1.2.3"}], ids=str
)
def test_pages_of_this_machine_get_answers(server, headers):
    done = httpx2.get(f"{server.url}/v1/models", headers=headers, trust_env=False)
    assert done.status_code == 200


def test_with_a_key_a_server_may_have_other_names(story, native, tmp_path):
    for kind in KINDS:
        with serving(kind, story, native, log=tmp_path / "log", LLAMA_API_KEY=KEY) as server:
            headers = {"Host": "models.example.com", "Authorization": f"Bearer {KEY}"}
            assert server.get("/v1/models", headers=headers).status_code == 200


def test_a_body_is_not_read_from_those_without_the_key_and_may_be_anything(story, native, tmp_path):
    deep = b"[" * 100_000
    with serving(KINDS[2], story, native, log=tmp_path / "log", LLAMA_API_KEY=KEY) as server:
        url, key = f"{server.url}/v1/chat/completions", {"Authorization": f"Bearer {KEY}"}
        assert httpx2.post(url, content=deep, trust_env=False).status_code == 401
        assert httpx2.post(url, content=deep, headers=key, trust_env=False).status_code == 400
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_variables_of_llama_cpp_decide_nothing(story, native, tmp_path):
    variables = {"LLAMA_ARG_STATIC_PATH": "/etc", "LLAMA_ARG_N_PARALLEL": "1", "LLAMA_ARG_ALIAS": "another"}
    with serving(KINDS[0], story, native, log=tmp_path / "log", **variables) as server:
        assert server.get("/passwd").status_code == 404
        assert [model.id for model in server.client().models.list()] == ["story"]


def test_the_server_fetches_no_media(server):
    with FileServer(files={}) as files, FaultProxy(files.url) as elsewhere:
        part = {"type": "image_url", "image_url": {"url": f"{elsewhere.url}/image.png"}}
        with pytest.raises(openai.APIStatusError):
            server.client().chat.completions.create(model="story", messages=[{"role": "user", "content": [part]}])
        assert elsewhere.requests == []


def test_metrics_ask_for_the_key(story, native, tmp_path):
    for kind in KINDS:
        with serving(kind, story, native, log=tmp_path / "log", LLAMA_API_KEY=KEY) as server:
            assert server.get("/metrics").status_code == 401
            assert server.get("/metrics", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_llama_cpp_pythons_server_takes_nothing_of_the_environment(story, native, tmp_path):
    with serving(KINDS[2], story, native, log=tmp_path / "log", CACHE="/x", MODEL="/y", N_CTX="z") as server:
        assert server.get("/v1/models").status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_other_machines_are_not_let_in_without_a_key(kind, story, native, tmp_path):
    argv, environment = command(kind, story, native)
    done = subprocess.run(
        [*argv, "--port", str(free_port()), "--host", "0.0.0.0"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "serving on 0.0.0.0 lets other machines in" in done.stderr
    assert "--insecure" in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_insecure_lets_them_in(kind, story, native, tmp_path):
    with serving(kind, story, native, "--host", "0.0.0.0", "--insecure", log=tmp_path / "log") as server:
        assert server.get("/v1/models").status_code == 200


def resident(pid: int) -> int:
    """Anonymous memory of a process in kB: what is mapped from files does not count."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text)[1])


def hammer(server: Server, clients: int, seconds: float) -> tuple[int, list[str]]:
    """Ask from many clients at once; return how many answers came, and what went wrong."""
    until, wrong, done, lock = time.monotonic() + seconds, [], [0], threading.Lock()

    def one(number: int) -> None:
        client = server.client()
        turn = 0
        while time.monotonic() < until:
            turn += 1
            try:
                messages = [{"role": "user", "content": f"Tell me a story about a fox, {number} and {turn}."}]
                answer = client.chat.completions.create(model="story", messages=messages, max_tokens=8)
                ok = answer.usage.completion_tokens > 0
            except openai.OpenAIError as error:
                ok = False
                with lock:
                    wrong.append(repr(error))
            with lock:
                done[0] += ok

    with ThreadPoolExecutor(clients) as pool:
        for job in [pool.submit(one, number) for number in range(clients)]:
            job.result()
    return done[0], wrong


# A hundred connections at the same moment stay, and a minute of fifty clients is slow.
@pytest.mark.slow_cases(r"\[by itself-4\]")
@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (KINDS[0], 4),
        pytest.param(KINDS[0], 60, marks=pytest.mark.slow),
        pytest.param(KINDS[1], 60, marks=pytest.mark.slow),
        pytest.param(KINDS[2], 60, marks=pytest.mark.slow),
    ],
)
def test_fifty_clients_at_once_get_answers_and_memory_stays_flat(kind, seconds, story, native, tmp_path):
    with serving(kind, story, native, log=tmp_path / "log") as server:
        hammer(server, 50, min(seconds / 4, 5))  # buffers and threads are made
        before = resident(server.pid)
        done, wrong = hammer(server, 50, seconds)
        after = resident(server.pid)
    assert wrong == []
    assert done > 50
    assert after - before < 16_000, f"{before} kB, then {after} kB after {done} answers"


def answered(server: Server, clients: int, seconds: float) -> int:
    """Connect at once, while the server stands still, and return how many have an answer when all keep their connection."""
    place = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            connections = [stack.enter_context(socket.create_connection(place, 10)) for _ in range(clients)]
            for connection in connections:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        waiting, until = set(connections), time.monotonic() + seconds
        while waiting and time.monotonic() < until:
            waiting -= set(select.select(waiting, [], [], 0.1)[0])
    return clients - len(waiting)


def test_a_hundred_connections_at_the_same_moment_are_all_answered(story, native, tmp_path):
    with serving(KINDS[0], story, native, log=tmp_path / "log") as server:
        # Kept connections are closed after five seconds: whoever waits for that had no thread.
        assert answered(server, 100, 4) == 100


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs a user that runs nothing else: only root can be another")
def test_a_server_that_may_start_no_more_threads_answers_one_after_the_other_and_stops(story, native, tmp_path):
    with serving(KINDS[0], story, native, log=tmp_path / "log") as server:
        threads = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        bundle = Path(shutil.copy(native, folder))
        with serving(KINDS[0], story, bundle, log=tmp_path / "log", user=65534, threads=threads) as server:
            assert answered(server, 12, 2) < 12
            assert answered(server, 12, 15) == 12
            server.process.terminate()
            assert server.process.wait(20) == 0


def test_every_request_has_the_contracts_context_whatever_the_others_take(story, native, tmp_path):
    with serving(KINDS[0], story, native, log=tmp_path / "log") as server:
        client = server.client()

        def long_answer(seed: int) -> tuple[int, str]:
            done = client.completions.create(
                model="story", prompt="Once upon a time", max_tokens=480, seed=seed, extra_body={"ignore_eos": True}
            )
            return done.usage.completion_tokens, done.choices[0].finish_reason

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(long_answer, range(8)))
    assert answers == [(480, "length")] * 8


def test_embeddings_are_made_where_they_are_asked_for(story, native, tmp_path):
    with serving(KINDS[0], story, native, "--embeddings", log=tmp_path / "log") as server:
        made = server.client().embeddings.create(model="story", input=["a fox", "a fox", "a red drum"])
    one, same, other = (item.embedding for item in made.data)

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    assert cosine(one, same) > 0.999
    assert cosine(one, other) < 0.99


def test_health_is_asked_where_the_server_listens(story, native, tmp_path):
    with serving(KINDS[0], story, native, "--host", "127.0.0.2", log=tmp_path / "log", address="127.0.0.2") as server:
        port = server.url.rpartition(":")[2]
        assert start(native, "--healthy", port, "--host", "127.0.0.2").returncode == 0
        assert start(native, "--healthy", port).returncode == 1


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_port_that_is_taken_is_an_error_with_a_way_out(kind, story, native):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        argv, environment = command(kind, story, native)
        done = subprocess.run(
            [*argv, "--port", str(port)], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        f"error: cannot listen on 127.0.0.1, port {port}: Address already in use\n  hint: give another port: --port N\n"
    )
    assert "serving on" not in done.stderr


def test_options_of_llama_server_may_follow(story, native, tmp_path):
    with serving(KINDS[0], story, native, "--", "--parallel", "1", log=tmp_path / "log") as server:
        assert server.get("/props").json()["total_slots"] == 1


def test_the_bundle_may_be_a_gguf_or_begin_with_a_script(story, tmp_path):
    for target in ("python", "gguf"):
        (bundle,) = (story.root / "dist").glob(f"story-1-{target}.*")
        with serving(KINDS[1], story, bundle, log=tmp_path / "log") as server:
            assert server.get("/v1/models").json()["data"][0]["id"] == "story"
        assert "native runtime" in (tmp_path / "log").read_text()
