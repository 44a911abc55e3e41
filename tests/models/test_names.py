from __future__ import annotations

import pytest

from lftool.models.names import check_member_path, check_name

DEVICES = ["con", "CON", "Prn", "aux", "NUL", "com1", "COM9", "lpt0", "LPT1", "con.txt", "nul.tar.gz", "Aux.1"]
A_NAME = "letters, digits and . _ + -, at most 64, starting with a letter or digit"
A_PART = "each part is letters, digits and . _ + = -, not starting or ending with a dot"


@pytest.mark.parametrize(
    "name", ["a", "7", "tiny-story", "1.0.0", "v1.2+cpu", "A_b", "console", "com", "com10", "x" * 64]
)
def test_a_plain_name_is_accepted(name: str):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", ".hidden", "-x", "_x", "+x", "..", "a/b", "a\\b", "a:b", "a\x00", "a\n", "é", "\u0661", "x" * 65],
)
def test_another_name_is_refused(name: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        check_name(name)
    assert str(caught.value) == f"{name!r} is not a name: {A_NAME}"


@pytest.mark.parametrize("name", DEVICES)
def test_a_windows_device_is_no_name(name: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        check_name(name)
    assert str(caught.value) == f"{name!r} is a device name on Windows"


@pytest.mark.parametrize(
    "path",
    [
        "model.gguf",
        "lftool/bundle.json",
        "a/b/c/d",
        "_x",
        "-x",
        "+x",
        "a=b",
        "com/con1",
        "x" * 128,
        "/".join(["abc"] * 128),
    ],
)
def test_a_portable_path_is_accepted(path: str):
    assert check_member_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/etc/passwd", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".hidden", "a/.b", "a.", "a./b", "a..",
        "a\\b", "C:/a", "a b", "a\x00b", "a\n", "é", "a*", "x" * 129,
    ],
)  # fmt: skip
def test_a_path_that_is_not_portable_is_refused(path: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        check_member_path(path)
    assert str(caught.value) == f"{path!r} is not a portable path: {A_PART}"


@pytest.mark.parametrize("device", DEVICES)
def test_a_windows_device_is_no_part_of_a_path(device: str):
    path = f"licenses/{device}/x"
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        check_member_path(path)
    assert str(caught.value) == f"{path!r} has a part that is a device name on Windows"


def test_a_path_longer_than_512_characters_is_refused_and_not_printed_whole():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        check_member_path("a/" * 256 + "b")
    assert str(caught.value) == f"path longer than 512 characters: {'a/' * 20!r}…"
