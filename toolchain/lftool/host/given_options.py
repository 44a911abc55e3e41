"""Structure the options that a recipe or the user's configuration gives to a plugin's record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool.codec.toml_in import structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.api import ConfigurableRecord
    from lftool.errors import LftoolError


def given_options(
    record: ConfigurableRecord, options: Mapping[str, Any], kind: str, where: str, error: type[LftoolError]
) -> Any:  # noqa: ANN401 - of the plugin's class
    """Return options as an instance of the record's options class; None for a record without one.

    Args:
        record: The record.
        options: The options as written.
        kind: The record's kind in messages, such as `source`.
        where: Where the options are written, such as `lftool.toml: $.sources.base.options`.
        error: What to raise.

    Raises:
        LftoolError: Of class `error`; the record has no such option, or a value has the wrong type.
    """
    cls = record.options_class
    file, _, path = where.partition(": ")
    if cls is not None:
        return structure(dict(options), cls, file, error, path=path or "$")
    if options:
        raise error(f"{where}: the {kind} {record.name!r} has no options")
    return None


def factory_arguments(
    record: ConfigurableRecord, options: Mapping[str, Any], kind: str, where: str, error: type[LftoolError]
) -> tuple[Any, ...]:
    """Return the arguments for a factory that takes only options. May raise as `given_options` does."""
    made = given_options(record, options, kind, where, error)
    return () if record.options is None else (made,)
