"""Calls of tools: what holds an answer to one, and how one is found in what a model says."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OPENED, _CLOSED = "<tool_call>", "</tool_call>"  # as Hermes and Qwen write calls
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([A-Za-z0-9_-]{1,64})"\s*,\s*"arguments"\s*:\s*(?=\S)')
_TAIL = re.compile(r"\s*\}?\s*\Z")


@frozen(kw_only=True)
class ToolCalling:
    """How calls are found in an answer.

    Attributes:
        names: What may be called.
        required: Whether the answer is a call, held by a grammar; else it may be text.
    """

    names: tuple[str, ...]
    required: bool


def tool_names(tools: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of functions."""
    return tuple(tool["function"]["name"] for tool in tools)


def call_schema(tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the JSON Schema of one call of one of the tools."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": tool["function"].get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


@frozen(kw_only=True)
class CallPiece:
    """A piece of a call: its first one has the name, and the others what comes next of its arguments."""

    index: int
    name: str | None = None
    arguments: str = ""

    def shown(self) -> dict[str, Any]:
        """Return it as a stream of OpenAI's has it."""
        function: dict[str, Any] = {"arguments": self.arguments}
        if self.name is None:
            return {"index": self.index, "function": function}
        head = {"index": self.index, "id": f"call_{secrets.token_hex(12)}", "type": "function"}
        return {**head, "function": {"name": self.name, **function}}


@define
class CallReader:
    """Tells text from calls in an answer that comes piece by piece."""

    calling: ToolCalling
    called: bool = False
    _text: str = ""
    _told: int = 0

    def feed(self, text: str, *, last: bool = False) -> tuple[str, list[CallPiece]]:
        """Return what is text for the client, and what is of calls.

        Args:
            text: What comes next.
            last: Whether it is the end.
        """
        self._text += text
        return self._required(last=last) if self.calling.required else self._free(last=last)

    def _required(self, *, last: bool) -> tuple[str, list[CallPiece]]:
        head = _HEAD.match(self._text)
        if head is None:
            return (self._text if last else ""), []
        pieces = []
        if not self.called:
            self.called, self._told = True, head.end()
            pieces.append(CallPiece(index=0, name=head[1]))
        tail = _TAIL.search(self._text, self._told)
        end = tail.start() if tail is not None else len(self._text)
        if last and not self._closed():
            end = len(self._text)  # it was cut; a brace at its end is of the arguments
        if end > self._told:
            pieces.append(CallPiece(index=0, arguments=self._text[self._told : end]))
            self._told = end
        return "", pieces

    def _closed(self) -> bool:
        try:
            json.loads(self._text)
        except (ValueError, RecursionError):
            return False
        return True

    def _free(self, *, last: bool) -> tuple[str, list[CallPiece]]:
        if not last:
            begin = len(self._text[: self._begin()].rstrip())
            told, self._told = self._told, max(self._told, begin)
            return self._text[told : self._told], []
        calls = self._found()
        if calls:
            self.called = True
            rest = self._text[: self._begin()].rstrip()[self._told :]
            return rest, [CallPiece(index=at, name=name, arguments=told) for at, (name, told) in enumerate(calls)]
        return self._text[self._told :], []

    def _begin(self) -> int:
        """Return where a call may begin; up to there it is text."""
        if self._text.lstrip()[:1] in {"{", ""}:
            return 0
        at = self._text.find(_OPENED)
        if at >= 0:
            return at
        for size in range(min(len(_OPENED) - 1, len(self._text)), 0, -1):
            if _OPENED.startswith(self._text[-size:]):
                return len(self._text) - size
        return len(self._text)

    def _found(self) -> list[tuple[str, str]]:
        """Return the calls of a whole answer, name and arguments; none where one of them is none."""
        text = self._text.strip()
        parts = [text] if text.startswith("{") else [part.partition(_CLOSED)[0] for part in text.split(_OPENED)[1:]]
        calls = [self._call(part) for part in parts]
        return [call for call in calls if call is not None] if all(calls) else []

    def _call(self, text: str) -> tuple[str, str] | None:
        try:
            call = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(call, dict) or call.get("name") not in self.calling.names:
            return None
        arguments = call.get("arguments", call.get("parameters"))
        return (call["name"], json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else None


def joined(pieces: Iterable[CallPiece]) -> list[dict[str, Any]]:
    """Return whole calls, as a message of OpenAI's has them."""
    calls: list[dict[str, Any]] = []
    for piece in pieces:
        if piece.name is not None:
            shown = piece.shown()
            del shown["index"]
            calls.append(shown)
        else:
            calls[piece.index]["function"]["arguments"] += piece.arguments
    return calls
