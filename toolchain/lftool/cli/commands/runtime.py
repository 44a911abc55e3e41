"""`lftool runtime`."""

from __future__ import annotations

from pathlib import Path

import click

from lftool.cli.shared_options import WholeHelpGroup, json_option, note, print_json, project_option, say, size_text


@click.group("runtime", cls=WholeHelpGroup)
def command() -> None:
    """Compile a runtime for native bundles; see whether engines have newer releases."""


@command.command("build")
@click.option("--backend", default="cpu", show_default=True, metavar="NAME", help="Backend to compile for.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the executable to FILE.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads to use; default: one per core.")
@click.option("--offline", is_flag=True, help="Do not contact remote sources.")
@project_option
@json_option
def build(
    backend: str, output: Path | None, threads: int | None, offline: bool, project: Path | None, as_json: bool
) -> None:
    """Compile llama.cpp into one executable that needs no Python, and keep it in the cache.

    In a project whose lock pins the runtime, the result is exactly the pinned executable: from the cache, from the
    remote store, or compiled and compared.
    """
    from lftool.ops.project import find_nearest, open_ports
    from lftool.ops.runtime import build_runtime, write_executable
    from lftool.pipeline.parallel import apart

    found = find_nearest(project)
    ports = open_ports(found, online=not offline, threads=threads)
    built = apart(lambda: build_runtime(backend, found, ports), ports)
    if output is not None:
        write_executable(built.path, output)
    locked = built.locked
    if as_json:
        print_json(
            {
                "runtime": built.semantics,
                "sha256": str(locked.executable),
                "size": locked.size,
                "pinned": built.pinned,
                "toolchain": locked.toolchain,
                "path": str(output or built.path),
            }
        )
        return
    say(f"{built.semantics}  sha256 {locked.executable}  {size_text(locked.size or 0)}")
    note(f"compiled with {locked.toolchain}" if not built.pinned else "pinned by lftool.lock")
    note(f"written to {output}" if output is not None else f"kept in {built.path}")


@command.command("outdated")
@json_option
def outdated(as_json: bool) -> None:
    """Compare the installed engines, and the llama.cpp that native runtimes are made of, with the newest releases."""
    from lftool.host.registry import Registry
    from lftool.ops.runtime import releases

    found = releases(Registry.discovered())
    if as_json:
        print_json(
            {
                "engines": [
                    {"name": item.name, "installed": item.installed, "newest": item.newest, "update": item.update}
                    for item in found
                ]
            }
        )
        return
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        if item.installed == item.newest:
            say(f"{item.name:<{width}}  {item.installed}, the newest")
        else:
            say(f"{item.name:<{width}}  {item.installed or 'not installed'}, newest {item.newest}: {item.update}")
