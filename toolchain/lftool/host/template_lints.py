"""What is worth a look in a chat template, from its text alone; in the confined process, next to what renders it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# What llama.cpp and transformers give a template, and what Jinja has itself.
_KNOWN = frozenset(
    """
messages tools documents add_generation_prompt continue_final_message bos_token eos_token unk_token pad_token
raise_exception strftime_now date_string enable_thinking reasoning_effort custom_tools builtin_tools
tools_in_user_message available_tools tool_choice thinking model_identity role content
namespace range dict lipsum cycler joiner
""".split()  # noqa: SIM905 - a list of fifty words is read more easily so
)
_MOST_ROUNDS = 10_000
_INSTRUCTS = re.compile(
    r"\b(?:you (?:are|must|should|will|can)|ignore|always|never|do not|don't|respond|answer (?:only|in)|pretend|obey)\b",
    re.IGNORECASE,
)
_LEAST_WORDS = 4
_SHOWN = 100


def find_lints(environment: Any, template: str) -> list[str]:  # noqa: ANN401 - Jinja is imported by the caller
    """Return a sentence for each thing.

    Args:
        environment: The environment that renders templates.
        template: The template's text.

    Raises:
        Exception: Jinja's, if the template does not compile.
    """
    from jinja2 import meta  # noqa: PLC0415 - only those who need it load it

    tree = environment.parse(template)
    found = []
    unknown = sorted(meta.find_undeclared_variables(tree) - _KNOWN)
    if unknown:
        found.append(f"reads variables that no runtime is known to give: {', '.join(unknown)}")
    found += _loops(tree)
    found += [f"instructs by itself: {text!r}" for text in _instructions(tree)]
    return found


def _loops(tree: Any) -> Iterator[str]:  # noqa: ANN401 - a node of Jinja
    from jinja2 import nodes  # noqa: PLC0415 - as above

    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            yield f"line {loop.lineno}: a recursive loop, whose depth the conversation decides"
        call = loop.iter
        if isinstance(call, nodes.Call) and isinstance(call.node, nodes.Name) and call.node.name == "range":
            ends = [item.value for item in call.args if isinstance(item, nodes.Const)]
            if any(isinstance(end, int) and abs(end) > _MOST_ROUNDS for end in ends):
                yield f"line {loop.lineno}: a loop of more than {_MOST_ROUNDS} rounds"
            elif any(isinstance(item, (nodes.Pow, nodes.Mul)) for item in call.args):
                yield f"line {loop.lineno}: a loop whose number of rounds is computed"
    for macro in tree.find_all(nodes.Macro):
        if any(
            isinstance(call.node, nodes.Name) and call.node.name == macro.name for call in macro.find_all(nodes.Call)
        ):
            yield f"line {macro.lineno}: the macro {macro.name} calls itself"


def _instructions(tree: Any) -> Iterator[str]:  # noqa: ANN401 - a node of Jinja
    """Yield text of the template's own that tells the model what to do."""
    from jinja2 import nodes  # noqa: PLC0415 - as above

    texts = [item.data for item in tree.find_all(nodes.TemplateData)]
    texts += [item.value for item in tree.find_all(nodes.Const) if isinstance(item.value, str)]
    for text in dict.fromkeys(texts):
        for line in text.splitlines():
            if len(line.split()) >= _LEAST_WORDS and _INSTRUCTS.search(line):
                shown = line.strip()
                yield shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
                break
