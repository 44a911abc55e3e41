"""Options that several commands share, and how reports are written."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from lftool.models.terminal import COLOR, VERBOSITY, folded, has_colors, styled, verbosity
from lftool.models.terminal_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.models.policy import TrustPolicy
    from lftool.models.terminal import Style
    from lftool.pipeline.stages.finished import BuiltBundle

_LEAST_COLUMN = 20  # characters that are worth wrapping
F = TypeVar("F", bound="Callable[..., Any]")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
project_option = click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Folder of the recipe; default: search upwards for lftool.toml.",
)
sign_key_option = click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Sign with this private key instead of the one in the recipe.",
)
bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


def trust_options(command: F) -> F:
    """Add `--key` and `--trust`."""
    command = click.option(
        "--trust",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Trust policy file: who may sign what, and when.",
    )(command)
    return click.option(
        "--key",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="PUB",
        help="Trust this public key; repeatable.",
    )(command)


def chosen_sign_key(given: Path | None) -> Path | None:
    """Return the path of the private key that the user names: with an option, else in the configuration; None for none."""
    from lftool.ops.user_configuration import read_configuration

    own = read_configuration().sign.key
    return given if given is not None or own is None else Path(own)


def chosen_policy(key: Sequence[Path], trust: Path | None, *, own: bool = False) -> TrustPolicy | None:
    """Return the policy that the options mean, or None when neither is given.

    Args:
        key: Public keys.
        trust: A policy.
        own: Whether the user's own policy counts where neither is given.

    Raises:
        click.UsageError: Both are given.
    """
    from lftool.ops.bundles.trust import policy_of_keys, read_policy
    from lftool.store.places import user_policy

    if key and trust is not None:
        raise click.UsageError("give --key or --trust, not both")
    if key:
        return policy_of_keys(key)
    if trust is None and own and os.path.lexists(user_policy()):  # a dangling link is a policy that cannot be read
        trust = user_policy()
    return None if trust is None else read_policy(trust)


def print_json(value: Any) -> None:  # noqa: ANN401 - plain data
    """Print `value` on standard output."""
    try:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    except ValueError:  # JSON has no such numbers
        text = json.dumps(_finite(value), indent=2, sort_keys=True, allow_nan=False)
    click.echo(text)


def _finite(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Return plain data with texts in place of what is infinite or not a number."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def require_new(path: Path | None, option: str) -> None:
    """Raise a usage error if an output exists already, or its folder does not: before any work is done for it."""
    if path is None:
        return
    if os.path.lexists(path):
        raise click.UsageError(f"{option}: {path} already exists")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"{option}: there is no folder {path.absolute().parent}")


def _line(parts: tuple[str | tuple[str, Style], ...], stream: IO[str]) -> str:
    return "".join(printable(part) if isinstance(part, str) else styled(*part, stream) for part in parts)


def say(*parts: str | tuple[str, Style]) -> None:
    """Print a line of a report on standard output: texts, and texts with a style."""
    click.echo(_line(parts, sys.stdout), color=has_colors(sys.stdout))


def note(*parts: str | tuple[str, Style], always: bool = False) -> None:
    """Print a message on standard error; with `--quiet`, only if it is `always` said: a problem."""
    if always or verbosity() >= 0:
        if len(parts) == 1 and isinstance(parts[0], str):
            parts = (folded(parts[0], sys.stderr, 2),)
        click.echo(_line(parts, sys.stderr), err=True, color=has_colors(sys.stderr))


def show_bundle(item: BuiltBundle) -> None:
    """Print what a build made: where it is, its size and what it was made from; with `--verbose`, its digest."""
    parts = [size_text(item.artifact.size)]
    if item.weights is not None:
        parts[0] += f" from {size_text(item.source.size)}"
    if item.bits is not None:
        parts.append(f"{item.bits:.2f} bits a weight")
    say((str(item.path), "name"), f"  {', '.join(parts)}")
    if verbosity() > 0:
        say((f"  sha256 {item.artifact.sha256}", "dim"))


def _set_color(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ[COLOR] = value


def _set_verbosity(_context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        os.environ[VERBOSITY] = "-1" if option.name == "quiet" else "1"


def output_options(*, hidden: bool) -> list[click.Option]:
    """Return `--quiet`, `--verbose` and `--color`, which every command takes; they are shown in lftool's own help."""
    more: dict[str, Any] = {"expose_value": False, "hidden": hidden}
    flag: dict[str, Any] = {**more, "is_flag": True, "is_eager": True, "callback": _set_verbosity}
    return [
        click.Option(["-q", "--quiet"], help="Print results and problems only.", **flag),
        click.Option(["-v", "--verbose"], help="Print more, such as digests.", **flag),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            help="Colours; auto: on a terminal, unless NO_COLOR is set.",
            is_eager=True,
            callback=_set_color,
            **more,
        ),
    ]


class WholeHelpGroup(click.Group):
    """A group whose help has the first sentence of each command, whole; click cuts them at 45 letters."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=1000)) for name, one in found if one is not None])


def wrapped(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Return rows as lines with aligned columns; on a terminal, the last column is wrapped and keeps its place."""
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    begin = len(indent) + sum(width + 2 for width in widths)
    room = shutil.get_terminal_size().columns - begin if sys.stdout.isatty() else 0
    lines = []
    for row in rows:
        head = indent + "".join(f"{text:<{width}}  " for text, width in zip(row, widths, strict=False))
        parts = textwrap.wrap(row[-1], room) if room >= _LEAST_COLUMN and row[-1] else [row[-1]]
        lines += [(head if at == 0 else " " * begin) + part for at, part in enumerate(parts)]
    return [line.rstrip() for line in lines]


def counted(count: int, noun: str) -> str:
    """Return a number of things for people."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shortened(text: str, most: int = 72) -> str:
    """Return the begin of a text, with how much more there is."""
    rest = len(text) - most
    return text if rest <= 0 else f"{text[:most]}… ({rest} more characters)"


def size_text(size: int) -> str:
    """Return a size for people, in decimal units."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
