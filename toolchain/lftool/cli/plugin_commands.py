"""Commands of plugins: found when somebody types a name that lftool does not have; their failures name the plugin."""

from __future__ import annotations

from typing import Any

import click

from lftool.api import CommandType
from lftool.errors import LftoolError
from lftool.host.guarding import guarded, plugin_failure
from lftool.host.registry import Registry
from lftool.host.returned import checked

_MEANT = (LftoolError, click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)


def command_of(name: str) -> click.Command | None:
    """Return the command of that name of an installed plugin; None without one.

    Raises:
        PluginError: The plugin fails to make it.
    """
    found = Registry.discovered().all(CommandType)
    registered = next((item for item in found if item.record.name == name), None)
    if registered is None:
        return None
    origin = registered.origin
    with guarded(origin):
        command = checked(registered.record.factory(), click.Command, "the factory of a command", origin)
    command.name = name
    invoke = command.invoke

    def attributed(ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        try:
            return invoke(ctx)
        except _MEANT:
            raise
        except Exception as error:
            raise plugin_failure(origin, error) from error

    command.invoke = attributed  # type: ignore[method-assign]  # click asks the object
    return command
