"""Try to load a model before locking it, so that a model that no engine can load is never built and signed.

The result does not go into the lock, since it depends on this machine's engine.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import attrs

from lftool.api import BackendType, LoadReport, LoadRequest, Notice
from lftool.codec.canonical import canonical_json
from lftool.errors import FormatError, UnavailableError
from lftool.host.registry import is_installed
from lftool.pipeline.identity import load_key
from lftool.pipeline.tools.tool import files_to_plan

if TYPE_CHECKING:
    from lftool.host.registry import Registered
    from lftool.models.digest import Artifact
    from lftool.pipeline.ports import Ports


def _load(registered: Registered[BackendType], weights: Artifact, context: int | None, ports: Ports) -> LoadReport:
    plugin = "" if registered.origin.is_builtin else ports.registry.digest(registered.origin).hex

    def make() -> bytes:
        with files_to_plan({"weights": weights}, ports) as files:
            report = ports.isolated.load(registered, LoadRequest(weights=files["weights"].path, context=context))
        return canonical_json(attrs.asdict(report))

    key = load_key(plugin, registered.record.key, weights, context)
    told = json.loads(ports.store.remembered_bytes(key, "report", make))
    return LoadReport(**{**told, "warnings": tuple(told["warnings"])})


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _too_large(report: LoadReport, context: int | None, memory: int) -> Notice | None:
    """Return a warning about a context that cannot fit into this machine's memory."""
    if report.context_bytes is None or report.context_bytes <= memory:
        return None
    what = "[run] context" if context else "the context that the model was trained with"
    then = "choose a smaller one" if context else "set [run] context"
    return Notice(
        text=f"{what}, {report.context} tokens, takes {report.context_bytes / 1e9:.1f} GB of memory, and this machine has"
        f" {memory / 1e9:.1f} GB: bundles will not run here; {then}",
        warning=True,
    )


def try_loading(weights: Artifact, context: int | None, what: str, ports: Ports) -> None:
    """Have an installed engine load the vocabulary and tensor list of weights, without tensor data.

    If no installed engine can do that, reports that loading was not tried.

    Args:
        weights: Weights whose data or header is in the store.
        context: Tokens of context in the run contract; None for the model's default.
        what: The weights' name in messages.
        ports: Store, registry, child processes.

    Raises:
        FormatError: The engine cannot load them.
    """
    if not ports.load:
        return
    able = [found for found in ports.registry.all(BackendType) if found.record.loads]
    engine = min(able, key=lambda found: not is_installed(found.record), default=None)
    why = "no installed plugin has an engine"
    if engine is not None:
        try:
            report = _load(engine, weights, context, ports)
        except UnavailableError as error:
            why = "; ".join((error.message, *error.hints))
        except FormatError as error:
            raise FormatError(
                f"{what}: {error.message}",
                hints=(
                    *error.hints,
                    "if another engine can load it, lock without trying: LFTOOL_LOAD=0 lftool lock",
                ),
            ) from error
        else:
            notice = _too_large(report, context, _memory())
            if notice is not None:
                ports.emit(notice)
            for text in report.warnings:
                ports.emit(Notice(text=f"{what}: {text}", warning=True))
            return
    ports.emit(Notice(text=f"did not try loading the model: {why}"))
