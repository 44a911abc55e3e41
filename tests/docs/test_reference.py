"""The reference names every key, its examples parse, and no link is broken."""

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import lftool.api
import lftool.api.gguf
import lftool.api.http
import lftool.builtin
import lftool.testing
from lftool.api import HOOKS
from lftool.api.gguf import FILE_TYPES
from lftool.codec.configurations import parse_configuration
from lftool.codec.credential_files import parse_credentials
from lftool.codec.locks import parse_lock
from lftool.codec.policies import parse_policy
from lftool.codec.problems import keys_of
from lftool.codec.recipes import parse_recipe
from lftool.errors import ExitStatus
from lftool.models import configuration, lock, manifest, policy, recipe
from lftool.models.credentials_file import HostCredential
from lftool_llamacpp.quantizer import Options

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"
PARSERS = {
    "# lftool.toml": parse_recipe,
    "# lftool.lock": parse_lock,
    "# trust.toml": parse_policy,
    "# config.toml": parse_configuration,
    "# credentials.toml": parse_credentials,
}

_TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^(```|~~~).*?^\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FIRST_CELL = re.compile(r"^\| `([^`]+)`", re.MULTILINE)


def pages() -> list[Path]:
    return sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


def examples() -> Iterator[tuple[str, str, str]]:
    for page in sorted(REFERENCE.glob("*.md")):
        for number, body in enumerate(_TOML.findall(page.read_text()), 1):
            yield page.name, f"{page.name}-{number}", body


def classes_of(module: object) -> list[type]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and attrs.has(value) and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize(("page", "body"), [pytest.param(page, body, id=name) for page, name, body in examples()])
def test_example_parses(page, body):
    head = body.splitlines()[0].strip()
    parser = next((parser for start, parser in PARSERS.items() if head.startswith(start)), None)
    assert parser is not None or not head.startswith("# lftool"), head
    if parser is not None:
        parser(body.encode(), page)


def test_examples_of_every_kind_exist():
    heads = [body.splitlines()[0] for _, _, body in examples()]
    for start in PARSERS:
        assert any(head.startswith(start) for head in heads), start


@pytest.mark.parametrize(
    ("page", "module"),
    [("recipe.md", recipe), ("lock.md", lock), ("bundle-format.md", manifest), ("trust-policy.md", policy)],
)
def test_every_key_has_a_row(page, module):
    named = set(_FIRST_CELL.findall((REFERENCE / page).read_text()))
    for cls in classes_of(module):
        missing = set(keys_of(cls)) - named
        assert not missing, f"{page} has no row for {sorted(missing)} of {cls.__name__}"


def test_every_exit_status_has_a_row():
    named = set(_FIRST_CELL.findall((REFERENCE / "exit-codes.md").read_text()))
    assert {str(int(status)) for status in ExitStatus} == named


def test_every_hook_and_record_is_named():
    text = (REFERENCE / "plugin-api.md").read_text()
    for hook, record in HOOKS.items():
        assert f"`{hook}`" in text
        assert f"`{record.__name__}`" in text


def test_every_public_name_is_documented():
    text = (REFERENCE / "plugin-api.md").read_text()
    public = (lftool.api, lftool.api.gguf, lftool.api.http, lftool.testing)
    names = [name for module in public for name in module.__all__]
    missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
    assert not missing


def test_every_option_and_file_type_of_the_quantizer_is_documented():
    text = (REFERENCE / "recipe.md").read_text()
    assert set(keys_of(Options)) <= set(_FIRST_CELL.findall(text))
    listed = text.partition("Their file types:")[2].partition(". ")[0].replace("\n", " ")
    assert sorted(FILE_TYPES) == sorted(name.strip() for name in listed.split(","))


_CHECK_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| (?P<kinds>[a-z, -]+) \|", re.MULTILINE)


def test_every_key_of_a_check_stands_beside_its_kinds():
    text = (REFERENCE / "recipe.md").read_text().partition("What must hold for the bundles.")[2]
    documented: dict[str, set[str]] = {}
    for key, kinds in _CHECK_ROW.findall(text.partition("\n## ")[0]):
        for kind in kinds.split(", "):
            documented.setdefault(kind, set()).add(key)
    del documented["all"]
    made = {record.name: set(keys_of(record.options.resolve())) for record in lftool.builtin.lftool_checks()}
    assert documented == made


def test_every_variable_is_documented():
    named = set(_FIRST_CELL.findall((REFERENCE / "environment.md").read_text()))
    code = "".join(path.read_text() for path in (ROOT / "toolchain").rglob("*") if path.suffix in {".py", ".sh"})
    used = set(re.findall(r"\b(?:LFTOOL|XDG)_[A-Z_]+\b", code))
    assert used - named == {"LFTOOL_API", "LFTOOL_API_VERSION", "LFTOOL_SIGNING_KEY"}


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        if target.startswith(("http://", "https://", "mailto:", "#")):
            continue
        path = (page.parent / target.partition("#")[0]).resolve()
        assert path.exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_configuration_page_names_every_key_and_its_default():
    page = (REFERENCE / "configuration.md").read_text()
    cells = {
        line.split("|")[1].strip(" `"): line.split("|")[3].strip(" `")
        for line in page.splitlines()
        if line[:3] == "| `"
    }
    expected = {"roots.NAME": "none"}
    for table in attrs.fields(configuration.Configuration):
        if attrs.has(attrs.resolve_types(configuration.Configuration) and table.type):
            name = table.metadata.get("key", table.name)
            for item in attrs.fields(table.type):
                default = {None: "none", True: "true", False: "false"}.get(item.default, str(item.default))
                expected[f"{name}.{item.metadata.get('key', item.name)}"] = default
    assert {key: cells.get(key) for key in expected} == expected
    assert {f"`{item.metadata.get('key', item.name)}`" for item in attrs.fields(HostCredential)} <= set(
        re.findall(r"`[a-z-]+`", page)
    )
