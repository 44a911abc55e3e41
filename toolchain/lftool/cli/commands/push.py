"""`lftool push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftool.cli.option_classes import given, options_of
from lftool.cli.shared_options import counted, json_option, note, print_json, say, size_text, wrapped

if TYPE_CHECKING:
    from lftool.api import PublicationPlan


class _Push(click.Command):
    """The command, with the options of all destinations that are installed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, then those of destinations."""
        own = super().get_params(ctx)
        taken = {name for item in own for name in (*item.opts, *item.secondary_opts)}
        return [*own, *(item for item in _of_destinations() if not taken & {*item.opts, *item.secondary_opts})]


def _of_destinations() -> list[click.Option]:
    """Return the options of all destinations; of one that several have, what each says of it."""
    from lftool.api import DestinationType
    from lftool.host.registry import Registry

    found: dict[str, click.Option] = {}
    for item in Registry.discovered().all(DestinationType):
        for decorate in options_of(item.record.options_class):
            (option,) = decorate(lambda: None).__click_params__
            said = f"{', '.join(item.record.schemes)}: {option.help or ''}"
            if option.name in found:
                found[option.name].help = f"{found[option.name].help} {said}"
                continue
            option.help = said
            found[option.name] = option
    return list(found.values())


@click.command("push", cls=_Push)
@click.argument("where", metavar="URI")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BUNDLE...")
@click.option(
    "--statement",
    "statements",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also publish this statement about a BUNDLE, such as one from `lftool quality`; repeatable.",
)
@click.option("--whole", is_flag=True, help="Publish each BUNDLE as one file instead of detached.")
@click.option(
    "--force", is_flag=True, help="Replace other files of the same names, or a tag that somebody moves meanwhile."
)
@click.option(
    "--redistribute", is_flag=True, help="Publish what was made from gated sources, or under a licence that forbids it."
)
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded, with digests; contact no server.")
@json_option
def command(
    *,
    where: str,
    bundles: tuple[Path, ...],
    statements: tuple[Path, ...],
    whole: bool,
    force: bool,
    redistribute: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - of the destinations' classes
) -> None:
    """Check every byte of each BUNDLE, and publish them together at URI: a registry, a hub, a bucket or a folder.

    Uploads only what is missing. What makes a push visible comes last.
    """
    from lftool.ops.bundles.folders import bundles_of
    from lftool.ops.project import open_ports
    from lftool.ops.publishing.pushing import PushOptions, plan_push, push_bundles
    from lftool.pipeline.parallel import apart

    chosen = PushOptions(
        statements=statements, whole=whole, force=force, redistribute=redistribute, options=given(options)
    )
    ports, paths = open_ports(None), bundles_of(bundles)
    if dry_run:
        _show_plan(plan_push(where, paths, chosen, ports), as_json=as_json)
        return
    done = apart(lambda: push_bundles(where, paths, chosen, ports), ports)
    if as_json:
        print_json({"location": done.location, "sent": done.sent, "present": done.present, "notes": list(done.notes)})
        return
    for text in done.notes:
        note(text)
    say((done.location, "name"), f"  {size_text(done.sent)} sent, {counted(done.present, 'item')} already there")


def _show_plan(plan: PublicationPlan, *, as_json: bool) -> None:
    if as_json:
        items = [{"name": item.name, "digest": item.digest, "size": item.size} for item in plan.items]
        print_json({"location": plan.location, "items": items})
        return
    say((plan.location, "name"))
    for line in wrapped([(size_text(item.size), item.digest, item.name) for item in plan.items], "  "):
        say(line)
