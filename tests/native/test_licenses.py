"""What `--licenses` prints is put together from the sources that are compiled in."""

from __future__ import annotations

import pytest

from lftool_llamacpp.licenses import licenses


def write(path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / "LICENSE", "of llama.cpp")
    write(tmp_path / "licenses" / "LICENSE-json", "of json")
    write(tmp_path / "vendor" / "httplib" / "LICENSE", "of httplib")
    return tmp_path


def headings(text: str) -> list[str]:
    return [line.removeprefix("== ") for line in text.splitlines() if line.startswith("== ")]


def test_every_library_of_the_sources_is_named_with_its_licence(tree):
    text = licenses(tree)
    assert headings(text) == ["LICENSE", "licenses/LICENSE-json", "vendor/httplib/LICENSE"]
    assert "== vendor/httplib/LICENSE\n\nof httplib" in text
    assert "web page" not in text


def test_packages_of_the_web_page_are_named_and_share_a_text_that_is_the_same(tree):
    modules = tree / "tools" / "ui" / "node_modules"
    write(modules / "svelte" / "LICENSE.md", "MIT")
    write(modules / "@lucide" / "svelte" / "LICENSE", "ISC")
    write(modules / "katex" / "LICENSE", "MIT")
    write(modules / "katex" / "node_modules" / "commander" / "Licence", "MIT too")
    write(modules / "katex" / "src" / "license.js", "no licence")
    write(modules / "katex" / "license" / "index", "no licence")

    text = licenses(tree).partition("The web page was made with")[2]

    assert headings(text) == [
        "node_modules/@lucide/svelte/LICENSE",
        "node_modules/katex/LICENSE",
        "node_modules/svelte/LICENSE.md",
        "node_modules/katex/node_modules/commander/Licence",
    ]
    assert "== node_modules/katex/LICENSE\n== node_modules/svelte/LICENSE.md\n\nMIT" in text
