"""Options that several commands share, and how reports are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lftool.models.terminal_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.models.policy import TrustPolicy

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
        "--trust", type=click.Path(path_type=Path), metavar="FILE", help="Trust policy: keys, names, validity."
    )(command)
    return click.option("--key", type=click.Path(path_type=Path), metavar="PUB", help="Trust this public key.")(command)


def chosen_sign_key(given: Path | None) -> Path | None:
    """Return the path of the private key that the user names: with an option, else in the configuration; None for none."""
    from lftool.ops.user_configuration import read_configuration

    own = read_configuration().sign.key
    return given if given is not None or own is None else Path(own)


def chosen_policy(key: Path | None, trust: Path | None, *, own: bool = False) -> TrustPolicy | None:
    """Return the policy that the options mean, or None when neither is given.

    Args:
        key: A public key.
        trust: A policy.
        own: Whether the user's own policy counts where neither is given.

    Raises:
        click.UsageError: Both are given.
    """
    from lftool.ops.bundles.trust import policy_of_key, read_policy
    from lftool.store.places import user_policy

    if key is not None and trust is not None:
        raise click.UsageError("give --key or --trust, not both")
    if key is not None:
        return policy_of_key(key)
    if trust is None and own and os.path.lexists(user_policy()):  # a dangling link is a policy that cannot be read
        trust = user_policy()
    return None if trust is None else read_policy(trust)


def print_json(value: Any) -> None:  # noqa: ANN401 - plain data
    """Print `value` on standard output."""
    click.echo(json.dumps(value, indent=2, sort_keys=True))


def say(text: str = "") -> None:
    """Print a line of a report on standard output."""
    click.echo(printable(text))


def note(text: str) -> None:
    """Print a message on standard error."""
    click.echo(printable(text), err=True)


def counted(count: int, noun: str) -> str:
    """Return a number of things for people."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size_text(size: int) -> str:
    """Return a size for people, in decimal units."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
