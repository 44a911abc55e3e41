"""A budget for chat templates: they come with the model, and a loop in one must not keep the server.

jinja's sandbox keeps a template from the interpreter, not from taking time. So rendering counts lines of its own code
against a deadline, and text against a bound.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

MOST_BYTES = 1024 * 1024
MOST_SECONDS = 5.0
_LINES_A_LOOK = 1000


class TemplateBudgetError(ValueError):
    """A chat template is larger, or takes longer, than it may."""


def within_budget(render: Callable[[], Any], seconds: float = MOST_SECONDS) -> Any:  # noqa: ANN401 - what it returns
    """Return what rendering gives, within its time.

    Raises:
        TemplateBudgetError: It takes longer.
    """
    until = time.monotonic() + seconds
    lines = 0

    def look(frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401 - a trace function
        nonlocal lines
        del frame, event, argument
        lines += 1
        if lines % _LINES_A_LOOK == 0 and time.monotonic() > until:
            raise TemplateBudgetError(f"the chat template takes longer than {seconds:g} s")
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        return render()
    finally:
        sys.settrace(before)


def bound_templates(seconds: float = MOST_SECONDS) -> None:
    """Have llama-cpp-python render every chat template of this process within the budget."""
    from llama_cpp import llama_chat_format

    formatter: Any = llama_chat_format.Jinja2ChatFormatter
    made, rendered = formatter.__init__, formatter.__call__

    def __init__(self: Any, template: str, *arguments: Any, **named: Any) -> None:  # noqa: ANN401, N807 - the library's
        if len(template.encode()) > MOST_BYTES:
            raise TemplateBudgetError(f"the chat template has more than {MOST_BYTES} bytes")
        made(self, template, *arguments, **named)

    def __call__(self: Any, **named: Any) -> Any:  # noqa: ANN401, N807 - likewise
        return within_budget(lambda: rendered(self, **named), seconds)

    formatter.__init__, formatter.__call__ = __init__, __call__
