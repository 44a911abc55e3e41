"""What the core says of our own plugins, and they of one another, is true."""

from __future__ import annotations

import re
import tomllib

import pytest
from tests.architecture.test_layers import imports

from lftool.api import BackendType, RuntimeType, SourceType
from lftool.host.published import BACKENDS, ENGINES, SCHEMES
from lftool.host.registry import Registry
from lftool.ops.run.backends import known_backends
from lftool_llamacpp.flavours import REQUESTS

PLUGINS = ("cuda", "hf", "llamacpp", "metal", "oci", "rocm", "s3", "strict", "xllamacpp")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discovered()


def project_of(repository, name: str) -> dict:
    return tomllib.loads((repository / "plugins" / f"lftool-{name}" / "pyproject.toml").read_text())["project"]


def test_the_backends_that_can_be_installed_are_those_of_the_plugins(registry):
    found = {name: registry.backend(name).origin.distribution for name in known_backends(registry)}
    assert found == BACKENDS


def test_the_engines_that_can_be_installed_are_those_of_the_plugins(repository, registry):
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for item in registry.all(BackendType):
        (first, *_) = extras[ENGINES[item.record.engine] if item.record.name == "cpu" else item.record.name]
        assert re.match(r"[\w-]+", first)[0] == item.origin.distribution
    assert {item.record.engine for item in registry.all(BackendType)} == set(ENGINES)


def test_the_schemes_that_can_be_installed_are_those_of_the_plugins(registry):
    found = {
        scheme: item.origin.distribution
        for item in registry.all(SourceType)
        for scheme in item.record.schemes
        if not item.origin.is_builtin
    }
    found.pop("pypi")  # for archives of tools, not for recipes
    assert found == SCHEMES


def test_every_backend_is_an_extra_of_its_name(repository):
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {
        name: plugin for name, plugin in BACKENDS.items() if any(item.startswith(plugin) for item in extras[name])
    } == BACKENDS


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_takes_from_another_asks_for_that_very_version(repository, name):
    """What they share is no public API: another version may not have it."""
    folder = repository / "plugins" / f"lftool-{name}" / "src"
    taken = {module.partition(".")[0] for path in folder.rglob("*.py") for module, _ in imports(path, repository)}
    others = sorted(taken - {"lftool", f"lftool_{name}"})
    needed = [re.sub(r"\[.*?\]", "", needed) for needed in project_of(repository, name)["dependencies"]]
    for other in others:
        plugin = other.removeprefix("lftool_")
        assert f"lftool-{plugin}=={project_of(repository, plugin)['version']}" in needed


def test_memory_is_reckoned_with_the_requests_that_the_native_runtime_answers_at_once(repository, registry):
    source = (
        repository / "plugins" / "lftool-llamacpp" / "src" / "lftool_llamacpp" / "native" / "serve.cpp"
    ).read_text()
    assert re.findall(r"const int REQUESTS = (\d+);", source) == [str(REQUESTS)]
    natives = [item.record for item in registry.all(RuntimeType) if item.record.compiled]
    assert {record.title: record.requests for record in natives} == {
        "native-cpu": 4,
        "native-cuda": 4,
        "native-rocm": 4,
        "native-ui-cpu": 4,
    }
