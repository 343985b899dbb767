"""JSON Schemas of event types: which are refused, what they accept, and what a check may cost."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy import json_schema
from sendoff.policy.json_schema import MAX_MESSAGE, MAX_PATTERNS, MAX_RULES, SchemaRefused, compile_schema

CENTS = {"properties": {"price": {"multipleOf": 0.01}}}


def nested(keyword: str, levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {keyword: schema}
    return schema


def doubling(keyword: str, levels: int) -> dict[str, Any]:
    """Each definition refers to the next one twice."""
    definitions: dict[str, Any] = {
        f"a{level}": {keyword: [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)
    }
    definitions[f"a{levels}"] = {"type": "string"}
    return {"$ref": "#/$defs/a0", "$defs": definitions}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dangling": ({"properties": {"c": {"$ref": "#/components/schemas/Contact"}}}, "#/components/schemas/Contact"),
    "dangling in a definition that nothing uses": ({"$defs": {"a": {"$ref": "#/nope"}}}, "#/nope"),
    "dangling behind a reference": (
        {"components": {"C": {"items": {"$ref": "#/nope"}}}, "properties": {"c": {"$ref": "#/components/C"}}},
        "#/nope",
    ),
    "unknown anchor": ({"$ref": "#nowhere"}, "#nowhere"),
    "missing pointer under an id": ({"$id": "https://e.example/x", "$ref": "https://e.example/x#/nope"}, "/nope"),
    "remote": ({"items": {"$ref": "https://e.example/schema"}}, "never fetched"),
    "remote by a dynamic reference": ({"$dynamicRef": "http://127.0.0.1/x"}, "never fetched"),
    "file": ({"$ref": "file:///etc/passwd"}, "never fetched"),
    "itself": ({"$ref": "#"}, "refers to itself"),
    "loop of definitions": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}},
        "refers to itself",
    ),
    "loop through not": ({"not": {"$ref": "#"}}, "refers to itself"),
    "deep": (nested("not", 100), "deeper than 64"),
    "deeper than JSON libraries go": (nested("not", 400), "nest it less"),
    "large": ({"description": "x" * 70_000}, "65,536"),
    "doubling allOf": (doubling("allOf", 18), "2,000 of its rules"),
    "doubling anyOf": (doubling("anyOf", 18), "2,000 of its rules"),
    "doubling oneOf": (doubling("oneOf", 18), "2,000 of its rules"),
    "branching recursion": (
        {"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": [name]} for name in ("x", "y")]},
        "at most one alternative",
    ),
    "recursion by property and by pattern": (
        {"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}},
        "at most one alternative",
    ),
    "large enum of objects": ({"items": {"enum": [{"a": number} for number in range(1_500)]}}, "2,000 of its rules"),
    "look-around": ({"properties": {"a": {"pattern": "(?=a)b"}}}, "look-around"),
    "back-reference": ({"pattern": r"(a)\1"}, "back-references"),
    "look-around in a property name": ({"patternProperties": {"(?!a)b": {}}}, "look-around"),
    "pattern that grows when compiled": ({"pattern": "(((a{1,100}){1,100}){1,100}){1,100}"}, "too large"),
    "unknown type": ({"type": "strin"}, "`type`"),
    "reference that is a number": ({"$ref": 3}, "`$ref`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_cannot_be_used_is_refused_with_the_reason(name: str) -> None:
    schema, reason = REFUSED[name]
    with pytest.raises(SchemaRefused, match=re.escape(reason)) as refused:
        compile_schema(schema)
    assert len(str(refused.value)) < 2 * MAX_MESSAGE


ACCEPTED: dict[str, tuple[dict[str, Any], object, object]] = {
    "tree": (
        {
            "$ref": "#/$defs/n",
            "$defs": {"n": {"type": "object", "properties": {s: {"$ref": "#/$defs/n"} for s in "lr"}}},
        },
        {"l": {"r": {}}},
        {"l": {"r": 1}},
    ),
    "list that ends in null": (
        {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"next": {"$ref": "#"}}}]},
        {"next": {"next": None}},
        {"next": {"next": 3}},
    ),
    "anchor": ({"$defs": {"a": {"$anchor": "name", "type": "string"}}, "$ref": "#name"}, "x", 1),
    "bundled resources": (
        {
            "$id": "https://e.example/root",
            "$defs": {"a": {"$id": "a.json", "type": "string"}},
            "items": {"$ref": "a.json"},
        },
        ["x"],
        [1],
    ),
    "dynamic reference": (
        {"$dynamicAnchor": "node", "type": "object", "properties": {"c": {"items": {"$dynamicRef": "#node"}}}},
        {"c": [{"c": []}]},
        {"c": [1]},
    ),
    "escaped pointer": (
        {"$defs": {"a/b c": {"type": "string"}}, "items": {"$ref": "#/$defs/a~1b%20c"}},
        ["x"],
        [1],
    ),
    "definitions outside of $defs": (
        {"components": {"schemas": {"C": {"type": "string"}}}, "items": {"$ref": "#/components/schemas/C"}},
        ["x"],
        [1],
    ),
    "large enum of strings": ({"enum": [f"country-{number}" for number in range(3_000)]}, "country-7", "x"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_references_within_the_schema_are_followed(name: str) -> None:
    schema, good, bad = ACCEPTED[name]
    compiled = compile_schema(schema)
    assert compiled.find_violation(orjson.dumps(good)) is None
    assert compiled.find_violation(orjson.dumps(bad)) is not None


@pytest.mark.parametrize("price", ["19.99", "4.02", "0.07", "20.25", "1999e-2", "0", "-3.10", "1e400"])
def test_a_price_in_cents_is_a_multiple_of_a_cent(price: str) -> None:
    assert compile_schema(CENTS).find_violation(b'{"price":%s}' % price.encode()) is None


@pytest.mark.parametrize("price", ["19.995", "0.001", "19.990000000000000000001", "1e-3"])
def test_a_fraction_of_a_cent_is_not(price: str) -> None:
    violation = compile_schema(CENTS).find_violation(b'{"price":%s}' % price.encode())
    assert violation is not None
    assert violation.path == ("price",)
    assert "multiple of 0.01" in violation.message


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_multiple_of_agrees_with_decimal_arithmetic(number: Decimal) -> None:
    violation = compile_schema(CENTS).find_violation(b'{"price":%s}' % str(number).encode())
    assert (violation is None) == (number % Decimal("0.01") == 0)


def test_unique_items_are_compared_in_linear_time() -> None:
    """A hundred times as many items take some hundred times as long, with what caches add; not ten thousand times."""
    schema = compile_schema({"uniqueItems": True})

    def seconds(items: int) -> float:
        data = orjson.dumps([{"i": number} for number in range(items)])
        started = time.process_time()
        assert schema.find_violation(data) is None
        return time.process_time() - started

    small = min(seconds(500) for _ in range(5))
    large = min(seconds(50_000) for _ in range(5))
    assert large < 2_000 * small
    assert schema.find_violation(b'[{"a":1},{"a":1}]') is not None


def test_messages_quote_the_schema_in_part_and_never_the_data() -> None:
    violation = compile_schema({"enum": ["y" * 5_000]}).find_violation(orjson.dumps("secret" * 1_000))
    assert violation is not None
    assert len(violation.message) <= MAX_MESSAGE
    assert "secret" not in violation.message


def test_steps_grow_with_the_values_and_with_the_rules() -> None:
    few = compile_schema({"items": {"type": "integer"}})
    many = compile_schema({"items": {"allOf": [{"type": "integer"}] * 500}})
    assert few.rules < many.rules <= MAX_RULES
    assert few.steps(b"[1,2,3]") < few.steps(b"[1,2,3,4,5]") < many.steps(b"[1,2,3,4,5]")


def test_numbers_and_text_that_cannot_be_represented_are_a_violation() -> None:
    schema = compile_schema({"type": "array"})
    for data in (b"[%s]" % (b"1" * 5_000), rb'["\ud800"]'):
        violation = schema.find_violation(data)
        assert violation is not None
        assert "cannot be represented" in violation.message


def test_a_schema_has_a_bounded_number_of_patterns() -> None:
    def schema(count: int) -> dict[str, Any]:
        named: dict[str, Any] = {f"^n{number}": {} for number in range(count // 2)}
        return {
            "patternProperties": named,
            "properties": {f"p{number}": {"pattern": f"^p{number}"} for number in range(count - count // 2)},
        }

    assert compile_schema(schema(MAX_PATTERNS)).patterns == MAX_PATTERNS
    with pytest.raises(SchemaRefused, match="101 patterns"):
        compile_schema(schema(MAX_PATTERNS + 1))


def test_compiled_schemas_are_kept_as_far_as_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "_CACHED_BYTES", 3_500_000)
    first = compile_schema({"title": "first", "pattern": "^a"})
    assert compile_schema({"title": "first", "pattern": "^a"}) is first
    for number in range(3):
        compile_schema({"title": str(number), "pattern": "^a"})
    assert compile_schema({"title": "first", "pattern": "^a"}) is not first
