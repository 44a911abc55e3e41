"""Options of `run` and `serve` that take the place of what a run contract says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

# Flag, type, metavar, help. Bounds are those of the run contract (models/run_contract.py).
_OPTIONS: tuple[tuple[str, click.ParamType[Any], str, str], ...] = (
    ("--max-tokens", click.IntRange(1, 2**31 - 1), "N", "At most N tokens an answer; default: the bundle's."),
    (
        "--temperature",
        click.FloatRange(0, 100),
        "T",
        "Temperature; 0 always takes the likeliest token; default: the bundle's.",
    ),
    (
        "--top-p",
        click.FloatRange(0, 1),
        "P",
        "Sample from the likeliest tokens that make up P; default: the bundle's.",
    ),
    ("--seed", click.IntRange(0, 2**32 - 2), "N", "Seed of the sampler; default: the bundle's."),
    ("--system", click.STRING, "TEXT", "System prompt; default: the bundle's."),
    ("--ctx", click.IntRange(1, 2**31 - 1), "N", "Tokens of context; default: the bundle's."),
    ("--threads", click.IntRange(1, 512), "N", "Threads to compute with; default: as many as suit the machine."),
)


def run_options(command: F) -> F:
    """Add the options; each is None unless given, and `arguments` makes them arguments of the process."""
    command = click.option(
        "--think/--no-think",
        "think",
        default=None,
        help="Have the model think before it answers, or not, if its chat template supports this.",
    )(command)
    for flag, kind, metavar, text in reversed(_OPTIONS):
        command = click.option(flag, type=kind, metavar=metavar, help=text)(command)
    return command


def arguments(given: Mapping[str, Any]) -> list[str]:
    """Return the options that were given as the arguments that every runtime takes."""
    made = []
    for flag, *_ in _OPTIONS:
        value = given[flag[2:].replace("-", "_")]
        if value is not None:
            made.append(f"{flag}={value}")  # joined: a value may begin with a dash
    if given["think"] is not None:
        made.append("--think" if given["think"] else "--no-think")
    return made
