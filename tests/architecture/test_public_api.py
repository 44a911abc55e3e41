"""What the project promises to others is documented, and every error tells itself from the others."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import lftool.api
import lftool.api.gguf
import lftool.api.http
import lftool.bundle
import lftool.models
import lftool.testing
from lftool import errors
from lftool.api import HOOKS
from lftool.api.hookspecs import Hooks
from lftool.errors import ExitStatus, LftoolError


def modules() -> list:
    found = []
    for package in (lftool.api, lftool.models, lftool.bundle):
        names = sorted(item.name for item in pkgutil.iter_modules(package.__path__))
        found += [package, *(importlib.import_module(f"{package.__name__}.{name}") for name in names)]
    return found


def public_things() -> dict[str, object]:
    """Every public function, class and method of the packages, by dotted name."""
    found: dict[str, object] = {}
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or not (inspect.isfunction(value) or inspect.isclass(value)):
                continue
            if value.__module__ != module.__name__:
                continue
            found[f"{module.__name__}.{name}"] = value
            if inspect.isclass(value):
                found |= {
                    f"{module.__name__}.{name}.{method}": thing
                    for method, thing in vars(value).items()
                    if not method.startswith("_") and (inspect.isfunction(thing) or isinstance(thing, property))
                }
    return found


@pytest.mark.parametrize("module", [lftool.api, lftool.api.gguf], ids=lambda module: module.__name__)
def test_names_that_come_late_come_from_where_type_checkers_find_them(module):
    imports = ast.parse(inspect.getsource(module))
    seen = {
        node.module: {name.name for name in node.names}
        for block in imports.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert {place: set(names) for place, names in module._MODULES.items()} == seen
    assert {name for names in seen.values() for name in names} == set(module.__all__) - {"LFTOOL_API_VERSION"}


def test_a_name_that_the_api_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'lftool\.api\.gguf' has no attribute 'nothing'$"):
        _ = lftool.api.gguf.nothing


def error_classes() -> list[type[LftoolError]]:
    return [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LftoolError)]


def test_every_public_thing_has_a_docstring():
    things = public_things()

    assert len(things) > 100
    assert [name for name, thing in things.items() if not inspect.getdoc(thing)] == []


PUBLIC = (lftool.api, lftool.api.gguf, lftool.api.http, lftool.testing)
PROMISE = "A plugin imports `lftool.api`, `lftool.api.gguf`, `lftool.api.http` and, in its tests, `lftool.testing`: nothing else of lftool."


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_everything_exported_exists_once(module):
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(set(module.__all__)) == len(module.__all__)


def test_nothing_is_exported_twice():
    names = [name for module in PUBLIC for name in module.__all__]

    assert len(set(names)) == len(names)


def test_the_promise_is_the_same_wherever_it_stands(repository):
    said = [
        repository / "docs" / "reference" / "plugin-api.md",
        repository / "docs" / "examples" / "lftool-example" / "README.md",
    ]

    assert [path.name for path in said if PROMISE not in path.read_text()] == []
    assert PROMISE in str(lftool.api.__doc__)


def test_there_is_a_hook_for_every_specification():
    assert [name for name in vars(Hooks) if name.startswith("lftool_")] == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_an_example_that_yields_its_record(hook):
    text = inspect.getdoc(getattr(Hooks, hook))
    examples = doctest.DocTestParser().get_examples(text)
    names: dict[str, object] = {}

    for example in examples:
        exec(example.source, names)

    assert [type(record) for record in names[hook]()] == [HOOKS[hook]]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_and_its_record_are_in_the_reference(repository, hook):
    text = (repository / "docs" / "reference" / "plugin-api.md").read_text()

    assert f"`{hook}`" in text
    assert f"`{HOOKS[hook].__name__}`" in text


@pytest.mark.parametrize("status", ExitStatus, ids=lambda status: status.name)
def test_an_exit_status_is_in_the_reference_with_number_and_name(repository, status):
    text = (repository / "docs" / "reference" / "exit-codes.md").read_text()

    assert re.search(rf"^\| `{int(status)}` \| {status.name} \|", text, re.MULTILINE)


def test_every_error_has_a_code_of_its_own():
    codes = {cls.__name__: cls.code for cls in error_classes()}

    assert len(set(codes.values())) == len(codes), codes


def test_every_error_has_an_exit_status_that_is_not_success():
    assert {cls.exit_status for cls in error_classes()} == set(ExitStatus) - {ExitStatus.OK, ExitStatus.INTERRUPTED}


def test_exit_statuses_are_the_ones_of_the_design():
    assert {status.name: int(status) for status in ExitStatus} == {
        "OK": 0,
        "IO": 1,
        "USAGE": 2,
        "LOCK": 3,
        "INTEGRITY": 4,
        "TRUST": 5,
        "POLICY": 6,
        "NOT_REPRODUCIBLE": 7,
        "UNAVAILABLE": 8,
        "INTERRUPTED": 130,
    }
