"""The child process that runs plugin code: `python -m lftool.host.worker`, tasks on standard input.

It loads only the plugin that the tasks name, and is confined by the first. Output of native code goes to standard error; the wire is a copy of
standard output that native code does not know. When the parent dies, standard input ends and so does this process.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import attrs
from attrs import define

from lftool.api import (
    HOOKS,
    BackendType,
    InputWarning,
    LoadRequest,
    QualityRequest,
    Record,
    RuntimeType,
    TensorType,
    TransformType,
)
from lftool.errors import LftoolError, RecipeError, UsageError
from lftool.host.confining import confine
from lftool.host.given_options import factory_arguments, given_options
from lftool.host.wire import decode_derive_request, decode_inputs, decode_spec, encode_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.api import Figures


@define
class Wire:
    """Sends messages to the parent; callbacks of native threads may use it too."""

    out: IO[str]
    lock: threading.Lock

    def send(self, **message: Any) -> None:  # noqa: ANN401 - plain data
        """Send one message."""
        with self.lock:
            self.out.write(json.dumps(message) + "\n")
            self.out.flush()

    def progress(self, tensor: object, index: object, count: object) -> None:
        """Report progress.

        Raises:
            TypeError: The plugin reported something other than a name and two numbers.
        """
        if not (isinstance(tensor, str) and type(index) is int and type(count) is int):
            raise TypeError(f"progress({tensor!r}, {index!r}, {count!r}): it takes a str and two ints")
        self.send(kind="progress", tensor=tensor, index=index, count=count)


def find_record(module_name: str, hook: str, name: str) -> Record:
    """Return the record that `module_name` yields from `hook` and whose key is `name`.

    Raises:
        LookupError: There is no such record.
    """
    for record in getattr(import_module(module_name), hook)():
        if isinstance(record, HOOKS[hook]) and record.key == name:
            return record
    raise LookupError(f"{module_name}.{hook} yields no {name!r}")


def _derive(deriver: Any, method: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - plain data
    """Call a method of a `Deriver`."""
    if method == "arithmetics":
        found = deriver.arithmetics(tuple(arguments["types"]), importance=arguments["importance"])
        return [attrs.asdict(item) for item in found]
    if method == "derive":
        return attrs.asdict(deriver.derive(decode_derive_request(arguments["request"]), arguments["threads"]))
    types = tuple(TensorType(tensor=tensor, type=kind) for tensor, kind in arguments["types"])
    header = deriver.derived_header(Path(arguments["base"]), types, arguments["file_type"])
    return {"sha256": header.sha256.hex, "size": header.size}


def _call_transform(record: TransformType, method: str, arguments: dict[str, Any], wire: Wire) -> Any:  # noqa: ANN401
    transform = record.factory()
    if method in {"arithmetics", "derive", "derived_header"}:
        return _derive(transform, method, arguments)
    if method == "probe_inputs":
        found = transform.probe_inputs(arguments["use"], Path(arguments["folder"]))
        return {role: str(path) for role, path in found.items()}
    plain = arguments["spec"]
    options = given_options(record, plain["options"], "transform", "options", RecipeError)
    spec, inputs = decode_spec(plain, options), decode_inputs(arguments["inputs"])
    if method == "plan":
        return encode_plan(transform.plan(spec, inputs))

    if arguments["archive"] is not None:
        spec = attrs.evolve(spec, archive=Path(arguments["archive"]))
    transform.run(spec, inputs, Path(arguments["output"]), arguments["threads"], wire.progress)
    return None


def _quality_request(plain: dict[str, Any]) -> QualityRequest:
    paths = {name: Path(plain[name]) for name in ("weights", "reference", "text")}
    return QualityRequest(**{**plain, **paths})


def _measured(backend: Any, given: list[dict[str, Any]], wire: Wire) -> Sequence[Figures]:  # noqa: ANN401 - a plugin's
    """Measure in one pass if the backend can, or has to do it once; else one after the other."""
    requests = [_quality_request(plain) for plain in given]
    if len(requests) > 1 and hasattr(backend, "measure_several"):
        found: Sequence[Figures] = backend.measure_several(requests, wire.progress)
        return found
    return [backend.measure(request, wire.progress) for request in requests]


def perform(task: dict[str, Any], wire: Wire) -> Any:  # noqa: ANN401 - plain data
    """Carry out `task` and return the result as plain data."""
    record = find_record(task["module"], task["kind"], task["name"])
    if isinstance(record, TransformType):
        return _call_transform(record, task["method"], task["arguments"], wire)
    if isinstance(record, RuntimeType):
        given = task["arguments"]
        runtime: Any = record.factory()
        runtime.compile(Path(given["archive"]), Path(given["output"]), given["threads"], wire.progress)
        return None
    assert isinstance(record, BackendType)  # noqa: S101 - the parent sends nothing else
    given = task["arguments"]
    where = f"config.toml: $.backends.{record.name}"
    backend = record.factory(*factory_arguments(record, given["options"], "backend", where, UsageError))
    if task["method"] == "measure":
        return [attrs.asdict(figures) for figures in _measured(backend, given["requests"], wire)]
    if task["method"] == "load":
        return attrs.asdict(backend.load(LoadRequest(weights=Path(given["weights"]), context=given["context"])))
    return attrs.asdict(backend.probe())


def _pass_on_warnings(wire: Wire) -> None:
    """Send `InputWarning`s from plugins to the user; other warnings go to standard error."""
    shown = warnings.showwarning

    def show(message: Any, category: Any, *rest: Any, **named: Any) -> None:  # noqa: ANN401 - the library's signature
        if issubclass(category, InputWarning):
            wire.send(kind="notice", text=str(message))
        else:
            shown(message, category, *rest, **named)

    warnings.showwarning = show
    warnings.simplefilter("always", InputWarning)


def main() -> None:
    """Read tasks, carry them out, and report the results, until there are no more."""
    wire = Wire(os.fdopen(os.dup(1), "w"), threading.Lock())
    os.dup2(2, 1)
    # Libraries that ask a question read an empty input.
    tasks, nobody = os.fdopen(os.dup(0)), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nobody, 0)
    sys.stdin = os.fdopen(nobody)
    task = json.loads(tasks.readline())
    if task["site"] and task["site"] not in sys.path:
        sys.path.append(task["site"])  # may come from PYTHONPATH, which this process ignores; last, for this plugin
    if task["confinement"] is not None:  # before anything else runs, so that it applies to later threads
        confine(task["confinement"])
    _pass_on_warnings(wire)
    threading.Thread(target=_die_with_parent, args=(tasks.fileno(),), daemon=True).start()
    while _carried_out(task, wire):
        task = json.loads(tasks.readline())  # the parent ends this process instead, if there is none


def _carried_out(task: dict[str, Any], wire: Wire) -> bool:
    """Carry out a task and report its result; return whether it succeeded."""
    try:
        result = perform(task, wire)
    except LftoolError as error:
        wire.send(kind="error", code=type(error).__name__, message=error.message, hints=list(error.hints))
    except MemoryError:
        wire.send(kind="limit", limit="memory")
    except BaseException as error:  # noqa: BLE001 - the parent names the plugin and shows the trace on request
        if _exceeds_file_size(error):
            wire.send(kind="limit", limit="file size")
            return False
        wire.send(kind="crash", message=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    else:
        wire.send(kind="result", value=result)
        return True
    return False


def _exceeds_file_size(error: BaseException | None) -> bool:
    """Return whether a file exceeded its size limit, even if that error was wrapped."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return True
        error = error.__cause__ or error.__context__
    return False


def _die_with_parent(pipe: int) -> None:
    gone = select.poll()
    gone.register(pipe, 0)  # hanging up is always reported
    gone.poll()
    os.killpg(0, signal.SIGKILL)  # this process leads its group, so its children die too


if __name__ == "__main__":
    main()
