"""What git tracks: no build product, no binary but those that are listed."""

from __future__ import annotations

import subprocess

import pytest

# Binary, and why it is here.
BINARIES = {
    "docs/chat.png": "a picture that `make pictures` takes of the chat page",
    "examples/tiny-story/tiny-story-f16.gguf": "the example's model, trained by us",
    "examples/tiny-story/tiny-story": "the same as its training wrote it",
}
MOST_BYTES = 6_000_000


@pytest.fixture(scope="module")
def tracked(repository):
    done = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return [name for name in done.stdout.decode().split("\0") if name and (repository / name).is_file()]


def is_binary(data: bytes) -> bool:
    if b"\0" in data:
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def test_binaries_are_those_of_the_list(repository, tracked):
    found = {name for name in tracked if is_binary((repository / name).read_bytes())}
    listed = {name for name in found if not any(name == item or name.startswith(f"{item}/") for item in BINARIES)}
    assert sorted(listed) == []
    assert (
        sorted(name for name in BINARIES if not any(path == name or path.startswith(f"{name}/") for path in found))
        == []
    )


def test_nothing_is_large(repository, tracked):
    assert [name for name in tracked if (repository / name).stat().st_size > MOST_BYTES] == []
