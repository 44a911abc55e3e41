"""`lftool push hf://OWNER/NAME[@BRANCH]`: large files first, then everything becomes visible with one commit."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from lftool.api import FetchError, PlannedItem, PublicationPlan, Published, UsageError, plan_files
from lftool.api.http import HTTPClient
from lftool_hf.address import parse_address
from lftool_hf.card import card
from lftool_hf.hub import SIGN_IN_TO_WRITE, endpoint, headers_for_hub, sorted_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.api import DestinationContext, Publication, Uploading

_CARD = "README.md"
_MOST_CARD = 1024 * 1024


@frozen(kw_only=True)
class PushOptions:
    """Options of `lftool push hf://…`."""

    pr: bool = field(default=False, metadata={"doc": "Open a pull request instead of committing."})
    message: str | None = field(default=None, metadata={"doc": "Message of the commit.", "metavar": "TEXT"})
    card: bool = field(default=True, metadata={"doc": "Whether to write a model card, or its part between the marks."})


class _Reader(io.BufferedIOBase):
    """A file of a publication, as huggingface_hub reads what it uploads."""

    def __init__(
        self, content: Callable[[int, int], Iterator[bytes]], size: int, so_far: Callable[[int], None]
    ) -> None:
        self._content, self._size, self._so_far = content, size, so_far
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and return the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes; all that are left if it is negative."""
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        data = b"".join(self._content(self._at, wanted)) if wanted else b""
        self._at += len(data)
        self._so_far(self._at)
        return data


class HubDestination:
    """Publishes into a repository at the endpoint that the user names (`HF_ENDPOINT`), else the Hub's own."""

    def __init__(self, context: DestinationContext) -> None:
        self._context, self._options = context, context.options
        self._address = parse_address(context.uri)
        if self._address.path or self._address.kind != "model":
            raise UsageError(
                f"{context.uri!r}: a push goes to the root of a model's repository",
                hints=("write hf://OWNER/NAME, or hf://OWNER/NAME@BRANCH",),
            )
        self._what = f"push to {context.uri!r}"

    def plan(self, publication: Publication) -> PublicationPlan:
        """Return files and statements. The card depends on what is there."""
        return plan_files(publication, self._context.uri)

    def publish(self, publication: Publication, uploading: Uploading) -> Published:
        """Upload large files that the Hub lacks, then commit.

        Raises:
            UsageError: A file with other contents is there.
            FetchError: The Hub does not accept it.
            TransientError: It does not answer, for now.
        """
        from huggingface_hub import HfApi

        address, hub = self._address, endpoint()
        api = HfApi(endpoint=hub, token=False, headers=dict(headers_for_hub(self._context.credentials)))

        def ask(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - of huggingface_hub
            def sorted_work() -> Any:  # noqa: ANN401 - as above
                with sorted_errors(self._what, address, SIGN_IN_TO_WRITE):
                    return work()

            return uploading.retried(sorted_work, self._what)

        info = ask(
            lambda: api.repo_info(address.repository, revision=address.ref, repo_type="model", files_metadata=True)
        )
        there = {item.rfilename: item for item in info.siblings or ()}
        wanted = self._wanted(publication)
        missing = [item for item in wanted if not self._is_there(item, there)]
        notes = []
        text = None
        if self._options.card:
            before = ask(lambda: self._card(api, info.sha)) if _CARD in there else None
            text = card(publication, address.repository, before)
            if text is None:
                notes.append(f"{_CARD} is there, and no push has written it: it stays as it is")
            if text == before:
                text = None
        if not missing and text is None:
            return Published(location=f"{self._context.uri}", sent=0, present=len(wanted), notes=tuple(notes))
        made = ask(lambda: self._commit(api, info.sha, missing, text, publication, uploading))
        if self._options.pr:
            notes.append(f"open for review: {made.pr_url}")
        return Published(
            location=f"hf://{address.repository}@{made.oid}",
            sent=sum(item.size for item, _ in missing),
            present=len(wanted) - len(missing),
            notes=tuple(notes),
        )

    def _wanted(self, publication: Publication) -> list[tuple[PlannedItem, Callable[[int, int], Iterator[bytes]]]]:
        contents: dict[str, Callable[[int, int], Iterator[bytes]]] = {}
        for bundle in publication.bundles:
            contents |= {file.path: file.content for file in bundle.files}
            contents |= {item.path: _of_bytes(item.data) for item in bundle.statements}
        return [(item, contents[item.name]) for item in self.plan(publication).items]

    def _is_there(self, wanted: tuple[PlannedItem, Any], there: dict[str, Any]) -> bool:
        """Tell whether the repository has a file; a small one is compared as git names it.

        Raises:
            UsageError: It has another file of that name.
        """
        item, content = wanted
        found = there.get(item.name)
        if found is None:
            return False
        if found.lfs is not None:
            same = f"sha256:{found.lfs.sha256}" == item.digest
        else:
            same = found.size == item.size and found.blob_id == _git_id(content, item.size)
        if not same and not self._context.force:
            raise UsageError(
                f"{item.name} is in {self._address.repository} already, with other contents",
                hints=("replace it: --force", "or raise the version"),
            )
        return same

    def _card(self, api: Any, commit: str) -> str:  # noqa: ANN401 - huggingface_hub's
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self._address.repository, _CARD, revision=commit, endpoint=api.endpoint)
        client = HTTPClient(self._what, headers=headers_for_hub(self._context.credentials), hints=(SIGN_IN_TO_WRITE,))
        body = client.ask(url, most=_MOST_CARD).body
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise FetchError(f"{self._what}: the {_CARD} that is there is not text") from None

    def _commit(
        self,
        api: Any,  # noqa: ANN401 - huggingface_hub's
        parent: str,
        missing: list[tuple[PlannedItem, Callable[[int, int], Iterator[bytes]]]],
        text: str | None,
        publication: Publication,
        uploading: Uploading,
    ) -> Any:  # noqa: ANN401 - as above
        """Upload and commit. The commit fails if somebody else has committed meanwhile."""
        from huggingface_hub import CommitOperationAdd

        repository, branch, pr = self._address.repository, self._address.ref, self._options.pr
        operations = []
        with _quiet():
            for item, content in missing:
                with uploading.sending(item.name, item.size) as so_far:
                    reader: Any = _Reader(
                        content, item.size, so_far
                    )  # no typing.BinaryIO, which has no base to inherit
                    operation = CommitOperationAdd(path_in_repo=item.name, path_or_fileobj=reader)
                    # One at a time: of equal files in one call, the client reads one file object in two threads.
                    api.preupload_lfs_files(repository, [operation], revision=branch, create_pr=pr)
                operations.append(operation)
            if text is not None:
                operations.append(CommitOperationAdd(path_in_repo=_CARD, path_or_fileobj=text.encode()))
            first = publication.bundles[0]
            return api.create_commit(
                repository,
                operations,
                commit_message=self._options.message or f"{first.name} {first.version}",
                revision=branch,
                create_pr=pr,
                parent_commit=None if pr else parent,
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client from drawing bars, and from telling that it uses LFS and not Xet, whose client reads files only."""
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
        logger.setLevel(level)


def _of_bytes(data: bytes) -> Callable[[int, int], Iterator[bytes]]:
    return lambda start, size: iter([data[start : start + size]])


def _git_id(content: Callable[[int, int], Iterator[bytes]], size: int) -> str:
    state = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for piece in content(0, size):
        state.update(piece)
    return state.hexdigest()
