"""Become the process that runs a bundle, confined."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from lftool.host.confining import confine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lftool.ops.run.prepare import ReadyToRun


def start(ready: ReadyToRun, bundle: str, arguments: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Hand over to the backend's process; it gets the checked file as an open descriptor."""
    os.set_inheritable(ready.descriptor, True)  # noqa: FBT003 - the function takes nothing else
    environment = {**os.environ, "LFTOOL_BUNDLE": bundle, **variables, **ready.command.environment}
    argv = [*ready.command.argv, *arguments]
    if ready.confinement is not None:
        confine(ready.confinement.plain())
    os.execve(argv[0], argv, environment)  # noqa: S606 - the backend's own command line
