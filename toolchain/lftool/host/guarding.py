"""The boundary to plugin code: whatever a plugin raises comes out as an error that names the plugin."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.errors import LftoolError, PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.host.origin import Origin


def plugin_failure(origin: Origin, error: BaseException) -> PluginError:
    """Return the error that names the plugin behind `error`."""
    return PluginError(f"{origin} failed: {type(error).__name__}: {error}")


def checked_pieces(pieces: Iterator[bytes], origin: Origin) -> Iterator[bytes]:
    """Yield what a plugin's `open` gave, inside the guard: a generator fails while it is consumed, not when it is called.

    Raises:
        PluginError: The plugin failed, or gave something else than bytes.
    """
    with guarded(origin):
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError(f"open() yielded {type(piece).__name__}, not bytes")
            yield piece


@contextlib.contextmanager
def guarded(origin: Origin) -> Iterator[None]:
    """Attribute what plugin code inside the block raises; errors that are meant for users pass as they are.

    Wrap the consumption of a plugin's iterator, not only the call that makes it: a generator fails while it is consumed.

    Raises:
        PluginError: The plugin raised something else than an LftoolError.
    """
    try:
        yield
    except LftoolError:
        raise
    except (Exception, SystemExit) as error:
        raise plugin_failure(origin, error) from error
