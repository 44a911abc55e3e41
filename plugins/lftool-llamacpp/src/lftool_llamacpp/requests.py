"""Requests to the Python server, checked before llama.cpp sees anything of them.

llama.cpp does not check all that it is given. So each field that is passed on has a rule here, and no other field is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen

from lftool.api import check_answer_schema, check_characters
from lftool_llamacpp.tool_calls import ToolCalling, call_schema, tool_names

_REALS = ("temperature", "top_p", "min_p", "repeat_penalty")
_WHOLE = ("top_k", "max_tokens", "seed")

_MOST_LOGPROBS = 20

# Field to the least and the most that it may be.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "repeat_penalty": (0.01, 100),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 100),
}
_WHOLE_RANGES: dict[str, tuple[int, int]] = {
    "top_k": (-1, 2**31 - 1),
    "max_tokens": (-1, 2**31 - 1),
    "seed": (-1, 2**32 - 1),
    "mirostat_mode": (0, 2),
    "top_logprobs": (0, _MOST_LOGPROBS),
}
# What llama-cpp-python calls a field.
_ARGUMENTS = {"temperature": "temp"}
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")  # no set: what is compared may have no hash
_MOST_MESSAGES, _MOST_STOPS, _MOST_STOP_LENGTH, _MOST_INPUTS, _MOST_TOOLS = 4096, 16, 1000, 256, 128
_MOST_ANSWERS = 16
_MOST_BIASES = 4096
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BadRequestError(Exception):
    """A request that cannot be met, as OpenAI's clients are told.

    Args:
        message: What is wrong.
        param: Which field; None where it is the whole.
        status: HTTP status.
        code: A word for programs.
    """

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code


@frozen(kw_only=True)
class Limits:
    """What the model bounds.

    Attributes:
        vocabulary: How many tokens it has.
        grammar: Returns a JSON Schema, as text, as the engine's grammar. It raises what the engine raises.
        compiles: Tells whether the engine takes a grammar.
    """

    vocabulary: int
    grammar: Callable[[str], str]
    compiles: Callable[[str], bool]


@frozen(kw_only=True)
class Asked:
    """What a request asks for, checked.

    Attributes:
        chat: Whether it is a chat; else a text is completed.
        messages: The conversation, each message with its content as text, or None.
        prompts: What is completed: texts, or tokens.
        sampling: Names of `Llama.generate` to values.
        biases: Token to what is added to its logit.
        most: At most so many tokens an answer; None for as many as the context has room for.
        stop: Strings that end an answer.
        seed: Where chance begins; None for anywhere.
        afresh: Whether the prompt is read anew, so that the same request gets the same answer.
        count: How many answers to each prompt.
        logprobs: Of how many tokens the logarithms of their probabilities are told beside the one chosen; None for none.
        grammar: What constrains an answer, as llama.cpp writes it.
        tools: What may be called, as the client names them.
        calling: How calls are found in an answer; None where there are none.
        stream: Whether it is sent piece by piece.
        usage: Whether a stream ends with the number of tokens.
        echo: Whether the prompt comes before its completion.
    """

    chat: bool
    messages: tuple[dict[str, Any], ...] = ()
    prompts: tuple[str | tuple[int, ...], ...] = ()
    sampling: Mapping[str, float]
    biases: Mapping[int, float]
    most: int | None
    stop: tuple[str, ...]
    seed: int | None
    afresh: bool
    count: int
    logprobs: int | None
    grammar: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    calling: ToolCalling | None = None
    stream: bool
    usage: bool
    echo: bool = False


def with_contract(body: Mapping[str, Any], contract: Mapping[str, Any], *, chat: bool) -> dict[str, Any]:
    """Return a request with what the run contract says where it says nothing itself."""
    defaults: dict[str, Any] = {name: float(contract[name]) for name in _REALS if name in contract}
    defaults |= {name: contract[name] for name in _WHOLE if name in contract}
    if contract.get("stop"):
        defaults["stop"] = contract["stop"]
    if body.get("max_completion_tokens") is not None:
        defaults["max_tokens"] = body["max_completion_tokens"]
    made = {**defaults, **{name: value for name, value in body.items() if value is not None}}
    messages = made.get("messages")
    if chat and contract.get("system") and isinstance(messages, list):
        roles = [message.get("role") for message in messages if isinstance(message, dict)]
        if "system" not in roles and "developer" not in roles:
            made["messages"] = [{"role": "system", "content": contract["system"]}, *messages]
    return made


def held_to(contract: Mapping[str, Any], limits: Limits) -> str | None:
    """Return the grammar that a run contract holds answers to; None where it does not.

    Raises:
        ValueError: The engine has no grammar for its schema, or does not take its grammar.
    """
    grammar = contract.get("grammar")
    if "json_schema" in contract:
        try:
            return _grammar_of(json.loads(contract["json_schema"]), limits, "json_schema")
        except BadRequestError as error:
            raise ValueError(f"[run] json_schema: {error.message}") from None
    if grammar is not None and not limits.compiles(grammar):
        raise ValueError("[run] grammar: the engine does not take it")
    return grammar


def with_grammar(asked: Asked, body: Mapping[str, Any], grammar: str | None) -> Asked:
    """Return what is asked, held to the run contract's grammar unless the client says what an answer is, or has tools."""
    own = asked.chat and body.get("response_format") is not None  # which is no field of a completion
    if own or asked.grammar is not None or asked.calling is not None:
        return asked
    return evolve(asked, grammar=grammar)


def parse_body(data: bytes) -> dict[str, Any]:
    """Return a request's JSON object.

    Raises:
        BadRequestError: It is none.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadRequestError("the request is no JSON object")
    return body


def _number(body: Mapping[str, Any], name: str, least: float, most: float, *, whole: bool) -> Any:  # noqa: ANN401 - int or float
    value = body[name]
    sound = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not sound or not math.isfinite(value if abs(value) < 2**1000 else math.inf) or not least <= value <= most:
        raise BadRequestError(
            f"{name} must be {'a whole number' if whole else 'a number'} from {least:g} to {most:g}", name
        )
    return value if whole else float(value)


def _sampling(body: Mapping[str, Any]) -> dict[str, float]:
    made: dict[str, float] = {
        _ARGUMENTS.get(name, name): _number(body, name, *bounds, whole=False)
        for name, bounds in _RANGES.items()
        if name in body
    }
    for name in ("top_k", "mirostat_mode"):
        if name in body:
            made[name] = _number(body, name, *_WHOLE_RANGES[name], whole=True)
    return made


def _whole(body: Mapping[str, Any], name: str, no_value: tuple[int, ...]) -> int | None:
    value = _number(body, name, *_WHOLE_RANGES[name], whole=True) if name in body else None
    return None if value in no_value else value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be true or false", name)
    return value


def _usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options", {})
    if not isinstance(options, dict):
        raise BadRequestError("stream_options must be an object", "stream_options")
    return _flag(options, "include_usage")


def _common(body: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return what chats and completions have in common, as attributes of `Asked`."""
    count = _number(body, "n", 1, _MOST_ANSWERS, whole=True) if "n" in body else 1
    if body.get("best_of", count) != count:
        raise BadRequestError("best_of must be n", "best_of")
    return {
        "sampling": _sampling(body),
        "biases": _biases(body, limits) if "logit_bias" in body else {},
        "most": _whole(body, "max_tokens", (-1, 0)),
        "stop": tuple(_stops(body)),
        "seed": _whole(body, "seed", (-1,)),
        "count": count,
        "stream": _flag(body, "stream"),
        "usage": _usage(body),
    }


def _stops(body: Mapping[str, Any]) -> list[str]:
    value = body.get("stop", [])
    stops = [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list)
        or len(stops) > _MOST_STOPS
        or not all(isinstance(item, str) and 0 < len(item) <= _MOST_STOP_LENGTH for item in stops)
    ):
        raise BadRequestError(f"stop must be a string, or up to {_MOST_STOPS} of them, none empty", "stop")
    return stops


def _biases(body: Mapping[str, Any], limits: Limits) -> dict[int, float]:
    value = body["logit_bias"]
    if not isinstance(value, dict) or len(value) > _MOST_BIASES:
        raise BadRequestError(f"logit_bias must map up to {_MOST_BIASES} tokens to numbers", "logit_bias")
    found = {}
    for key, bias in value.items():
        token = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10 else -1  # noqa: PLR2004 - digits of a token
        if not 0 <= token < limits.vocabulary:
            raise BadRequestError(
                f"logit_bias: the model has no token {key!r}; it has {limits.vocabulary}", "logit_bias"
            )
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:  # noqa: PLR2004 - OpenAI's
            raise BadRequestError("logit_bias: a bias is a number from -100 to 100", "logit_bias")
        found[token] = float(bias)
    return found


def _check_schema(schema: Any, param: str) -> None:  # noqa: ANN401 - JSON
    """Raise unless a JSON Schema is one that turns into a grammar of bounded size."""
    try:
        check_answer_schema(schema)
    except ValueError as error:
        raise BadRequestError(str(error), param) from None


def _grammar_of(schema: Any, limits: Limits, param: str) -> str:  # noqa: ANN401 - JSON
    """Return a schema as the engine's grammar; one that the engine takes."""
    _check_schema(schema, param)
    try:
        grammar = limits.grammar(json.dumps(schema))
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        told = str(error)[:200] or type(error).__name__
        raise BadRequestError(f"llama.cpp's grammars cannot express the schema: {told}", param) from None
    try:  # llama.cpp does not stand all that its parser takes
        check_characters(grammar)
    except ValueError as error:
        raise BadRequestError(f"llama.cpp's grammars cannot express the schema: {error}", param) from None
    if not limits.compiles(grammar):
        raise BadRequestError("the schema does not compile into a grammar", param)
    return grammar


def _format(body: Mapping[str, Any], limits: Limits) -> str | None:
    """Return the grammar of what the answer must be; None where it may be any text."""
    wanted = body["response_format"]
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return _grammar_of(wanted.get("schema", {"type": "object"}), limits, "response_format")
    if kind == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        return _grammar_of(wanted["json_schema"].get("schema", {}), limits, "response_format")
    raise BadRequestError("response_format must have the type text, json_object or json_schema", "response_format")


def _text_of(content: Any) -> Any:  # noqa: ANN401 - a string, or None
    """Return the content of a message: text, or parts that are text."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise BadRequestError("a message's content is text, or parts of type text: this server reads no media", "messages")


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= _MOST_MESSAGES:
        raise BadRequestError(f"messages must be a list of 1 to {_MOST_MESSAGES}", "messages")
    made = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise BadRequestError(f"a message needs a role: one of {', '.join(sorted(_ROLES))}", "messages")
        kept = {name: message[name] for name in ("role", "name", "tool_calls", "tool_call_id") if name in message}
        made.append({**kept, "content": _text_of(message.get("content"))})
    return made


def _tools(body: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    tools = body.get("tools", [])
    if not isinstance(tools, list) or len(tools) > _MOST_TOOLS:
        raise BadRequestError(f"tools must be a list of at most {_MOST_TOOLS}", "tools")
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            raise BadRequestError(
                "a tool has the type function, and a function with a name of up to 64 letters, digits, - or _", "tools"
            )
        _check_schema({"const": tool}, "tools")  # its size: it becomes text of the prompt
        _check_schema((function or {}).get("parameters") or {}, "tools")
    return tuple(tools)


def _calling(body: Mapping[str, Any], tools: tuple[dict[str, Any], ...], limits: Limits) -> dict[str, Any]:
    """Return the attributes of `Asked` that are about tools."""
    choice = body.get("tool_choice", "auto" if tools else "none")
    if choice == "none" or (choice == "auto" and not tools):
        return {}
    if choice == "auto":
        return {"tools": tools, "calling": ToolCalling(names=tool_names(tools), required=False)}
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if choice.get("type") == "function" and isinstance(function, dict) else None
        callable_ = tuple(tool for tool in tools if tool["function"]["name"] == name)
    else:
        callable_ = tools if choice == "required" else ()
    if not callable_:
        raise BadRequestError("tool_choice must be none, auto, required, or a function that tools names", "tool_choice")
    grammar = _grammar_of(call_schema(callable_), limits, "tools")
    return {"tools": tools, "calling": ToolCalling(names=tool_names(callable_), required=True), "grammar": grammar}


def chat_asked(body: Mapping[str, Any], limits: Limits, *, seed_is_own: bool = False) -> Asked:
    """Return what a request for a chat asks for.

    Args:
        body: The request, with what the run contract says where it says nothing.
        limits: What the model bounds.
        seed_is_own: Whether the client named the seed.

    Raises:
        BadRequestError: Something of it is wrong.
    """
    made = _common(body, limits)
    told = _number(body, "top_logprobs", *_WHOLE_RANGES["top_logprobs"], whole=True) if "top_logprobs" in body else 0
    if told and not _flag(body, "logprobs"):
        raise BadRequestError("top_logprobs needs logprobs", "top_logprobs")
    tools = _tools(body)
    made |= _calling(body, tools, limits)
    if "response_format" in body:
        constraint = _format(body, limits)
        if constraint is not None and "grammar" in made:
            raise BadRequestError("an answer is a call, or what response_format says", "response_format")
        made.setdefault("grammar", constraint)
    return Asked(
        chat=True,
        messages=tuple(_messages(body)),
        logprobs=told if _flag(body, "logprobs") else None,
        afresh=seed_is_own,
        **made,
    )


def _prompts(body: Mapping[str, Any], limits: Limits) -> tuple[str | tuple[int, ...], ...]:
    """Return what is to be completed: one text, several, the tokens of one, or the tokens of several."""
    given = body.get("prompt")
    prompts: list[Any] = [given]
    if isinstance(given, list) and given and not any(type(item) is int for item in given):
        prompts = given
    if len(prompts) > _MOST_INPUTS or not all(isinstance(prompt, str | list) for prompt in prompts):
        raise BadRequestError(
            f"prompt must be text, a list of tokens, or a list of up to {_MOST_INPUTS} of them", "prompt"
        )
    for prompt in prompts:
        if isinstance(prompt, list) and not (
            prompt and all(type(token) is int and 0 <= token < limits.vocabulary for token in prompt)
        ):
            raise BadRequestError(f"prompt: a token is a whole number below {limits.vocabulary}", "prompt")
    return tuple(prompt if isinstance(prompt, str) else tuple(prompt) for prompt in prompts)


def completion_asked(body: Mapping[str, Any], limits: Limits, *, seed_is_own: bool = False) -> Asked:
    """Return what a request for a completion asks for; arguments and errors as for a chat."""
    prompts = _prompts(body, limits)
    if body.get("suffix"):
        raise BadRequestError("suffix is not supported by this server", "suffix")
    told = _number(body, "logprobs", 0, _MOST_LOGPROBS, whole=True) if "logprobs" in body else None
    echo = _flag(body, "echo")
    if echo and told is not None:
        raise BadRequestError("logprobs of what is echoed are not given", "logprobs")
    made = _common(body, limits)
    if len(prompts) * made["count"] > _MOST_INPUTS:
        raise BadRequestError(f"n times the number of prompts must be at most {_MOST_INPUTS}", "prompt")
    return Asked(chat=False, prompts=prompts, logprobs=told, echo=echo, afresh=seed_is_own, **made)


def given_tokens(body: Mapping[str, Any], limits: Limits) -> list[int]:
    """Return the tokens of a request that wants their text.

    Raises:
        BadRequestError: They are none.
    """
    tokens = body.get("tokens")
    if not isinstance(tokens, list) or not all(
        type(token) is int and 0 <= token < limits.vocabulary for token in tokens
    ):
        raise BadRequestError(f"tokens must be whole numbers below {limits.vocabulary}", "tokens")
    return tokens


def given_text(body: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the text of a request that wants its tokens, and whether special ones are added.

    Raises:
        BadRequestError: It is none.
    """
    text = body.get("content")
    if not isinstance(text, str):
        raise BadRequestError("content must be text", "content")
    return text, _flag(body, "add_special")


@frozen(kw_only=True)
class Ranking:
    """What a request for a ranking asks for.

    Attributes:
        query: What documents are compared with.
        documents: The documents.
        most: How many of the best are told.
    """

    query: str
    documents: tuple[str, ...]
    most: int


def ranking(body: Mapping[str, Any]) -> Ranking:
    """Return what a request for a ranking asks for.

    Raises:
        BadRequestError: Something of it is wrong.
    """
    query, documents = body.get("query"), body.get("documents", body.get("texts"))
    if not isinstance(query, str) or not query:
        raise BadRequestError("query must be text, and not empty", "query")
    if (
        not isinstance(documents, list)
        or not 0 < len(documents) <= _MOST_INPUTS
        or not all(isinstance(text, str) and text for text in documents)
    ):
        raise BadRequestError(f"documents must be 1 to {_MOST_INPUTS} texts, none empty", "documents")
    most = _number(body, "top_n", 1, _MOST_INPUTS, whole=True) if body.get("top_n") is not None else len(documents)
    return Ranking(query=query, documents=tuple(documents), most=most)


def embedding_inputs(body: Mapping[str, Any]) -> list[str]:
    """Return the texts of a request for embeddings.

    Raises:
        BadRequestError: They are none, or too many.
    """
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if (
        not isinstance(texts, list)
        or not 0 < len(texts) <= _MOST_INPUTS
        or not all(isinstance(t, str) and t for t in texts)
    ):
        raise BadRequestError(f"input must be text, or 1 to {_MOST_INPUTS} of them, none empty", "input")
    if body.get("dimensions") is not None:
        raise BadRequestError("dimensions: the vectors of this model have one length", "dimensions")
    if body.get("encoding_format", "float") not in ("float", "base64"):
        raise BadRequestError("encoding_format must be float or base64", "encoding_format")
    return texts
