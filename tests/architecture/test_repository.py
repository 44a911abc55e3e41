"""What is committed names no machine, no index and no secret, and pins what it installs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

# Folders of one person's or one machine's; the checkout itself is looked for as well.
MACHINE_PATH = re.compile(r"(?<![\w.~$}-])/(?:home|root|Users|work|opt|mnt)/\w")
INDEX_HOST = re.compile(
    r"pypi\.org|pythonhosted\.org|\bindex[-_]url\b.*//(?!.*\.example)|--find[-]links|\banaconda\.org", re.IGNORECASE
)
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\n[A-Za-z0-9+/]")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")


@pytest.fixture(scope="module")
def tracked(request) -> dict[str, str]:
    """Every committed text file that still exists, by path."""
    repository: Path = request.getfixturevalue("repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=True).stdout
    found = {}
    for name in listed.decode().split("\0"):
        path = repository / name
        if name and path.is_file():
            try:
                found[name] = path.read_text()
            except UnicodeDecodeError:
                continue
    return found


def lines_with(tracked: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in tracked.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_folder_of_a_machine(tracked):
    assert lines_with(tracked, MACHINE_PATH) == []


def test_no_file_names_the_checkout(tracked, repository):
    assert lines_with(tracked, re.compile(rf"{re.escape(str(repository))}\b")) == []


def test_no_file_names_a_package_index(tracked):
    assert lines_with(tracked, INDEX_HOST) == []


def test_no_file_holds_a_private_key(tracked):
    assert [name for name, text in tracked.items() if PRIVATE_KEY.search(text)] == []


def test_nothing_is_left_unfinished(tracked):
    assert lines_with(tracked, UNFINISHED) == []


def requirement_files() -> list[Path]:
    return sorted((Path(__file__).resolve().parents[2] / "requirements").glob("*.lock"))


def test_there_are_requirement_files():
    assert [path.name for path in requirement_files()] == [
        "convert.lock",
        "demo.lock",
        "dev.lock",
        "docs.lock",
        "llama-cpp.lock",
        "models.lock",
        "mutation.lock",
        "oracles.lock",
        "swift.lock",
    ]


@pytest.mark.parametrize("path", requirement_files(), ids=lambda path: path.name)
def test_requirements_name_no_url(path):
    assert re.findall(r"https?:|://|^-(?!-hash)|^--(?!hash)", path.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("path", requirement_files(), ids=lambda path: path.name)
def test_every_package_is_exact_and_pinned_by_hash(path):
    text = re.sub(r"#.*", "", path.read_text())
    entries = [entry.strip() for entry in text.replace("\\\n", " ").splitlines() if entry.strip()]
    pinned = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+(?:\s*;[^-]+)?(?:\s+--hash=sha256:[0-9a-f]{64})+\Z")

    assert entries
    assert [entry for entry in entries if not pinned.match(entry)] == []


def test_every_package_says_that_it_is_typed(repository):
    packages = [repository / "toolchain" / "lftool", *repository.glob("plugins/*/src/*")]
    found = [path for path in packages if (path / "__init__.py").exists()]
    assert len(found) == 10
    assert [path.name for path in found if not (path / "py.typed").exists()] == []
