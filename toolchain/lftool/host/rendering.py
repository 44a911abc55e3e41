"""Render chat templates in a process of their own, confined and with limits: a template is a program.

`python -m lftool.host.rendering` reads one request as JSON and answers with one.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from lftool.host.confinement import Confinement
from lftool.host.template_lints import find_lints

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 5
_MOST_CHARACTERS = 64 * 1024
_DATA_BYTES = 1 << 28


def rendered(template: str, messages: Sequence[dict[str, str]], bos: str, eos: str) -> str:
    """Return a conversation as a template renders it.

    Args:
        template: The template's text.
        messages: The conversation.
        bos: Text of the token that begins a text.
        eos: Text of the token that ends an answer.

    Raises:
        ValueError: The template refuses the conversation, fails, or takes too long; or Jinja is not installed.
    """
    request = {"template": template, "messages": list(messages), "bos_token": bos, "eos_token": eos}
    return str(_asked(request)["text"])


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-I", "-m", __name__]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=4 * _SECONDS, check=False, env={}
        )
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise ValueError(f"the template did not end within {_SECONDS} seconds, or needs too much memory") from None
    if "error" in answer:
        raise ValueError(str(answer["error"]))
    return dict(answer)


def require_template(template: str) -> None:
    """Raise ValueError unless a template compiles, with Jinja's message; it is not rendered."""
    _asked({"template": template, "compile": True})


def template_lints(template: str) -> tuple[str, ...]:
    """Return what is worth a look in a template, a sentence each: that it does not compile, or what it does."""
    try:
        return tuple(map(str, _asked({"template": template, "lint": True})["lints"]))
    except ValueError as error:
        return (f"does not compile: {error}",)


def _refuse(message: str) -> None:
    raise ValueError(message)


def _environment() -> Any:  # noqa: ANN401 - Jinja's
    from jinja2.ext import loopcontrols  # noqa: PLC0415 - only those who need it load it
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - only those who need it load it

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **named: json.dumps(value, ensure_ascii=False, **named)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda _: "2000-01-01"  # the same in every rendering
    return environment


def _render(request: dict[str, Any]) -> str:
    compiled = _environment().from_string(request["template"])
    if request.get("compile"):
        return ""
    text: str = compiled.render(
        messages=request["messages"],
        add_generation_prompt=True,
        bos_token=request["bos_token"],
        eos_token=request["eos_token"],
    )
    return text[:_MOST_CHARACTERS]


def main() -> None:
    """Answer one request."""
    from lftool.host.confining import confine  # noqa: PLC0415 - only those who need it load it

    request = json.loads(sys.stdin.buffer.read())
    confine(Confinement(data_bytes=_DATA_BYTES, file_bytes=0, modules=("jinja2",)).plain())
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    try:
        answer: dict[str, Any] = (
            {"lints": find_lints(_environment(), request["template"])}
            if request.get("lint")
            else {"text": _render(request)}
        )
    except ImportError:
        answer = {"error": "Jinja is not installed: pip install jinja2"}
    except Exception as error:  # noqa: BLE001 - a template may raise anything
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
