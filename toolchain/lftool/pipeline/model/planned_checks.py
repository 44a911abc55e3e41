"""The checks of a recipe, each with the plugin's record for its kind and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import Check, CheckType
from lftool.errors import RecipeError, StorageError
from lftool.host.given_options import factory_arguments
from lftool.host.guarding import guarded
from lftool.host.registry import Registered, Registry
from lftool.models.checks import CheckSpec

if TYPE_CHECKING:
    from lftool.api import ProjectFiles
    from lftool.models.recipe import Recipe


@frozen(kw_only=True)
class PlannedCheck:
    """A check of a recipe.

    Attributes:
        number: The check's number in the recipe, from 1.
        arguments: Arguments for the record's factory: the check's options, or none.
    """

    number: int
    spec: CheckSpec
    registered: Registered[CheckType]
    arguments: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Its name in reports."""
        return self.spec.name or f"{self.spec.kind}-{self.number}"

    @property
    def files(self) -> dict[str, str]:
        """Option to path, for options that name a file of the project."""
        if not self.arguments:
            return {}
        options = self.arguments[0]
        fields = [item for item in attrs.fields(type(options)) if item.metadata.get("file")]
        return {item.name: value for item in fields if (value := getattr(options, item.name)) is not None}

    def make(self) -> Check:
        """Return the check. May raise PluginError."""
        with guarded(self.registered.origin):
            return self.registered.record.factory(*self.arguments)


def planned_check(number: int, spec: CheckSpec, registry: Registry) -> PlannedCheck:
    """Return the plan of one check.

    Raises:
        RecipeError: No plugin has its kind, or the kind has no such option.
    """
    where = f"lftool.toml: $.checks[{number - 1}]"
    registered = registry.get(CheckType, spec.kind)
    arguments = factory_arguments(registered.record, spec.options, "kind of check", where, RecipeError)
    return PlannedCheck(number=number, spec=spec, registered=registered, arguments=arguments)


def planned_checks(recipe: Recipe, registry: Registry) -> tuple[PlannedCheck, ...]:
    """Return the plans of a recipe's checks. May raise as `planned_check` does."""
    return tuple(planned_check(number, spec, registry) for number, spec in enumerate(recipe.checks, 1))


def check_builtin_kinds(recipe: Recipe) -> None:
    """Raise RecipeError if a check of a built-in kind is invalid. Loads no installed plugin and ignores other kinds."""
    if not recipe.checks:
        return
    registry = Registry.discovered(third_party=False)
    known = {item.record.name for item in registry.all(CheckType)}
    for number, spec in enumerate(recipe.checks, 1):
        if spec.kind in known:
            planned_check(number, spec, registry)


def require_files(recipe: Recipe, registry: Registry, files: ProjectFiles) -> None:
    """Raise RecipeError unless all checks can be planned and the files that they name exist.

    The files are not read until everything is built.
    """
    for check in planned_checks(recipe, registry):
        for key, name in check.files.items():
            try:
                files.open_file(name, f"lftool.toml: $.checks[{check.number - 1}].{key}").close()
            except StorageError as error:
                raise RecipeError(error.message) from None
