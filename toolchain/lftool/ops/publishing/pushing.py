"""`lftool push`: check bundles, then let a destination upload what it lacks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs
from attrs import define, field, frozen

from lftool.api import (
    BytesSent,
    DestinationContext,
    DestinationType,
    Notice,
    PublicationPlan,
    Published,
    StageFinished,
)
from lftool.errors import TransientError, UsageError
from lftool.host.given_options import given_options
from lftool.host.guarding import guarded
from lftool.host.returned import checked
from lftool.ops.publishing.gathering import gathered
from lftool.ops.publishing.terms import require_terms
from lftool.pipeline.ports import Ports
from lftool.transfer.fetch_rules import wait_before

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.api import Destination
    from lftool.host.registry import Registered

T = TypeVar("T")


@frozen(kw_only=True)
class PushOptions:
    """How to push.

    Attributes:
        statements: Files of statements to publish with the bundles.
        whole: Whether bundles are published as one file.
        force: Whether what is there under the same name may be replaced by something else.
        redistribute: Whether to publish what was made from gated sources, or under licences that forbid it.
        options: Options of the destination, as typed.
    """

    statements: Sequence[Path] = ()
    whole: bool = False
    force: bool = False
    redistribute: bool = False
    options: Mapping[str, Any] = field(factory=dict)


@define(kw_only=True)
class Upload:
    """What a destination works with: progress, attempts, and the user's Ctrl-C."""

    ports: Ports
    sent: int = 0
    _adding: threading.Lock = field(factory=threading.Lock)

    @contextlib.contextmanager
    def sending(self, path: str, total: int) -> Iterator[Callable[[int], None]]:
        """See `lftool.api.Uploading.sending`."""
        started = time.monotonic()

        def so_far(done: int) -> None:
            self.ports.wait(0)
            self.ports.emit(BytesSent(path=path, done=done, total=total))

        yield so_far
        with self._adding:
            self.sent += total
        seconds = time.monotonic() - started
        self.ports.emit(StageFinished(stage="push", target=path, seconds=seconds, detail=_amount(total)))

    def retried(self, ask: Callable[[], T], what: str) -> T:
        """See `lftool.api.Uploading.retried`."""
        failed = 0
        while True:
            self.ports.wait(0)
            try:
                return ask()
            except TransientError as error:
                failed += 1
                self.ports.wait(wait_before(failed, error, self.ports.transfer, what))

    def notice(self, text: str) -> None:
        """See `lftool.api.Uploading.notice`."""
        self.ports.emit(Notice(text=text, warning=True))


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@contextlib.contextmanager
def _opened(
    uri: str, bundles: Sequence[Path], options: PushOptions, ports: Ports
) -> Iterator[tuple[Registered[DestinationType], Destination, Any]]:
    """Yield the destination, and what it shall publish."""
    scheme, colon, _ = uri.partition(":")
    if not colon or not scheme.isalnum():
        raise UsageError(
            f"{uri!r} has no scheme", hints=("such as oci://REGISTRY/REPOSITORY:TAG, hf://ORG/REPO, file:FOLDER",)
        )
    if "@" in urlsplit(uri).netloc:
        raise UsageError(
            f"push to {scheme}: a user name in the address is refused: messages would show it",
            hints=("credentials have their own place: lftool help configuration",),
        )
    registered = ports.registry.destination(scheme)
    record = registered.record
    known = () if record.options_class is None else attrs.fields_dict(record.options_class)
    for name in options.options:
        if name not in known:
            raise UsageError(f"--{name.replace('_', '-')}: a push to {scheme}: has no such option")
    if options.whole and record.form == "detached":
        raise UsageError(f"--whole: a push to {scheme}: is always detached", hints=("leave it out",))
    made = given_options(record, options.options, "destination", f"push to {scheme}: $", UsageError)
    context = DestinationContext(
        uri=uri, options=made, credentials=ports.credentials, force=options.force, folder=Path.cwd()
    )
    with guarded(registered.origin):
        destination = record.factory(context)
    whole = options.whole or record.form == "whole"
    with gathered(bundles, options.statements, ports.store, whole=whole) as found:
        if not options.redistribute:
            require_terms(found)
        yield registered, destination, found.publication


def plan_push(uri: str, bundles: Sequence[Path], options: PushOptions, ports: Ports) -> PublicationPlan:
    """Return what a push would upload. Contacts no server.

    Args:
        uri: Where to publish.
        bundles: The bundles.
        options: How.
        ports: Registry and store.

    Raises:
        UsageError: The URI or an option is wrong, or the bundles do not belong together.
        IntegrityError: A bundle is corrupted.
        PolicyError: The bundles may not be given to others.
        PluginError: The destination failed.
    """
    with _opened(uri, bundles, options, ports) as (registered, destination, publication), guarded(registered.origin):
        return checked(destination.plan(publication), PublicationPlan, "plan()", registered.origin)


def push_bundles(uri: str, bundles: Sequence[Path], options: PushOptions, ports: Ports) -> Published:
    """Publish bundles.

    Args:
        uri: Where to publish.
        bundles: The bundles.
        options: How.
        ports: Registry, store, credentials, and the rules of transfers.

    Raises:
        UsageError: As for `plan_push`, or something else is there under the same name.
        IntegrityError: A bundle is corrupted.
        PolicyError: The bundles may not be given to others.
        FetchError: The place does not accept them.
        PluginError: The destination failed.
    """
    with _opened(uri, bundles, options, ports) as (registered, destination, publication), guarded(registered.origin):
        return checked(destination.publish(publication, Upload(ports=ports)), Published, "publish()", registered.origin)
