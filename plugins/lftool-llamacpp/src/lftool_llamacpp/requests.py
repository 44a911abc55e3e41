"""Requests to the Python server, checked before llama.cpp sees anything of them.

A value out of range, a token that the vocabulary does not have, or a constraint that does not compile ends the process
inside llama.cpp. So each field that is passed on has a rule here, and no other field is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_REALS = ("temperature", "top_p", "min_p", "repeat_penalty")
_WHOLE = ("top_k", "max_tokens", "seed")

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
    "top_logprobs": (0, 20),
}
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")  # no set: what is compared may have no hash
_MOST_MESSAGES, _MOST_STOPS, _MOST_STOP_LENGTH, _MOST_INPUTS, _MOST_TOOLS = 4096, 16, 1000, 256, 128
_MOST_BIASES = 4096
_MOST_SCHEMA_BYTES, _MOST_SCHEMA_NODES, _MOST_SCHEMA_DEPTH, _MOST_REPEATS = 64 * 1024, 4096, 32, 1000
_REPEATS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


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
        compiles: Tells whether llama.cpp takes a grammar.
    """

    vocabulary: int
    compiles: Callable[[str], bool]


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


def _sampling(body: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        name: _number(body, name, *bounds, whole=False) for name, bounds in _RANGES.items() if name in body
    }
    made |= {
        name: _number(body, name, *bounds, whole=True)
        for name, bounds in _WHOLE_RANGES.items()
        if name in body and name != "top_logprobs"
    }
    if made.get("seed") == -1:
        del made["seed"]
    if made.get("max_tokens") in {-1, 0}:
        made["max_tokens"] = -1
    return made


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


def _check_schema(schema: Any) -> None:  # noqa: ANN401 - JSON
    """Raise unless a JSON Schema is one that turns into a grammar of bounded size."""
    text = json.dumps(schema)
    if not isinstance(schema, dict) or len(text) > _MOST_SCHEMA_BYTES:
        raise BadRequestError(f"a schema is an object of at most {_MOST_SCHEMA_BYTES} characters", "response_format")
    nodes, left = 0, [(schema, 1)]
    while left:
        value, depth = left.pop()
        nodes += 1
        if nodes > _MOST_SCHEMA_NODES or depth > _MOST_SCHEMA_DEPTH:
            raise BadRequestError("the schema is too large, or too deep", "response_format")
        if isinstance(value, dict):
            for name in _REPEATS:
                bound = value.get(name)
                if isinstance(bound, int) and not isinstance(bound, bool) and not 0 <= bound <= _MOST_REPEATS:
                    raise BadRequestError(f"the schema's {name} must be from 0 to {_MOST_REPEATS}", "response_format")
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            left += [(item, depth + 1) for item in value]


def _format(body: Mapping[str, Any], limits: Limits) -> dict[str, Any] | None:
    """Return the constraint of an answer as llama-cpp-python names it; llama.cpp takes the grammar that it means."""
    wanted = body["response_format"]
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return None
    schema: Any = None
    if kind == "json_object":
        schema = wanted.get("schema")
    elif kind == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        schema = wanted["json_schema"].get("schema", {})
    else:
        raise BadRequestError("response_format must have the type text, json_object or json_schema", "response_format")
    if schema is None:
        return {"type": "json_object"}
    _check_schema(schema)
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        grammar = json_schema_to_gbnf(json.dumps(schema))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, AssertionError, IndexError) as error:
        raise BadRequestError(f"the schema cannot be used: {type(error).__name__}", "response_format") from None
    if not limits.compiles(grammar):
        raise BadRequestError("the schema does not compile into a grammar", "response_format")
    return {"type": "json_object", "schema": schema}


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


def _single(body: Mapping[str, Any]) -> None:
    for name in ("n", "best_of"):
        if body.get(name, 1) != 1:
            raise BadRequestError(f"{name} must be 1", name)


def chat_arguments(body: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the arguments of `Llama.create_chat_completion` for a request.

    Raises:
        BadRequestError: Something of it is wrong.
    """
    _single(body)
    made = {**_sampling(body), "messages": _messages(body), "stop": _stops(body)}
    if "logit_bias" in body:
        made["logit_bias"] = _biases(body, limits)
    if "response_format" in body:
        made["response_format"] = _format(body, limits)
    if body.get("logprobs") or "top_logprobs" in body:
        raise BadRequestError("logprobs are not given by this server", "logprobs")
    tools, choice = body.get("tools"), body.get("tool_choice", "none")
    if tools is not None:
        if not isinstance(tools, list) or len(tools) > _MOST_TOOLS or not all(isinstance(tool, dict) for tool in tools):
            raise BadRequestError(f"tools must be a list of at most {_MOST_TOOLS}", "tools")
        if choice not in ("none", "auto"):
            raise BadRequestError("tool_choice must be none or auto", "tool_choice")
        made |= {"tools": tools, "tool_choice": choice}
    return made


def completion_arguments(body: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the arguments of `Llama.create_completion` for a request.

    Raises:
        BadRequestError: Something of it is wrong.
    """
    _single(body)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, list):
        if not all(type(token) is int and 0 <= token < limits.vocabulary for token in prompt):
            raise BadRequestError(f"prompt: a token is a whole number below {limits.vocabulary}", "prompt")
    elif not isinstance(prompt, str):
        raise BadRequestError("prompt must be text, or a list of tokens", "prompt")
    for name in ("suffix", "logprobs"):
        if body.get(name):
            raise BadRequestError(f"{name} is not supported by this server", name)
    made = {**_sampling(body), "prompt": prompt, "stop": _stops(body), "echo": body.get("echo") is True}
    if "logit_bias" in body:
        made["logit_bias"] = _biases(body, limits)
    return made


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
    if body.get("encoding_format", "float") not in ("float", "base64"):
        raise BadRequestError("encoding_format must be float or base64", "encoding_format")
    return texts
