"""JSON Schemas of checks: read from project files, used to validate answers. Fetches nothing: `$ref` is file-local."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from lftool.api import RecipeError, UnavailableError, decode_utf8

if TYPE_CHECKING:
    from lftool.api import ProjectFiles

_MOST_BYTES = 4 * 1024 * 1024

try:
    import jsonschema
    from jsonschema_specifications import REGISTRY  # this registry fetches nothing
    from referencing.exceptions import Unresolvable
except ImportError:
    raise UnavailableError(
        "checks of kind 'json-schema' need jsonschema", hints=("pip install 'lftool[checks]'",)
    ) from None


def read_schema(name: str, files: ProjectFiles) -> Any:  # noqa: ANN401 - JSON
    """Return a JSON Schema.

    Args:
        name: Path of the file, relative to the recipe.
        files: Opens files of the project.

    Raises:
        StorageError: It cannot be read.
        RecipeError: It is not a JSON Schema.
    """
    try:
        schema = _require_form(json.loads(decode_utf8(files.read(name, "checks", _MOST_BYTES), name, RecipeError)))
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except (ValueError, RecursionError, jsonschema.SchemaError) as error:
        raise RecipeError(f"checks: {name} is not a valid JSON Schema: {error}") from None
    return schema


def _require_form(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the schema if it has the form that the library requires."""
    named = schema.get("$schema", "") if isinstance(schema, dict) else ""
    if isinstance(schema, dict | bool) and isinstance(named, str):
        return schema
    raise ValueError("a schema is an object, true or false, and its $schema a URI")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def difference(text: str, schema: Any, name: str) -> str | None:  # noqa: ANN401 - JSON
    """Return how a text violates a schema; None if it does not.

    Args:
        text: The text to check as JSON (RFC 8259: without NaN and infinities).
        schema: The schema.
        name: Name of the schema's file, for messages.

    Raises:
        RecipeError: The schema refers to something outside itself, or has an invalid regular expression.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        checked = jsonschema.validators.validator_for(schema)(schema, registry=REGISTRY)
        error = jsonschema.exceptions.best_match(checked.iter_errors(value))
    except (ValueError, RecursionError):
        return "the answer is not JSON"
    except Unresolvable as failed:
        raise RecipeError(f"checks: {name} has a reference that does not resolve: {failed}") from None
    except re.error as failed:
        raise RecipeError(f"checks: {name} has a pattern that is not a valid regular expression: {failed}") from None
    return None if error is None else f"{error.json_path}: {error.message}"
