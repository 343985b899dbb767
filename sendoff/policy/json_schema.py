"""JSON Schemas (draft 2020-12) of event types: refused when they cannot be resolved or cost without bound.

A schema is compiled once, by jsonschema-rs: references are never fetched, patterns run in linear time, `uniqueItems`
compares by hash, and decimals are exact. What a check costs is bounded by `Schema.steps`, before it runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import jsonschema_rs
import msgspec
import orjson

MAX_BYTES = 65_536
"""Bytes of a schema's JSON. The time to compile one, about 10 ms at this size, grows with it."""

MAX_DEPTH = 64
"""Levels of objects and arrays in a schema."""

MAX_RULES = 2_000
"""Rules that may apply to one value, references followed. The time of a check grows with it for every value."""

MAX_MESSAGE = 300
"""Characters of a message about a violation; longer ones are cut."""

_PATTERN_BYTES = 1_000_000
"""Bytes of one compiled pattern; `.{1,500}` takes about 800,000."""

_PATTERN_RULES = 20
"""The cost of a pattern on a short string, in ordinary rules. A lower value lets slower schemas pass."""

MAX_PATTERNS = 100
"""Patterns of a schema. Compiled, each may take `_PATTERN_BYTES`, and some milliseconds."""

_CACHED_BYTES = 128 * 1024 * 1024
"""What the compiled schemas that a process keeps may take, by the estimate of `_Cache`."""

_COMPILED_SIZE = 10
"""A compiled schema without patterns takes about this many times its text."""

_ROOT_URI = "urn:sendoff:schema"
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_IN_PLACE = ("not", "if", "then", "else")
_SCHEMA_MAPS = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
_SCHEMA_LISTS = (*_IN_PLACE_LISTS, "prefixItems")
_SCHEMAS = (
    *_IN_PLACE,
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
)
_REFERENCES = ("$ref", "$dynamicRef")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


class SchemaRefused(ValueError):
    """The schema cannot be used; the message says why and what to change."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Where `data` does not satisfy its schema, as keys and indexes, and what is wrong there."""

    path: tuple[str | int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that can be checked in a bounded number of steps."""

    validator: jsonschema_rs.Draft202012Validator
    rules: int
    """Rules that apply to one value at most."""
    patterns: int
    """Regular expressions in it."""

    def steps(self, data: bytes) -> int:
        """An upper bound of the rules that checking this JSON text applies; a million take about 10 ms."""
        values = data.count(b",") + data.count(b"[") + data.count(b"{") + data.count(b":") + 1
        return values * self.rules

    def find_violation(self, data: bytes) -> Violation | None:
        """The first violation in the JSON text, or None. Numbers are compared as the decimals that they spell."""
        try:
            parsed = _DECODER.decode(data)
        except (ValueError, RecursionError):
            return Violation((), "a number or string here cannot be represented; send a shorter number or valid text")
        if self.validator.is_valid(parsed):
            return None
        try:
            self.validator.validate(parsed)
        except jsonschema_rs.ValidationError as error:
            return Violation(tuple(error.instance_path), _cut(error.message))
        return None


def compile_schema(schema: Mapping[str, Any]) -> Schema:
    """The schema, ready for checks; kept for the next call. Raises SchemaRefused."""
    try:
        text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise SchemaRefused(f"it cannot be written as JSON ({error}); nest it less and use shorter numbers") from None
    compiled = _cache.get(text)
    if compiled is None:
        compiled = _cache.keep(text, _compile(text))
    if isinstance(compiled, SchemaRefused):
        raise SchemaRefused(*compiled.args)
    return compiled


class _Cache:
    """Compiled schemas, those used last, as far as all together take few enough bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[int, Schema | SchemaRefused]] = OrderedDict()
        self._size = 0

    def get(self, text: bytes) -> Schema | SchemaRefused | None:
        found = self._kept.get(text)
        if found is None:
            return None
        self._kept.move_to_end(text)
        return found[1]

    def keep(self, text: bytes, compiled: Schema | SchemaRefused) -> Schema | SchemaRefused:
        patterns = compiled.patterns if isinstance(compiled, Schema) else 0
        size = _COMPILED_SIZE * len(text) + _PATTERN_BYTES * patterns
        self._kept[text] = size, compiled
        self._size += size
        while self._size > _CACHED_BYTES:
            _, (removed, _) = self._kept.popitem(last=False)
            self._size -= removed
        return compiled


_cache = _Cache()


def _compile(text: bytes) -> Schema | SchemaRefused:
    try:
        return _checked(text)
    except SchemaRefused as error:
        return error


def _checked(text: bytes) -> Schema:
    if len(text) > MAX_BYTES:
        raise SchemaRefused(f"it has {len(text):,} bytes; write it with at most {MAX_BYTES:,}")
    schema = orjson.loads(text)
    if _depth(schema) > MAX_DEPTH:
        raise SchemaRefused(f"it nests deeper than {MAX_DEPTH} levels; make it flatter")
    patterns = _count_patterns(schema)
    if patterns > MAX_PATTERNS:
        raise SchemaRefused(f"it has {patterns:,} patterns; use at most {MAX_PATTERNS}")
    rules = _Graph(schema).max_rules()
    try:
        # As decimals: `multipleOf: 0.01` is a hundredth, not the binary fraction next to it.
        validator = jsonschema_rs.Draft202012Validator(
            _DECODER.decode(text),
            offline=True,
            mask="the value",
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES),
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise SchemaRefused(_reason(error)) from None
    return Schema(validator, rules, patterns)


def _reason(error: Exception) -> str:
    if not isinstance(error, jsonschema_rs.ValidationError):
        return f"{_cut(str(error))}; correct it"
    path = "/".join(str(part) for part in error.instance_path)
    if error.kind.name == "format" or "regex" in error.message:
        return (
            f"the pattern at `{path}` is malformed, too large, or uses look-around or back-references, which take "
            "more than linear time; rewrite it without them"
        )
    where = f" at `{path}`" if path else ""
    return f"{_cut(error.message)}{where}; correct it according to JSON Schema 2020-12"


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def _count_patterns(schema: object) -> int:
    """How many regular expressions it has, and how many members of data are called like a keyword for them."""
    count, rest = 0, [schema]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            count += isinstance(value.get("pattern"), str)
            named = value.get("patternProperties")
            count += len(named) if isinstance(named, dict) else 0
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return count


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        containers = [one for one in level if isinstance(one, dict | list)]
        deepest += bool(containers)
        if deepest > MAX_DEPTH:
            break
        level = [inner for one in containers for inner in (one.values() if isinstance(one, dict) else one)]
    return deepest


@dataclass(slots=True)
class _Node:
    """A subschema: `in_place` ones apply to the same value, those of an `inner` group to different values inside it."""

    own_rules: int
    in_place: list[int]
    inner: list[list[int]]


class _Graph:
    """The subschemas of a schema and which of them apply to which values."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self._resources: dict[str, Any] = {_ROOT_URI: root}
        self._anchors: dict[tuple[str, str], Any] = {}
        self._dynamic: dict[str, list[Any]] = {}
        self._bases: dict[int, str] = {}
        self._register(root, _ROOT_URI)
        self.nodes: dict[int, _Node] = {}
        self._build(root)

    def max_rules(self) -> int:
        """Rules that may apply to one value. Raises SchemaRefused if there are too many, or no bound."""
        components = _components(self.nodes)
        component_of = {node: number for number, nodes in enumerate(components) for node in nodes}
        total: dict[int, int] = {}
        for number, nodes in enumerate(components):  # in the order of dependence: what is referred to comes first
            outside = dict.fromkeys(nodes, 0)
            for node in nodes:
                self._check_recursion(node, number, component_of)
                groups = [[one] for one in self.nodes[node].in_place] + self.nodes[node].inner
                for group in groups:
                    others = [total[one] for one in group if component_of[one] != number]
                    outside[node] += max(others, default=0)
            rules = sum(self.nodes[node].own_rules + outside[node] for node in nodes)
            if rules > MAX_RULES:
                raise SchemaRefused(
                    f"more than {MAX_RULES:,} of its rules may apply to one value; use fewer alternatives or references"
                )
            total.update(dict.fromkeys(nodes, rules))
        return total[id(self.root)]

    def _check_recursion(self, node: int, number: int, component_of: Mapping[int, int]) -> None:
        recursive = [one for one in self.nodes[node].in_place if component_of[one] == number]
        inner = [group for group in self.nodes[node].inner if any(component_of[one] == number for one in group)]
        if len(recursive) + len(inner) > 1:
            raise SchemaRefused(
                "it refers to itself in several alternatives for the same value, so that the time of a check doubles "
                "with each level of nesting; let at most one alternative of `anyOf`, `oneOf` or `allOf` be recursive"
            )

    def _register(self, schema: object, base: str) -> None:
        """Note the ids and anchors of a schema and its subschemas."""
        if not isinstance(schema, dict) or id(schema) in self._bases:
            return
        identifier = schema.get("$id")
        if isinstance(identifier, str):
            base = urldefrag(urljoin(base, identifier)).url
            self._resources[base] = schema
        self._bases[id(schema)] = base
        for keyword in ("$anchor", "$dynamicAnchor"):
            name = schema.get(keyword)
            if isinstance(name, str):
                self._anchors[base, name] = schema
                if keyword == "$dynamicAnchor":
                    self._dynamic.setdefault(name, []).append(schema)
        for inner in _subschemas(schema):
            self._register(inner, base)

    def _build(self, root: object) -> None:
        waiting = [root]
        while waiting:
            schema = waiting.pop()
            if id(schema) in self.nodes:
                continue
            if not isinstance(schema, dict):
                self.nodes[id(schema)] = _Node(1, [], [])
                continue
            in_place, inner = self._applied(schema)
            self.nodes[id(schema)] = _Node(
                _own_rules(schema), [id(one) for one in in_place], [[id(one) for one in group] for group in inner]
            )
            waiting += in_place
            waiting += [one for group in inner for one in group]
            waiting += _subschemas(schema)
        self._check_loops()

    def _applied(self, schema: Mapping[str, Any]) -> tuple[list[Any], list[list[Any]]]:
        in_place = [schema[keyword] for keyword in _IN_PLACE if keyword in schema]
        for keyword in _IN_PLACE_LISTS:
            in_place += _list(schema.get(keyword))
        in_place += _map(schema.get("dependentSchemas"))
        for keyword in _REFERENCES:
            if isinstance(schema.get(keyword), str):
                in_place += self._resolve(schema, keyword)
        # A key or index matches one schema of a group; those of different groups may all apply to it.
        groups = [
            [*_map(schema.get("properties")), *_present(schema, "additionalProperties")],
            *([one] for one in _map(schema.get("patternProperties"))),
            [*_list(schema.get("prefixItems")), *_present(schema, "items")],
            *(
                [schema[keyword]]
                for keyword in ("contains", "unevaluatedItems", "unevaluatedProperties")
                if keyword in schema
            ),
            _present(schema, "propertyNames"),
        ]
        return in_place, [group for group in groups if group]

    def _resolve(self, schema: Mapping[str, Any], keyword: str) -> list[Any]:
        reference = schema[keyword]
        uri, fragment = urldefrag(urljoin(self._bases.get(id(schema), _ROOT_URI), reference))
        if reference.startswith("#"):
            uri = self._bases.get(id(schema), _ROOT_URI)
        resource = self._resources.get(uri)
        if resource is None:
            raise SchemaRefused(
                f"`{keyword}` refers to {_cut(reference)}, which is outside of the schema and is never fetched; "
                "copy it into `$defs` and refer to it by #/$defs/NAME"
            )
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            found = self._anchors.get((uri, fragment))
            dynamic = self._dynamic.get(fragment, []) if keyword == "$dynamicRef" else []
            targets = [*([found] if found is not None else []), *(one for one in dynamic if one is not found)]
        else:
            targets = _follow(resource, fragment)
        if not targets:
            raise SchemaRefused(f"`{keyword}` refers to {_cut(reference)}, which is not in the schema; define it there")
        for target in targets:
            self._register(target, uri)
        return targets

    def _check_loops(self) -> None:
        """Refuse what refers to itself without going into the value: its check would not end."""
        done: set[int] = set()
        for start in self.nodes:
            path: dict[int, Iterator[int]] = {}
            pending = [start]
            while pending:
                node = pending[-1]
                if node in done:
                    pending.pop()
                    continue
                steps = path.setdefault(node, iter(self.nodes[node].in_place))
                following = next(steps, None)
                if following is None:
                    done.add(node)
                    del path[node]
                    pending.pop()
                elif following in path:
                    raise SchemaRefused(
                        "it refers to itself (`$ref`) without going into a property or an item, so that its check "
                        "would not end; remove the loop"
                    )
                elif following not in done:
                    pending.append(following)


def _subschemas(schema: Mapping[str, Any]) -> list[Any]:
    found = [schema[keyword] for keyword in _SCHEMAS if isinstance(schema.get(keyword), dict | bool)]
    for keyword in _SCHEMA_LISTS:
        found += _list(schema.get(keyword))
    for keyword in _SCHEMA_MAPS:
        found += _map(schema.get(keyword))
    return found


def _own_rules(schema: Mapping[str, Any]) -> int:
    """The cost of the schema's own keywords for one value. Scalars of an `enum` are hashed, objects compared singly."""
    patterns = ("pattern" in schema) + len(_map(schema.get("patternProperties")))
    compared = [one for one in _list(schema.get("enum")) if isinstance(one, dict | list)]
    listed = [schema[name] for name in ("const", "required", "dependentRequired") if name in schema]
    return 1 + _PATTERN_RULES * patterns + sum(map(_size, [*compared, *listed]))


def _size(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def _follow(resource: Any, pointer: str) -> list[Any]:
    found = resource
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return []
    return [found] if isinstance(found, dict | bool) else []


def _present(schema: Mapping[str, Any], keyword: str) -> list[Any]:
    return [schema[keyword]] if keyword in schema else []


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _map(value: object) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _components(nodes: Mapping[int, _Node]) -> list[Sequence[int]]:
    """The strongly connected components (Tarjan), each after those that it leads to."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[Sequence[int]] = []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(_leads_to(nodes[root])))]
        while work:
            node, following = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            for one in following:
                if one not in index:
                    work.append((one, iter(_leads_to(nodes[one]))))
                    break
                if one in on_stack:
                    low[node] = min(low[node], index[one])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    found.append(stack[cut:])
                    on_stack.difference_update(stack[cut:])
                    del stack[cut:]
    return found


def _leads_to(node: _Node) -> list[int]:
    return [*node.in_place, *(one for group in node.inner for one in group)]
