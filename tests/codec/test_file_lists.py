from __future__ import annotations

import attrs
import pytest

from lftool.codec.file_lists import attach, content_digest, detach
from lftool.codec.locks import emit_lock, parse_lock
from lftool.errors import LockError
from lftool.models.digest import Digest
from lftool.models.lock import Lock, LockedFile, LockedFileList, LockedRecipe, LockedSource

HINTS = ("restore it from version control: it belongs to the lock",)


def path_of(data: bytes) -> str:
    """Where the list with this content stands."""
    return f"lftool.lock.d/base-{Digest.of(data).hex[:16]}.toml"


def lock_of(source: LockedSource) -> Lock:
    return Lock(recipe=LockedRecipe(sha256=Digest.of(b"")), sources={"base": source}, targets={})


def lock_with(count: int) -> Lock:
    files = tuple(LockedFile(path=f"{n:05}", size=n, sha256=Digest.of(b"%d" % n)) for n in range(count))
    return lock_of(LockedSource(uri="x", revision="r", files=files))


def refusal(data: bytes, *, pinned: bytes | None = None, path: str | None = None) -> LockError:
    pinned = data if pinned is None else pinned
    path = path or path_of(pinned)
    listed = LockedFileList(path=path, sha256=Digest.of(pinned))
    lock = lock_of(LockedSource(uri="x", revision="r", file_list=listed))
    with pytest.raises(LockError) as caught:
        attach(lock, {path: data}.__getitem__)
    return caught.value


def test_files_without_a_revision_are_named_by_paths_and_contents():
    files = [LockedFile(path=path, size=size, sha256=Digest.of(b"")) for path, size in (("b", 2), ("a", 1))]
    empty = Digest.of(b"").hex
    text = f'{{"a":{{"sha256":"{empty}","size":1}},"b":{{"sha256":"{empty}","size":2}}}}'
    assert content_digest(files) == Digest.of(text.encode())


def test_a_thousand_files_stay_in_the_lock():
    lock = lock_with(1000)
    assert detach(lock) == (lock, {})


def test_more_than_a_thousand_files_go_into_a_list_that_the_lock_pins():
    lock = lock_with(1001)
    main, lists = detach(lock)
    path, data = next(iter(lists.items()))
    assert (len(lists), path) == (1, path_of(data))
    assert main.sources["base"].file_list == LockedFileList(path=path, sha256=Digest.of(data))
    assert attach(parse_lock(emit_lock(main), "lftool.lock"), lists.__getitem__) == lock


def test_every_list_is_read_whichever_source_has_one():
    short = LockedSource(uri="x", revision="r", files=(LockedFile(path="a", size=1, sha256=Digest.of(b"")),))
    lock = attrs.evolve(lock_with(1001), sources={"a": short, **lock_with(1001).sources, "z": short})
    main, lists = detach(lock)
    assert main.sources["base"].files == ()
    assert attach(main, lists.__getitem__) == lock


def test_a_list_that_changed_since_it_was_locked_is_refused():
    error = refusal(b"changed", pinned=b"pinned")
    assert (error.message, error.hints) == (
        f"{path_of(b'pinned')}: the lock pins sha256 {Digest.of(b'pinned')}, the file has {Digest.of(b'changed')}",
        HINTS,
    )


def test_a_list_at_another_place_is_refused():
    error = refusal(b"", path="elsewhere.toml")
    assert error.message == f"sources.base.file-list.path: 'elsewhere.toml', it must be '{path_of(b'')}'"


ENTRY = '[[files]]\npath = "{}"\nsha256 = "' + "1" * 64 + '"\nsize = 1\n'
BAD_LISTS = {
    "not TOML": (b"files = \n", "not valid TOML: Invalid value (at line 1, column 9)"),
    "no files": (b"", "$.files: missing"),
    "an empty list": (b"files = []\n", "$: a file list has at least one file"),
    "an unknown key": (
        ENTRY.format("a").encode() + b"x = 1\n",
        "$.files[0].x: unknown key; valid: path, revision, sha256, size",
    ),
    "files out of order": (
        (ENTRY.format("b") + ENTRY.format("a")).encode(),
        "$: files must be sorted by path, without a duplicate",
    ),
    "a file that stands twice": (
        (ENTRY.format("a") + ENTRY.format("a")).encode(),
        "$: files must be sorted by path, without a duplicate",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_bad_list_is_refused(data: bytes, message: str):
    error = refusal(data)
    assert (error.message, error.hints) == (f"{path_of(data)}: {message}", HINTS)
