"""What clients of OpenAI's ask for, of both servers: one table."""

from __future__ import annotations

import http.client
import json
import re
import time

import httpx2
import openai
import pytest
from tests.native.conftest import NAME, PROMPT, RECIPE, make_project
from tests.native.test_serving import KINDS, XLLAMACPP, serving

CONTRACT = "context = 512\ntemperature = 0.0\nmax_tokens = 160\n"
USER = {"role": "user", "content": PROMPT}


def tool(name: str, *fields: str) -> dict:
    schema = {
        "type": "object",
        "properties": {field: {"type": "boolean"} for field in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": f"Is {name}", "parameters": schema}}


TOOLS = [tool("is_red", "fox"), tool("is_round", "drum")]
FIELDS = {"is_red": {"fox"}, "is_round": {"drum"}}


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    made = make_project(
        tmp_path_factory.mktemp("asking"),
        re.sub(r"(?s)\[targets.python\].*?(?=\[targets)|\[run\].*", "", RECIPE) + f"[run]\n{CONTRACT}",
    )
    made.spawn("lock").assert_success()
    made.spawn("build").assert_success()
    return made


@pytest.fixture(scope="module", params=[KINDS[0], KINDS[2], XLLAMACPP])
def server(request, asking, tmp_path_factory):
    target = ("gguf", "gguf") if request.param == XLLAMACPP else ("native", "llamafile")
    bundle = asking.root / "dist" / NAME.format(*target)
    with serving(request.param, asking, bundle, log=tmp_path_factory.mktemp("log") / "log") as made:
        yield made


def chat(server, *messages, **asked):
    return server.client().chat.completions.create(
        model="story", messages=list(messages) or [USER], **{"max_tokens": 12, **asked}
    )


def said(answer) -> str:
    return answer.choices[0].message.content.strip()


def the_call(answer) -> tuple[str, dict]:
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.id
    return call.function.name, json.loads(call.function.arguments)


def test_content_may_come_in_parts(server):
    parts = [{"type": "text", "text": "Tell me a story "}, {"type": "text", "text": "about a fox."}]
    assert said(chat(server, {"role": "user", "content": parts})) == said(chat(server))


def test_a_developer_speaks_as_the_system_does(server):
    asked = [{"role": role, "content": "You tell stories."} for role in ("developer", "system")]
    assert said(chat(server, asked[0], USER)) == said(chat(server, asked[1], USER))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
@pytest.mark.parametrize("forced", [False, True], ids=["any tool", "one tool"])
def test_a_tool_is_called_where_it_must_be(server, forced, stream):
    choice = {"type": "function", "function": {"name": "is_round"}} if forced else "required"
    answer = chat(server, tools=TOOLS, tool_choice=choice, stream=stream, max_tokens=300)
    if stream:
        name, arguments, finish = "", "", None
        for part in answer:
            for choice in part.choices:
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or ():
                    name, arguments = name or call.function.name, arguments + (call.function.arguments or "")
        found = name, json.loads(arguments)
    else:
        found, finish = the_call(answer), answer.choices[0].finish_reason
    assert found[0] == "is_round" if forced else found[0] in FIELDS
    assert found[1].keys() == FIELDS[found[0]]
    assert {type(value) for value in found[1].values()} == {bool}
    assert finish == "tool_calls"


def test_a_conversation_goes_on_with_what_a_tool_found(server):
    first = chat(server, tools=TOOLS, tool_choice="required", max_tokens=300)
    call = first.choices[0].message.tool_calls[0]
    asked = first.choices[0].message.model_dump(exclude_none=True) | {"content": None}
    result = {"role": "tool", "tool_call_id": call.id, "content": "yes"}
    answer = chat(server, USER, asked, result, tools=TOOLS, tool_choice="none")
    assert said(answer)
    assert not answer.choices[0].message.tool_calls


def test_no_tool_is_called_where_none_may_be(server):
    assert said(chat(server, tools=TOOLS, tool_choice="none")).startswith("Once upon a time")


def test_a_tool_that_is_not_there_cannot_be_chosen(server):
    with pytest.raises(openai.BadRequestError):
        chat(server, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "is_far"}})


def test_a_stream_ends_with_the_number_of_tokens_where_that_is_asked_for(server):
    parts = list(chat(server, stream=True, stream_options={"include_usage": True}))
    assert [bool(part.usage) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].choices == []
    assert parts[-1].usage.completion_tokens == 12
    assert parts[-1].usage.total_tokens == parts[-1].usage.prompt_tokens + 12


def test_several_answers_are_given(server):
    answer = chat(server, n=3, temperature=1.0, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    if server.kind != KINDS[0]:  # llama-server counts the first one's
        assert answer.usage.completion_tokens == 36


def test_several_answers_are_streamed(server):
    texts = ["", ""]
    for part in chat(server, n=2, temperature=1.0, seed=1, stream=True):
        for choice in part.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts)
    assert texts[0] != texts[1]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
def test_how_likely_tokens_were_is_told(server, stream):
    answer = chat(server, logprobs=True, top_logprobs=3, stream=stream)
    if stream:
        choices = [choice for part in answer for choice in part.choices]
        text = "".join(choice.delta.content or "" for choice in choices)
        told = [chance for choice in choices if choice.logprobs for chance in choice.logprobs.content]
    else:
        text, told = answer.choices[0].message.content, answer.choices[0].logprobs.content
    assert len(told) == 12
    assert "".join(chance.token for chance in told).strip() == text.strip()
    for chance in told:
        likely = [other.logprob for other in chance.top_logprobs]
        assert len(likely) == 3
        assert likely == sorted(likely, reverse=True)
        assert chance.logprob == pytest.approx(likely[0], abs=1e-4)  # temperature 0 takes the likeliest
        assert bytes(chance.bytes).decode() == chance.token


def test_a_seed_has_the_same_answer_whatever_was_asked_before(server):
    asked = {"temperature": 1.0, "seed": 7, "max_tokens": 60}
    first = said(chat(server, **asked))
    chat(server, {"role": "user", "content": f"{PROMPT} It is red."})
    assert said(chat(server, **asked)) == first
    assert said(chat(server, **{**asked, "seed": 8})) != first


def test_a_model_is_found_by_its_name(server):
    assert server.client().models.retrieve("story").id == "story"
    with pytest.raises(openai.NotFoundError):
        server.client().models.retrieve("another")


def test_a_request_need_not_name_the_model(server):
    answer = server.post("/v1/chat/completions", json={"messages": [USER], "max_tokens": 1})
    assert answer.json()["model"] == "story"


def test_a_request_need_not_say_that_it_is_json(server):
    body = json.dumps({"messages": [USER], "max_tokens": 1}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}  # curl -d
    assert server.post("/v1/chat/completions", content=body, headers=headers).status_code == 200


def test_completions_have_their_options_too(server):
    client = server.client()
    done = client.completions.create(model="story", prompt="Once upon a time", max_tokens=6, n=2, logprobs=2)
    assert [choice.index for choice in done.choices] == [0, 1]
    assert all(choice.text.startswith(" there was a") for choice in done.choices)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
def test_several_texts_are_completed_in_one_request(server, stream):
    tokens = server.post("/tokenize", json={"content": "A red fox", "add_special": True}).json()["tokens"]

    def texts(prompt):
        asked = {"prompt": prompt, "max_tokens": 6, "n": 1, "stream": stream}
        answer = server.client().completions.create(model="story", **asked)
        made = {}
        for part in answer if stream else [answer]:
            for choice in part.choices if part else ():  # llama-server begins such a stream with null
                made[choice.index] = made.get(choice.index, "") + choice.text
        return [made[index] for index in sorted(made)]

    alone = [texts(prompt)[0] for prompt in ("Once upon a time", tokens)]
    assert texts(["Once upon a time", "A red fox"]) == alone
    assert len(set(alone)) == 2


def test_an_end_that_is_asked_for_is_not_shown(server):
    answer = chat(server, stop=["girl"], max_tokens=60)
    assert said(answer) == "Once upon a time there was a"
    assert answer.choices[0].finish_reason == "stop"
    streamed = "".join(
        part.choices[0].delta.content or "" for part in chat(server, stop=["girl"], max_tokens=60, stream=True)
    )
    assert streamed.strip() == "Once upon a time there was a"


def test_text_becomes_tokens_and_tokens_text(server):
    tokens = server.post("/tokenize", json={"content": "a red fox"}).json()["tokens"]
    assert len(tokens) > 1
    assert server.post("/detokenize", json={"tokens": tokens}).json()["content"].strip() == "a red fox"
    more = server.post("/tokenize", json={"content": "a red fox", "add_special": True}).json()["tokens"]
    assert more[-len(tokens) :] == tokens
    assert len(more) == len(tokens) + 1


def test_vectors_are_refused_by_a_model_that_tells_stories(server):
    with pytest.raises(openai.APIStatusError, match="embeddings"):
        server.client().embeddings.create(model="story", input="a fox")


WRONG = {
    "no messages": {},
    "a temperature that is text": {"messages": [USER], "temperature": "hot"},
    "messages that are text": {"messages": "hi"},
    "tools that are text": {"messages": [USER], "tools": "x"},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_the_clients_fault(server, body):
    answer = server.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert ".py" not in answer.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
def test_a_client_that_hangs_up_ends_the_work(server, stream):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    body = {"prompt": "Once", "max_tokens": 480, "stream": stream, "n": 8, "temperature": 1.0}
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    if stream:
        answer = connection.getresponse()
        answer.read(20)
        answer.close()
    else:
        time.sleep(0.3)
    connection.close()
    until = time.monotonic() + 30
    while "llamacpp:requests_processing 0" not in server.get("/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert httpx2.get(f"{server.url}/health", trust_env=False).status_code == 200
