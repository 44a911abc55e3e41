"""Start a bundle again as it was started before, without loading what decided how: `lftool run`, the second time.

The first `lftool run` of a bundle checks every byte, and remembers under the stamp of the file how it was started: facts
about those very bytes and this very installation. A later one that asks for nothing else finds the stamp and begins at
once. Whoever names a key, a policy or a backend, or has a policy of their own, is served the long way: whether somebody
is trusted is never remembered. Budget: docs/performance.md, first token.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from lftool import __version__
from lftool.errors import LftoolError
from lftool.store.places import cache_root, user_policy
from lftool.store.reading import open_for_reading
from lftool.store.stamps import Stamps, open_stamps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lftool.ops.run.prepare import ReadyToRun

_KIND = "start"
_VALUES = {"-p": "--prompt", "--prompt": "--prompt", "--max-tokens": "--max-tokens"}
_FLAGS = ("--raw", "--stats")
_ISOLATED = [sys.executable, "-I"]


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0  # noqa: PLR2004 - digits of 32 bits


def _simple(arguments: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return bundle and runner arguments of a command line that asks for nothing special; the rest is click's."""
    bundles, passed, left = [], [], list(arguments)
    while left:
        argument = left.pop(0)
        if argument in _VALUES and left:
            value = left.pop(0)
            if _VALUES[argument] == "--max-tokens" and not _is_count(value):
                return None
            passed.append(f"{_VALUES[argument]}={value}")
        elif argument in _FLAGS:
            passed.append(argument)
        elif argument.startswith("-") or not argument:
            return None
        else:
            bundles.append(argument)
    return (bundles[0], passed) if len(bundles) == 1 else None


def _installation(files: Iterable[str]) -> list[Any]:
    """Return what must be the same for a remembered start to be the one that would be made now."""
    seen: list[Any] = [sys.executable, __version__, os.environ.get("LFTOOL_PLUGINS")]
    for path in [*filter(None, sys.path), *files]:
        try:
            status = os.stat(path)  # noqa: PTH116 - one of many, before pathlib is worth loading
            seen.append([path, status.st_mtime_ns, status.st_size])
        except OSError:
            seen.append([path, None, None])
    return seen


def _stamps() -> Stamps:
    return open_stamps(cache_root())


def _recalled(descriptor: int) -> Any:  # noqa: ANN401 - what was remembered, as JSON
    facts = _stamps().recall(os.fstat(descriptor), _KIND)
    try:
        start = json.loads((facts or {})["start"])
        return start if start["installation"] == _installation(start["files"]) else None
    except (KeyError, ValueError, TypeError):
        return None


def remember(ready: ReadyToRun, files: Iterable[str]) -> None:
    """Remember how a bundle was started.

    Args:
        ready: A start that was decided without a policy or a named backend.
        files: Files whose change could change the decision: of the backend's plugin, and the runner.
    """
    listed = sorted(files)
    start = {
        "installation": _installation(listed),
        "files": listed,
        "argv": list(ready.command.argv),
        "bundle": ready.bundle,
        "bundle_at": ready.command.argv.index(ready.bundle),
        "environment": dict(ready.command.environment),
        "told": [ready.signature, *ready.told],
        "confinement": None if ready.confinement is None else ready.confinement.plain(),
    }
    status = os.fstat(ready.descriptor)
    _stamps().remember(status, status, _KIND, {"start": json.dumps(start)})


def start_again(arguments: Sequence[str]) -> None:
    """Become the process that runs the bundle, if that is remembered; else return, and nothing has happened.

    Args:
        arguments: The command line behind `lftool run`.
    """
    simple = _simple(arguments)
    if simple is None or os.path.lexists(user_policy()):
        return
    bundle, passed = simple
    try:
        descriptor = open_for_reading(_path(bundle))
    except LftoolError:
        return
    start = _recalled(descriptor)
    if start is None:
        os.close(descriptor)
        return
    name = os.path.basename(bundle)  # noqa: PTH119 - as above
    sys.stderr.write("".join(f"{name}: {line}\n" for line in start["told"]))
    argv = [*start["argv"], *passed]
    opened = argv[start["bundle_at"]] = f"/dev/fd/{descriptor}"
    os.environ.update({"LFTOOL_BUNDLE": bundle, **start["environment"]})
    if (
        not any(argument.startswith("--prompt=") for argument in passed)
        and sys.stdin is not None
        and sys.stdin.isatty()
    ):
        from lftool.cli.chat_files import chat_files

        os.environ.update(chat_files(history=True))
    wanted = _confinement(start, opened)
    if argv[:2] == _ISOLATED and not any(key.startswith("PYTHON") and key.endswith("PATH") for key in os.environ):
        _become(argv[2:], wanted)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - the function takes nothing else
    _confine(wanted)
    os.execve(argv[0], argv, os.environ)  # noqa: S606 - the backend's own command line


def _confinement(start: Any, opened: str) -> Any:  # noqa: ANN401 - what was remembered, as JSON
    """Return the confinement of a remembered start, with the bundle as it is opened now."""
    wanted = start["confinement"]
    if wanted is None:
        return None
    again = {
        key: [opened if path == start["bundle"] else path for path in wanted[key]] for key in ("reads", "programs")
    }
    return {**wanted, **again}


def _confine(wanted: Any) -> None:  # noqa: ANN401 - a confinement as JSON
    if wanted is not None:
        from lftool.host.confining import confine

        confine(wanted)


def _path(text: str) -> Path:
    from pathlib import Path

    return Path(text)


def _become(argv: list[str], wanted: Any) -> None:  # noqa: ANN401 - a confinement as JSON
    """Run a Python script in this process, confined; it does not return."""
    import gc
    from importlib.machinery import SourceFileLoader
    from types import ModuleType

    code = SourceFileLoader("__main__", argv[0]).get_code("__main__")  # keeps bytecode, which runpy does not
    sys.argv = argv
    main = sys.modules["__main__"] = ModuleType("__main__")
    _confine(wanted)
    gc.freeze()
    gc.set_threshold(50_000)  # importing makes hardly any garbage, and looking for it is a tenth of the start
    exec(code, main.__dict__)  # type: ignore[arg-type]  # noqa: S102 - a source loader always has code
    sys.exit(0)
