"""Chat templates: Jinja in its sandbox, with the functions that templates of the Hub are written for."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import nodes
    from jinja2.parser import Parser


@frozen
class Prompt:
    """A conversation as the model reads it.

    Attributes:
        prompt: The text.
        stop: What ends an answer besides the model's own end.
        added_special: Whether the text has what the model wants at its begin.
    """

    prompt: str
    stop: str | list[str] | None = None
    added_special: bool = False


class _Generation(Extension):
    """`{% generation %}`, with which templates mark what a model is trained to say: it shows what is inside."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _as_json(value: Any, indent: int | None = None, **named: Any) -> str:  # noqa: ANN401 - what a template hands over
    """Write JSON as the Hub's templates expect it: letters as they are, nothing escaped for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent, **named)


class ChatTemplate:
    """A chat template.

    Args:
        template: Its text.
        eos_token: Text of the token that ends an answer.
        bos_token: Text of the token that begins a text.

    Raises:
        jinja2.TemplateError: It does not compile.
    """

    def __init__(self, template: str, eos_token: str, bos_token: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _as_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: dt.datetime.now().astimezone().strftime(form)
        self._template = environment.from_string(template)
        self._tokens = {"eos_token": eos_token, "bos_token": bos_token}

    def __call__(
        self,
        *,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[Any] | None = None,
        **named: Any,  # noqa: ANN401 - variables
    ) -> Prompt:
        """Return a conversation as the model reads it, up to where its answer begins.

        Raises:
            ValueError: The template refuses the conversation, or fails.
        """
        try:
            text = self._template.render(
                messages=messages, tools=tools, add_generation_prompt=True, **self._tokens, **named
            )
        except TemplateError as error:
            raise ValueError(str(error)) from error
        return Prompt(text, [self._tokens["eos_token"]] if self._tokens["eos_token"] else None, added_special=True)
