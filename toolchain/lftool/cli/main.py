"""Entry point: commands are imported when they are asked for, errors become messages and exit statuses here only."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from lftool import __version__
from lftool.cli.interrupts import one_interrupt
from lftool.cli.shared_options import note, output_options
from lftool.errors import ExitStatus, LftoolError
from lftool.models.terminal import COLOR, VERBOSITY

# Group to commands, each with one line of help, so that `--help` imports nothing. A command is the module of its name
# below lftool.cli.commands.
GROUPS: dict[str, dict[str, str]] = {
    "Run models": {
        "run": "Run a model: a bundle, a GGUF, or a URI.",
        "serve": "Serve a model over HTTP.",
    },
    "Build bundles": {
        "init": "Write a starter recipe.",
        "lock": "Pin what the recipe names.",
        "build": "Build bundles from recipe and lock.",
        "pack": "Make a bundle from a model, with no recipe.",
        "fetch": "Fetch what the lock pins.",
        "outdated": "Show which locked refs have moved.",
        "vendor": "Write what a locked build needs into a folder or archive.",
    },
    "Check bundles": {
        "verify": "Check a bundle and who signed it.",
        "inspect": "Show what is in a bundle.",
        "rebuild": "Make a bundle again from its own lock, and compare.",
        "prove": "Check that a GGUF derives from a base model.",
        "diff": "Show what differs between two models.",
        "fingerprint": "Print a digest of a model's tensors.",
        "check": "Run the recipe's checks against bundles.",
        "quality": "Measure what quantising costs, and sign the result.",
    },
    "Ship bundles": {
        "keygen": "Make a key pair for signing.",
        "sign": "Add a signature to a finished bundle.",
        "export": "Write a bundle as a container image, or manifests that run the image.",
        "detach": "Write a bundle as a bare GGUF and a sidecar.",
        "attach": "Make a bundle of a GGUF and its sidecar again.",
        "push": "Publish bundles at a URI.",
        "pull": "Fetch bundles from a URI, and check them.",
        "extract": "Write the parts of a bundle as files.",
    },
    "This machine": {
        "backends": "Show which devices can run models.",
        "runtime": "Compile a runtime for native bundles.",
        "plugins": "Show, check, test and create plugins.",
        "cache": "Manage the cache.",
        "gguf": "Repair GGUF files.",
    },
    "Read more": {
        "help": "Print a documentation page.",
        "schema": "Print the JSON Schema of a file format.",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}


def _take_output_options(command: click.Command) -> None:
    """Have a command, and those below it, take what is the same for all; unless it has an option of that name itself."""
    known = {name for item in command.params for name in item.opts}
    if not command.context_settings.get("ignore_unknown_options"):  # those are of another program
        command.params += [option for option in output_options(hidden=True) if known.isdisjoint(option.opts)]
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _take_output_options(below)


class ReaderGoneError(Exception):
    """Whoever read standard output has gone; nothing more to say, and no failure."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the command names in the order of a release."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command: lftool's, or a plugin's."""
        if ctx.params.get("no_plugins"):  # before the plugins are looked at, which is before `cli` runs
            os.environ["LFTOOL_PLUGINS"] = ""
        command: click.Command | None
        if cmd_name not in COMMANDS:
            command = import_module("lftool.cli.plugin_commands").command_of(cmd_name)
        else:
            command = import_module(f"lftool.cli.commands.{cmd_name}").command
        if command is not None:
            _take_output_options(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return name, command and the rest; of a name that is nobody's, say the nearest."""
        if args[0] not in COMMANDS and self.get_command(ctx, args[0]) is None:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the command; click itself would answer a closed pipe with exit status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the commands by group, without importing any."""
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(max(map(len, COMMANDS))), text) for name, text in commands.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Plugins can add commands: see `lftool plugins list`. Every command uses the same exit statuses: see `lftool help exit-codes`.",
)
@click.version_option(__version__, "--version", message="lftool %(version)s")
@click.option("--traceback", is_flag=True, help="Show a traceback when a command fails.")
@click.option("--no-plugins", is_flag=True, help="Load built-in plugins only.")
@click.pass_context
def cli(context: click.Context, traceback: bool, no_plugins: bool) -> None:
    """Build, lock, sign and verify single-file LLM bundles, reproducible bit for bit."""
    del context, traceback  # run() looks for --traceback itself: an error may come before parsing ends
    if no_plugins:
        os.environ["LFTOOL_PLUGINS"] = ""


cli.params += output_options(hidden=False)


def _show(message: str, *hints: str) -> None:
    note(("error:", "bad"), f" {message}", always=True)
    for hint in hints:
        note(("  hint:", "hint"), f" {hint}", always=True)


def _show_usage(error: click.ClickException) -> None:
    """Show what is wrong with a command line, as other errors are shown."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        note(context.get_usage(), always=True)
    message = error.format_message()
    if message[:1].isupper() and message[1:2].islower():  # as in all other errors
        message = message[0].lower() + message[1:]
    _show(message, *([] if context is None else [f"{context.command_path} --help"]))


def _report(error: Exception) -> ExitStatus:
    """Print an error and return its exit status."""
    match error:
        case LftoolError():
            _show(error.message, *error.hints)
            return error.exit_status
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return ExitStatus.USAGE
        case click.ClickException():
            _show_usage(error)
            return ExitStatus.USAGE
        case OSError():
            _show(f"{error.strerror or error}{f' {error.filename}' if error.filename else ''}")
            return ExitStatus.IO
        case _:
            _show(
                f"internal: {type(error).__name__}: {error}",
                "this is a bug; run again with `lftool --traceback …` and report it",
            )
            return ExitStatus.IO


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status; the only place where errors become text."""
    before = {name: os.environ.get(name) for name in (COLOR, VERBOSITY)}
    try:
        with one_interrupt():
            return _run(arguments)
    finally:  # options set them for this command, and for the processes that it starts
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _run(arguments: list[str]) -> int:
    try:
        result: Any = cli.main(arguments, prog_name="lftool", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        note("interrupted; nothing half-written is left", always=True)
        return int(ExitStatus.INTERRUPTED)
    except ReaderGoneError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader has gone; nothing more to say
        return int(ExitStatus.OK)
    except Exception as error:  # noqa: BLE001 - the one place where errors become text
        if "--traceback" in arguments:
            import traceback

            traceback.print_exc()
            return int(error.exit_status if isinstance(error, LftoolError) else ExitStatus.IO)
        return int(_report(error))
    return result if isinstance(result, int) else int(ExitStatus.OK)


def main() -> None:
    """Run lftool as a program."""
    sys.exit(run(sys.argv[1:]))
