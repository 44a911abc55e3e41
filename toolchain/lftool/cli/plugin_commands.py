"""Commands of plugins: found when somebody types a name that lftool does not have; their failures name the plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lftool.api import CommandType, Lazy
from lftool.errors import LftoolError
from lftool.host.guarding import guarded, plugin_failure
from lftool.host.registry import Registry
from lftool.host.returned import checked
from lftool.ops.opened_bundles import Workbench

if TYPE_CHECKING:
    from collections.abc import Callable

_MEANT = (LftoolError, click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)


def _made(factory: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the plugin makes
    """Return the command. A lazy name may be that of the command itself, which must not be called: it would run."""
    found = factory.resolve() if isinstance(factory, Lazy) else None
    return found if isinstance(found, click.Command) else factory()


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
        command = checked(_made(registered.record.factory), click.Command, "the factory of a command", origin)
    command.name = name
    command.context_settings.setdefault("obj", Workbench())
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
