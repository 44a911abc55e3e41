"""What clients send to the Python server: each request is checked before llama.cpp sees it, and none ends the server."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from llama_cpp.llama_grammar import json_schema_to_gbnf
from tests.gates import GATE, KEYS

from lftool_llamacpp import application
from lftool_llamacpp.application import Application
from lftool_llamacpp.gate import is_allowed, is_from_elsewhere
from lftool_llamacpp.requests import (
    Asked,
    BadRequestError,
    Limits,
    chat_asked,
    completion_asked,
    embedding_inputs,
    given_text,
    given_tokens,
)
from lftool_llamacpp.token_stream import TokenChance, answer
from lftool_llamacpp.tool_calls import ToolCalling

LIMITS = Limits(vocabulary=100, grammar=json_schema_to_gbnf, compiles=lambda grammar: "root" in grammar)
USER = [{"role": "user", "content": "hi"}]
DEEP = {"type": "array", "items": {}}
for _ in range(40):
    DEEP = {"type": "array", "items": DEEP}


def chat(**more):
    return chat_asked({"messages": USER, **more}, LIMITS)


def tool(name, parameters=None):
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}


TOOL = tool("look")


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


WRONG = {
    "a temperature that is text": {"temperature": "hot"},
    "a temperature that is true": {"temperature": True},
    "a temperature below zero": {"temperature": -1},
    "a temperature that is no number": {"temperature": float("nan")},
    "a temperature without end": {"temperature": float("inf")},
    "a whole number without end": {"temperature": 10**400},
    "top_p over one": {"top_p": 1.5},
    "top_k of a fraction": {"top_k": 1.5},
    "top_k that does not fit": {"top_k": 2**31},
    "max_tokens that does not fit": {"max_tokens": 2**40},
    "a seed that does not fit": {"seed": 2**33},
    "a seed below -1": {"seed": -2},
    "a penalty of nothing": {"repeat_penalty": 0},
    "mirostat of another kind": {"mirostat_mode": 3},
    "stop that is a number": {"stop": 1},
    "an empty stop": {"stop": [""]},
    "many stops": {"stop": ["x"] * 17},
    "a long stop": {"stop": "x" * 1001},
    "no answers": {"n": 0},
    "many answers": {"n": 17},
    "several answers, the best of more": {"n": 2, "best_of": 3},
    "likelihoods that are a number": {"logprobs": 1},
    "many likelihoods": {"logprobs": True, "top_logprobs": 21},
    "likelihoods that are not asked for": {"top_logprobs": 1},
    "a stream that is text": {"stream": "yes"},
    "options of a stream that are text": {"stream_options": "usage"},
    "usage that is text": {"stream_options": {"include_usage": "yes"}},
    "a bias of a token that is not there": {"logit_bias": {"100": 1}},
    "a bias of a token below zero": {"logit_bias": {"-1": 1}},
    "a bias of a huge token": {"logit_bias": {"99999999999999999999": 1}},
    "a bias of a word": {"logit_bias": {"fox": 1}},
    "a bias that is text": {"logit_bias": {"1": "x"}},
    "a large bias": {"logit_bias": {"1": 1000}},
    "a list of biases": {"logit_bias": [1]},
    "no format": {"response_format": {"type": "yaml"}},
    "a format that is text": {"response_format": "json"},
    "a schema that is a list": {"response_format": form([])},
    "a deep schema": {"response_format": form(DEEP)},
    "a large schema": {"response_format": form({"enum": ["x" * 100_000]})},
    "a schema of many nodes": {"response_format": form({"enum": list(range(5000))})},
    "a schema that repeats": {"response_format": form({"type": "array", "items": {}, "maxItems": 10**9})},
    "a schema of nothing known": {"response_format": form({"type": "fox"})},
    "a reference to elsewhere": {"response_format": form({"$ref": "https://example.com/x"})},
    "a reference to nothing": {"response_format": form({"$ref": "#/definitions/x"})},
    "no messages": {"messages": []},
    "messages that are text": {"messages": "hi"},
    "a message that is text": {"messages": ["hi"]},
    "a message of nobody": {"messages": [{"role": "root", "content": "x"}]},
    "content that is a number": {"messages": [{"role": "user", "content": 1}]},
    "an image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
    "a role that is a list": {"messages": [{"role": ["user"], "content": "x"}]},
    "a choice that is a list": {"tools": [TOOL], "tool_choice": []},
    "a choice of another tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
    "a choice without tools": {"tool_choice": "required"},
    "a tool without a function": {"tools": [{"type": "function"}]},
    "a tool without a name": {"tools": [{"type": "function", "function": {}}]},
    "a tool whose name is code": {"tools": [tool('x"]')]},
    "a tool whose name is long": {"tools": [tool("x" * 65)]},
    "a tool of a large schema": {"tools": [tool("x", {"enum": ["x" * 100_000]})]},
    "a tool of a schema of nothing known": {"tools": [tool("x", {"type": "fox"})], "tool_choice": "required"},
    "a call that is an answer of a form": {
        "tools": [TOOL],
        "tool_choice": "required",
        "response_format": {"type": "json_object"},
    },
    "a format of a list": {"response_format": {"type": []}},
    "tools that are text": {"tools": "x"},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_a_request_that_is_wrong_is_refused_before_the_model_sees_it(body):
    with pytest.raises(BadRequestError) as caught:
        chat(**body)
    assert 400 <= caught.value.status < 500


def test_a_schema_that_does_not_compile_is_refused():
    limits = Limits(vocabulary=100, grammar=json_schema_to_gbnf, compiles=lambda _: False)
    with pytest.raises(BadRequestError, match="does not compile"):
        chat_asked({"messages": USER, "response_format": form({"type": "object"})}, limits)


def test_a_schema_becomes_a_grammar():
    assert "root ::=" in chat(response_format=form({"type": "object"})).grammar


def test_a_call_that_is_required_is_held_by_a_grammar():
    made = chat(tools=[TOOL, tool("take")], tool_choice="required")
    assert "look" in made.grammar
    assert made.calling == ToolCalling(names=("look", "take"), required=True)


def test_one_tool_may_be_chosen():
    made = chat(tools=[TOOL, tool("take")], tool_choice={"type": "function", "function": {"name": "take"}})
    assert "look" not in made.grammar
    assert made.calling == ToolCalling(names=("take",), required=True)


def test_tools_may_be_called_or_not():
    made = chat(tools=[TOOL])
    assert (made.grammar, made.calling) == (None, ToolCalling(names=("look",), required=False))


def test_what_is_not_known_is_not_passed_on():
    assert chat(grammar="root ::= root", model_path="/etc/passwd", logits_processor="x") == Asked(
        chat=True,
        messages=tuple(USER),
        sampling={},
        biases={},
        most=None,
        stop=(),
        seed=None,
        afresh=False,
        count=1,
        logprobs=None,
        stream=False,
        usage=False,
    )


@pytest.mark.parametrize(
    "prompt",
    [None, 1, {}, [1, 100], [-1], [True], ["a", 1], [[1], []], [["a"]], [[[1]]], ["a"] * 257],
    ids=lambda value: repr(value)[:20],
)
def test_a_prompt_is_text_or_tokens_of_the_vocabulary(prompt):
    with pytest.raises(BadRequestError):
        completion_asked({"prompt": prompt}, LIMITS)


@pytest.mark.parametrize("given", [None, "x", [-1], [100], [True], ["1"], {}], ids=repr)
def test_tokens_are_of_the_vocabulary(given):
    with pytest.raises(BadRequestError):
        given_tokens({"tokens": given}, LIMITS)


@pytest.mark.parametrize("body", [{}, {"content": 1}, {"content": "x", "add_special": "yes"}], ids=repr)
def test_what_becomes_tokens_is_text(body):
    with pytest.raises(BadRequestError):
        given_text(body)


@pytest.mark.parametrize("given", [None, "", [], [""], [1], ["x"] * 257, {}], ids=repr)
def test_inputs_of_embeddings_are_texts(given):
    with pytest.raises(BadRequestError):
        embedding_inputs({"input": given})


class Model:
    """Says `yes` token by token, as `LoadedModel` does; `hold` keeps an answer until it is let go."""

    context = 100
    chats = True

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.hold.set()
        self.begun = threading.Event()
        self.stopped = threading.Event()

    def prompt_tokens(self, asked):
        said = asked.messages[-1]["content"]
        if said == "fail":
            raise RuntimeError("a secret of the prompt: fail")
        return [[1] * (900 if said == "long" else 3)], ()

    def pieces(self, tokens, stops, asked, seed, check):
        return answer(self, tokens, stops, asked, seed, check)

    def generate(self, tokens, asked, seed, check):
        self.begun.set()
        try:
            while not self.hold.wait(0.01):
                check()
            yield from b"yes"
        except Exception:
            self.stopped.set()
            raise
        yield 0

    def ends(self, token):
        return token == 0

    def piece(self, token):
        return bytes([token])

    def likely(self, token, count):
        return TokenChance(text=bytes([token]), logprob=-0.5, others=((bytes([token]), -0.5),) * count)

    def text_of(self, tokens):
        return bytes(tokens).decode()

    def tokens_of(self, text, *, special):
        return [*text.encode(), *([0] if special else [])]


class Client:
    """Asks an application in this process, as uvicorn would."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def ask(self, method="POST", path="/v1/chat/completions", body=b"", headers=(), chunks=None, leave=None):
        sent: list[dict] = []
        left = list(chunks if chunks is not None else [body])

        async def receive():
            if left:
                return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}
            if leave is not None:
                await leave.wait()
            else:
                await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": [*headers]}
        await self.app(scope, receive, send)
        if not sent:
            return None, {}, b""
        data = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], dict(sent[0]["headers"]), data


def make(**more) -> tuple[Application, Model]:
    model = Model()
    return Application(model=model, name="story", contract={}, limits=LIMITS, **more), model


def asked(app: Application, **more):
    return asyncio.run(Client(app).ask(**more))


HELLO = json.dumps({"messages": USER}).encode()


def test_an_answer_is_given():
    status, _, data = asked(make()[0], body=HELLO)
    assert (status, json.loads(data)["choices"][0]["message"]["content"]) == (200, "yes")


def test_an_answer_comes_in_pieces():
    _, headers, data = asked(make()[0], body=json.dumps({"messages": USER, "stream": True}).encode())
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    events = [line for line in data.decode().split("\n\n") if line]
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events[:-1]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "y"},
        {"content": "e"},
        {"content": "s"},
        {},
    ]
    assert events[-1] == "data: [DONE]"


def test_how_likely_tokens_were_is_told_with_their_bytes():
    body = json.dumps({"messages": USER, "logprobs": True, "top_logprobs": 1, "max_tokens": 1}).encode()
    (choice,) = json.loads(asked(make()[0], body=body)[2])["choices"]
    told = {"token": "y", "bytes": [121], "logprob": -0.5}
    assert choice["logprobs"] == {"content": [{**told, "top_logprobs": [told]}]}
    assert choice["finish_reason"] == "length"


UNKNOWN = [
    "/extras/tokenize",
    "/extras/tokenize/count",
    "/extras/detokenize",
    "/docs",
    "/openapi.json",
    "/v1/engines",
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_paths_that_are_not_documented_are_not_there(path):
    status, _, data = asked(make()[0], path=path, body=b"{}")
    assert (status, json.loads(data)["error"]["type"]) == (404, "invalid_request_error")


BODIES = [b"", b"{", b"[]", b"1", b'"x"', b"null", b"\xff", b"[" * 100_000, b'{"messages": ' + b"[" * 100_000]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_request_are_400_in_openais_form(body, capfd):
    status, _, data = asked(make()[0], body=body)
    assert status == 400
    assert json.loads(data)["error"].keys() == {"message", "type", "param", "code"}
    assert capfd.readouterr() == ("", "")


def test_a_body_is_bounded_whether_or_not_it_announces_itself(monkeypatch):
    monkeypatch.setattr(application, "MOST_BODY_BYTES", 1000)
    assert asked(make()[0], body=b"x", headers=[(b"content-length", b"1001")])[0] == 413
    assert asked(make()[0], chunks=[b"x" * 400] * 4)[0] == 413
    assert asked(make()[0], body=b"x", headers=[(b"content-length", b"9" * 5000)])[0] == 413


def test_a_body_that_does_not_arrive_is_408(monkeypatch):
    monkeypatch.setattr(application, "BODY_SECONDS", 0.05)

    async def ask():
        sent = []

        async def receive():
            await asyncio.sleep(3600)

        async def send(message):
            sent.append(message)

        app = make()[0]
        await app({"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}, receive, send)
        return sent[0]["status"]

    assert asyncio.run(ask()) == 408


def test_a_full_line_is_503_with_retry_after(monkeypatch):
    monkeypatch.setattr(application, "MOST_WAITING", 2)

    async def ask():
        app, model = make()
        model.hold.clear()
        client = Client(app)
        first = [asyncio.ensure_future(client.ask(body=HELLO))]
        await asyncio.to_thread(model.begun.wait, 10)
        first += [asyncio.ensure_future(client.ask(body=HELLO)) for _ in range(2)]
        await asyncio.sleep(0.1)
        refused = await asyncio.wait_for(client.ask(body=HELLO), 10)
        model.hold.set()
        return refused, [answer[0] for answer in await asyncio.gather(*first)]

    (status, headers, data), others = asyncio.run(ask())
    assert (status, headers[b"retry-after"], json.loads(data)["error"]["code"]) == (503, b"2", "busy")
    assert others == [200, 200, 200]


def test_an_answer_stops_when_its_client_has_gone_and_the_next_one_gets_its_turn():
    async def ask():
        app, model = make()
        model.hold.clear()
        client, leave = Client(app), asyncio.Event()
        first = asyncio.ensure_future(client.ask(body=HELLO, leave=leave))
        await asyncio.to_thread(model.begun.wait, 10)
        waiting = asyncio.Event()
        second = asyncio.ensure_future(client.ask(body=HELLO, leave=waiting))
        await asyncio.sleep(0.05)
        waiting.set()  # one in line goes as well
        leave.set()
        assert await asyncio.to_thread(model.stopped.wait, 10)
        assert (await first)[0] is None
        assert (await second)[0] is None
        model.hold.set()
        return await client.ask(body=HELLO)

    assert asyncio.run(ask())[0] == 200


def test_a_stop_cuts_an_answer():
    async def ask():
        app, model = make()
        model.hold.clear()
        first = asyncio.ensure_future(Client(app).ask(body=HELLO))
        await asyncio.to_thread(model.begun.wait, 10)
        app.stopping.set()
        return await first, await Client(app).ask(body=HELLO)

    (status, _, data), after = asyncio.run(ask())
    assert (status, json.loads(data)["error"]["code"], after[0]) == (503, "stopping", 503)


def test_a_client_that_takes_nothing_is_left(monkeypatch):
    monkeypatch.setattr(application, "SLOW_CLIENT_SECONDS", 0.05)

    async def ask():
        app, _ = make()
        body = [json.dumps({"messages": USER, "stream": True}).encode()]

        async def receive():
            if not body:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": body.pop(), "more_body": False}

        async def send(message):
            if message["type"] == "http.response.body":
                await asyncio.sleep(3600)

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
        await asyncio.wait_for(app(scope, receive, send), 10)
        return await Client(app).ask(body=HELLO)

    assert asyncio.run(ask())[0] == 200


@pytest.mark.parametrize(
    ("content", "status", "code"), [("fail", 500, "model_error"), ("long", 400, "context_length_exceeded")]
)
def test_a_failure_of_the_model_repeats_nothing_of_the_prompt(content, status, code, capfd):
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    got, _, data = asked(make()[0], body=body)
    assert (got, json.loads(data)["error"]["code"]) == (status, code)
    assert b"secret" not in data
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("hosts", "origins", "elsewhere"), GATE.values(), ids=GATE.keys())
def test_who_asks_from_elsewhere(hosts, origins, elsewhere):
    assert is_from_elsewhere(hosts, origins) is elsewhere


@pytest.mark.parametrize(("given", "allowed"), KEYS.values(), ids=KEYS.keys())
def test_who_has_the_key(given, allowed):
    assert is_allowed(given, "k", lambda a, b: a == b) is allowed


def test_a_system_prompt_is_added_whatever_a_role_is():
    from lftool_llamacpp.requests import with_contract

    made = with_contract({"messages": [{"role": ["x"]}]}, {"system": "s"}, chat=True)
    assert made["messages"][0] == {"role": "system", "content": "s"}
