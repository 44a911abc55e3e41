from __future__ import annotations

import hashlib

import pytest

from lftool.errors import ExitStatus, IntegrityError
from lftool.models.digest import Artifact, Digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_digest_of_bytes_is_their_sha256():
    assert (Digest.of(b"").hex, str(Digest.of(b"abc"))) == (EMPTY, hashlib.sha256(b"abc").hexdigest())


def test_a_digest_of_a_view_is_that_of_its_bytes():
    assert Digest.of(memoryview(b"abc")[1:]) == Digest.of(b"bc")


@pytest.mark.parametrize(
    "text",
    ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, f"{'a' * 64}\n", f"sha256:{'a' * 64}", "٣" * 64],
    ids=["empty", "short", "long", "upper case", "not hex", "newline", "prefix", "other digits"],
)
def test_only_64_lower_case_hex_digits_are_a_digest(text: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        Digest(text)
    assert str(caught.value) == f"a sha256 is 64 lower-case hex digits, not {text!r}"


def test_digests_sort_and_hash_by_value():
    first, second = Digest("0" * 64), Digest("f" * 64)
    assert sorted({second, first, Digest("0" * 64)}) == [first, second]


def test_an_artifact_is_named_by_content_and_size():
    assert Artifact.of(b"abc") == Artifact(Digest.of(b"abc"), 3)


def test_an_artifact_that_is_what_it_should_be_passes():
    Artifact.of(b"abc").require(Artifact.of(b"abc"), "weights")


@pytest.mark.parametrize(
    "got", [Artifact.of(b"abd"), Artifact(Digest.of(b"abc"), 4)], ids=["other content", "other size"]
)
def test_another_artifact_is_an_integrity_error_that_names_both(got: Artifact):
    expected = Artifact.of(b"abc")
    with pytest.raises(IntegrityError) as caught:
        expected.require(got, "weights")
    assert caught.value.message == (
        f"weights: expected sha256 {expected.sha256} (3 bytes), got {got.sha256} ({got.size} bytes)"
    )
    assert caught.value.exit_status is ExitStatus.INTEGRITY
