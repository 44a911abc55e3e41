"""Conversations as chat templates can render them: what a template does not know is put in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lftool_llamacpp.requests import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lftool_llamacpp.requests import Asked

    Render = Callable[..., Any]

_OF_TEMPLATES = ("TemplateError", "TemplateBudgetError")  # the runner's, whatever the conversation is
_MOST_TOLD = 200  # characters of what a template says

_EXPLAINED = (
    "You may call these functions, which are described as JSON:\n{tools}\n"
    'To call one, answer with nothing but {{"name": its name, "arguments": an object}}.'
)


def _names(template: str, word: str) -> bool:
    return f"'{word}'" in template or f'"{word}"' in template


def _with_arguments(call: Any) -> Any:  # noqa: ANN401 - what a client sent
    """Return a call whose arguments are an object, as templates expect them; clients send text."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def adapted(
    messages: Iterable[Mapping[str, Any]], tools: tuple[Mapping[str, Any], ...], template: str
) -> list[dict[str, Any]]:
    """Return a conversation as a chat template can render it.

    `developer` is `system`. What a template does not name is put in words: a call as JSON, a tool's result as what a user says,
    tools as a system prompt.
    """
    made: list[dict[str, Any]] = []
    knows_calls, knows_results = "tool_calls" in template, _names(template, "tool")
    for given in messages:
        message = dict(given)
        if message["role"] == "developer" and not _names(template, "developer"):
            message["role"] = "system"
        calls = message.get("tool_calls")
        if isinstance(calls, list) and calls and knows_calls:
            message["tool_calls"] = [_with_arguments(call) for call in calls]
        elif calls:
            said = [message["content"]] if message.get("content") else []
            message["content"] = "\n".join([*said, *map(_in_words, calls if isinstance(calls, list) else [])])
            del message["tool_calls"]
        if message.get("content") is None:
            message["content"] = ""
        if message["role"] in {"tool", "function"} and not knows_results:
            message = {"role": "user", "content": f"Result: {message['content']}"}
            if made and made[-1].get("role") == "user" and made[-1]["content"].startswith("Result: "):
                made[-1]["content"] += "\n" + message["content"]
                continue
        made.append(message)
    return _explained(made, tools) if tools and "tools" not in template else made


def _in_words(call: Any) -> str:  # noqa: ANN401 - what a client sent
    function = _with_arguments(call).get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ""
    return json.dumps({"name": function.get("name"), "arguments": function.get("arguments")}, ensure_ascii=False)


def _explained(messages: list[dict[str, Any]], tools: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    text = _EXPLAINED.format(tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools))
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _rendered(render: Render, messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401 - llama-cpp-python's, or another engine's
    try:
        return render(messages=messages, tools=tools or None)
    except ValueError as error:
        if type(error).__name__ in _OF_TEMPLATES:
            raise
        told = str(error)[:_MOST_TOLD]
        raise BadRequestError(f"the chat template refuses the conversation: {told}", "messages") from None


def prompts_of(
    asked: Asked, template: str, render: Render, tokens_of: Callable[..., list[int]]
) -> tuple[list[list[int]], tuple[str, ...]]:
    """Return the tokens of each prompt of a request, and strings that end an answer besides those that it names.

    Args:
        asked: The request.
        template: The chat template; empty for none.
        render: Makes a prompt of a conversation, as llama-cpp-python's chat formatters do.
        tokens_of: Returns the tokens of a text; with `special`, also what the model wants at its begin and end.

    Raises:
        BadRequestError: The template refuses the conversation.
    """
    if not asked.chat:
        return [
            tokens_of(prompt, special=True) if isinstance(prompt, str) else list(prompt) for prompt in asked.prompts
        ], ()
    made = _rendered(render, adapted(asked.messages, asked.tools, template), asked.tools)
    stops = [made.stop] if isinstance(made.stop, str) else made.stop or []
    return [tokens_of(made.prompt, special=not made.added_special)], tuple(filter(None, stops))
