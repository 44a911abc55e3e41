"""JSON Schemas as GBNF, llama.cpp's own grammars.

xllamacpp has llguidance compile schemas. That does not hold an answer of SentencePiece vocabularies that put a space in front
of a text (findings/xllamacpp-schema-with-space-prefix.sh), and lets a model put white space between two words without end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

_BASE = {
    "ws": r'| " " | "\n" [ \t]{0,20}',
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt/] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "integer": r'"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": r'integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": r'"true" | "false"',
    "null": r'"null"',
    "array": r'"[" ws (value ws ("," ws value ws)*)? "]"',
    "object": r'"{" ws (string ws ":" ws value ws ("," ws string ws ":" ws value ws)*)? "}"',
    "value": "object | array | string | number | boolean | null",
}
_QUOTE = r'"\""'
_NEEDS = {
    "string": ("char",),
    "number": ("integer",),
    "array": ("ws", "value"),
    "object": ("ws", "string", "value"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
}
_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
# Keywords that narrow what is allowed in ways that no rule here expresses.
_BEYOND = (
    *("pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "not", "if", "contains"),
    *("patternProperties", "propertyNames", "minProperties", "maxProperties", "uniqueItems", "dependentSchemas"),
    *("dependentRequired", "unevaluatedProperties", "unevaluatedItems", "prefixItems"),
)


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _value(value: Any) -> str:  # noqa: ANN401 - JSON
    return _literal(json.dumps(value, ensure_ascii=False))


def _times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"


@define
class _Grammar:
    """Rules that are being made.

    Attributes:
        schema: The whole schema, which references point into.
        rules: Name to what it stands for.
        references: Reference to the rule of what it points to.
    """

    schema: Mapping[str, Any]
    rules: dict[str, str] = field(factory=dict)
    references: dict[str, str] = field(factory=dict)

    def base(self, name: str) -> str:
        """Return a rule that every schema may need."""
        if name not in self.rules:
            self.rules[name] = _BASE[name]
            for needed in _NEEDS.get(name, ()):
                self.base(needed)
        return name

    def rule(self, text: str) -> str:
        """Return the name of a new rule."""
        name = f"rule-{len(self.rules)}"
        self.rules[name] = text
        return name

    def of(self, schema: Any) -> str:  # noqa: ANN401 - JSON
        """Return what stands for a schema: the name of a rule, or a group."""
        if schema is True or schema == {}:
            return self.base("value")
        if not isinstance(schema, Mapping):
            raise ValueError(f"a schema is an object or true, not {json.dumps(schema)[:80]}")  # noqa: TRY004 - of JSON
        beyond = sorted(name for name in _BEYOND if name in schema)
        if beyond:
            raise ValueError(f"there are no rules for the keyword {beyond[0]}")
        keywords: dict[str, Callable[[Any], str]] = {
            "$ref": self._referenced,
            "const": _value,
            "enum": lambda values: self._one_of([_value(value) for value in values]),
            "anyOf": self._any_of,
            "oneOf": self._any_of,
            "allOf": self._all_of,
        }
        for name, make in keywords.items():
            if name in schema:
                return make(schema[name])
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._any_of([{**schema, "type": item} for item in kind])
        return self._typed(schema, kind)

    def _any_of(self, schemas: list[Any]) -> str:
        return self._one_of([self.of(schema) for schema in schemas])

    def _all_of(self, schemas: list[Any]) -> str:
        if len(schemas) != 1:
            raise ValueError("there are no rules for allOf with several schemas")
        return self.of(schemas[0])

    def _one_of(self, choices: list[str]) -> str:
        if not choices:
            raise ValueError("a choice of nothing")
        return f"({' | '.join(choices)})"

    def _referenced(self, reference: Any) -> str:  # noqa: ANN401 - JSON
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise ValueError(f"a reference to another document: {str(reference)[:80]}")
        if reference not in self.references:
            found: Any = self.schema
            for part in filter(None, reference.removeprefix("#").split("/")):
                key = part.replace("~1", "/").replace("~0", "~")
                if not isinstance(found, Mapping) or key not in found:
                    raise ValueError(f"the reference {reference[:80]} points nowhere")
                found = found[key]
            name = self.references[reference] = self.rule("")  # it may refer to itself
            self.rules[name] = self.of(found)
        return self.references[reference]

    def _typed(self, schema: Mapping[str, Any], kind: Any) -> str:  # noqa: ANN401 - JSON
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema)
        if kind == "array" or (kind is None and "items" in schema):
            return self._array(schema)
        if kind == "string" and ("minLength" in schema or "maxLength" in schema):
            times = _times(schema.get("minLength", 0), schema.get("maxLength"))
            return self.rule(f"{_QUOTE} {self.base('char')}{times} {_QUOTE}")
        if kind not in (*_TYPES, None):
            raise ValueError(f"there is no type {json.dumps(kind)[:80]}")
        return self.base(kind or "value")

    def _array(self, schema: Mapping[str, Any]) -> str:
        ws, item = self.base("ws"), self.of(schema.get("items", True))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return self.rule(f'"[" {ws} "]"')
        more = _times(max(least - 1, 0), None if most is None else most - 1)
        items = f'{item} {ws} ("," {ws} {item} {ws}){more}'
        return self.rule(f'"[" {ws} {items} "]"' if least else f'"[" {ws} ({items})? "]"')

    def _object(self, schema: Mapping[str, Any]) -> str:
        """Return a rule for an object whose properties come in the schema's order; the others, if any, at the end."""
        properties, required = schema.get("properties", {}), schema.get("required", [])
        others = schema.get("additionalProperties", not properties)
        unknown = [name for name in required if name not in properties]
        if unknown:
            raise ValueError(f"the required property {unknown[0]!r} has no schema")
        ws = self.base("ws")
        tail = head = ""
        if others is not False:
            string = self.base("string")
            other = self.rule(f'{string} {ws} ":" {ws} {self.of(others)} {ws}')
            tail, head = f'("," {ws} {other})*', f'({other} ("," {ws} {other})*)?'
        for name, given in reversed(properties.items()):
            pair = f'{_value(name)} {ws} ":" {ws} {self.of(given)} {ws}'
            if name in required:
                tail, head = f'"," {ws} {pair} {tail}', f"{pair} {tail}"
            else:
                rest, nothing = self.rule(tail or '""'), head or '""'
                tail, head = f'("," {ws} {pair})? {rest}', f"({pair} {rest} | {nothing})"
        return self.rule(f'"{{" {ws} {head} "}}"')


def grammar_of(schema: str) -> str:
    """Return a JSON Schema, as text, as a grammar.

    A schema that names `properties` and no `additionalProperties` allows no others, as in llama.cpp.

    Raises:
        ValueError: It has a keyword for which there are no rules, or is no schema.
    """
    found = json.loads(schema)
    grammar = _Grammar(found if isinstance(found, Mapping) else {})
    root = grammar.of(found)
    return "".join(f"{name} ::= {text}\n" for name, text in {"root": root, **grammar.rules}.items())
