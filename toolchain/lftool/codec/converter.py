"""The strict cattrs converter: no coercion, no unknown keys, kebab-case renames from the models' metadata.

By default cattrs turns 5 into "5" and "7" into 7, and cannot omit a default. Both would let a typo pass.
"""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs
from cattrs import Converter  # noqa: TID253 - this module is only imported where it is used
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override  # noqa: TID253 - as above

from lftool.codec.options import canonical_options, kind_of
from lftool.models.digest import Digest
from lftool.models.reals import canonical_real

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_KINDS = {str: "a string", int: "an integer", bool: "true or false", dt.date: "a date"}


def _strict(kind: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _type: Any) -> Any:  # noqa: ANN401 - cattrs' signature
        if type(value) is not kind:
            raise ValueError(f"expected {_KINDS[kind]}, got {kind_of(value)}")
        return value

    return structure


def _real(value: Any, _type: Any) -> str:  # noqa: ANN401 - cattrs' signature
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number, got {kind_of(value)}")  # noqa: TRY004 - one error kind for callers
    return canonical_real(value)


def _digest(value: Any, _type: Any) -> Digest:  # noqa: ANN401 - cattrs' signature
    if not isinstance(value, str):
        raise ValueError(f"expected a sha256, got {kind_of(value)}")  # noqa: TRY004 - one error kind for callers
    return Digest(value)


def _options(value: Any, _type: Any) -> dict[str, Any]:  # noqa: ANN401 - cattrs' signature
    if not isinstance(value, dict):
        raise ValueError(f"expected a table, got {kind_of(value)}")  # noqa: TRY004 - one error kind for callers
    canonical_options(value)
    return value


def _inner_hook(attribute: attrs.Attribute[Any], converter: Converter) -> Callable[[Any, Any], Any]:
    if attribute.metadata.get("real"):
        return _real
    if attribute.metadata.get("options"):
        return _options
    return converter.get_structure_hook(attribute.type)


def _field_hook(attribute: attrs.Attribute[Any], converter: Converter) -> Callable[[Any, Any], Any]:
    """Structure one field and run its validator in the hook, so that the error names the field, not the table."""
    inner = _inner_hook(attribute, converter)

    def structure(value: Any, type_: Any) -> Any:  # noqa: ANN401 - cattrs' signature
        made = inner(value, type_)
        if attribute.validator is not None:
            attribute.validator(None, attribute, made)
        return made

    return structure


def _overrides(cls: type, converter: Converter | None = None) -> dict[str, Any]:
    attrs.resolve_types(cls)
    return {
        attribute.name: override(
            rename=attribute.metadata.get("key"),
            omit_if_default=not attribute.metadata.get("always"),
            struct_hook=_field_hook(attribute, converter) if converter else None,
            unstruct_hook=canonical_options if attribute.metadata.get("options") else None,
        )
        for attribute in attrs.fields(cls)
    }


def _structure_class(cls: type, converter: Converter) -> Callable[[Any, Any], Any]:
    structure: Callable[[Any, Any], Any] = make_dict_structure_fn(cls, converter, **_overrides(cls, converter))
    constants = {
        attribute.metadata.get("key", attribute.name): attribute.metadata["const"]
        for attribute in attrs.fields(cls)
        if "const" in attribute.metadata
    }

    rest = next((attribute.name for attribute in attrs.fields(cls) if attribute.metadata.get("rest")), None)
    known = {attribute.name for attribute in attrs.fields(cls)} - {rest}  # such a class renames none

    def strict(value: Any, type_: Any) -> Any:  # noqa: ANN401 - cattrs' signature
        if not isinstance(value, Mapping):
            raise ValueError(f"expected a table, got {kind_of(value)}")  # noqa: TRY004 - one error kind for callers
        if rest is not None:
            others = {key: item for key, item in value.items() if key not in known}
            value = {**{key: value[key] for key in known & value.keys()}, **({rest: others} if others else {})}
        for key, constant in constants.items():
            if key not in value:
                raise KeyError(key)
            if value[key] != constant or type(value[key]) is not type(constant):
                raise ValueError(f"{key} must be {constant!r}, not {value[key]!r}")
        return structure(value, type_)

    return strict


def _structure_tuple(type_: Any, converter: Converter) -> Callable[[Any, Any], Any]:  # noqa: ANN401 - cattrs' signature
    inner_type = types.GenericAlias(list, type_.__args__[0])
    inner = converter.get_structure_hook(inner_type)

    def structure(value: Any, _type: Any) -> Any:  # noqa: ANN401 - cattrs' signature
        if not isinstance(value, list | tuple):
            raise ValueError(f"expected an array, got {kind_of(value)}")  # noqa: TRY004 - one error kind for callers
        return tuple(inner(value, inner_type))

    return structure


def _structure_literal(type_: Any, _converter: Converter) -> Callable[[Any, Any], Any]:  # noqa: ANN401 - cattrs' signature
    def structure(value: Any, _type: Any) -> Any:  # noqa: ANN401 - cattrs' signature
        if type(value) is not str or value not in type_.__args__:
            raise ValueError(f"expected one of {', '.join(type_.__args__)}, got {value!r}")
        return value

    return structure


def _structure_mapping(type_: Any, converter: Converter) -> Callable[[Any, Any], Any]:  # noqa: ANN401 - cattrs' signature
    inner_type = types.GenericAlias(dict, type_.__args__)
    inner = converter.get_structure_hook(inner_type)

    def structure(value: Any, _type: Any) -> Any:  # noqa: ANN401 - cattrs' signature
        if not isinstance(value, dict):
            raise ValueError(f"expected a table, got {kind_of(value)}")  # noqa: TRY004 - one error kind for callers
        return inner(value, inner_type)

    return structure


@lru_cache(maxsize=1)
def converter() -> Converter:
    """Return the converter for all models."""
    made = Converter(detailed_validation=True, forbid_extra_keys=True, omit_if_default=True)
    for kind in _KINDS:
        made.register_structure_hook(kind, _strict(kind))
    made.register_structure_hook(float, lambda value, kind: float(_real(value, kind)))
    made.register_structure_hook(Digest, _digest)
    made.register_unstructure_hook(Digest, str)
    made.register_unstructure_hook(dt.date, lambda value: value)
    made.register_structure_hook_factory(lambda t: attrs.has(t) and t is not Digest, _structure_class)
    made.register_structure_hook_factory(
        lambda t: getattr(t, "__origin__", None) is tuple and t.__args__[-1] is Ellipsis, _structure_tuple
    )
    made.register_structure_hook_factory(lambda t: getattr(t, "__origin__", None) is Mapping, _structure_mapping)
    made.register_structure_hook_factory(lambda t: getattr(t, "__origin__", None) is Literal, _structure_literal)
    made.register_unstructure_hook_factory(
        lambda t: attrs.has(t) and t is not Digest, lambda cls: make_dict_unstructure_fn(cls, made, **_overrides(cls))
    )
    return made


def to_plain(value: object) -> Any:  # noqa: ANN401 - plain data is dynamic
    """Return `value` as dicts, lists, strings and integers, without defaults."""
    return converter().unstructure(value)
