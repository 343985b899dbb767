"""`/docs`: the reference of the HTTP API, made of the OpenAPI document, for people without an account, too."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from starlette.responses import Response

from sendoff.accounts.page_sessions import SessionKind
from sendoff.errors import NotFound

from ..openapi.serving import document_bytes
from .page import PageRequest, Surface

BASE = "/docs"
_REFERENCE = "#/components/schemas/"

Json = Mapping[str, Any]

DOCS = Surface(
    kind=SessionKind.OPERATOR,
    entrance="/dashboard/login",
    layout="reference/layout.html",
    mode=lambda _: "on",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    tag: str
    details: Json

    @property
    def summary(self) -> str:
        """Its first sentence."""
        text = str(self.details.get("description") or self.details.get("summary", ""))
        return text.split("\n\n", maxsplit=1)[0]

    @property
    def body(self) -> Json | None:
        """The media types of its body with their schemas; None if it takes none."""
        content: Json | None = self.details.get("requestBody", {}).get("content")
        return content

    @property
    def curl(self) -> str:
        """A command that calls it, with what has to be filled in."""
        parts = [f"curl -X {self.method} {shlex.quote('$URL' + self.path)}".replace("'", '"')]
        if self.details.get("security") != []:
            parts.append('-H "Authorization: Bearer $KEY"')
        example = (self.body or {}).get("application/json", {}).get("example")
        if example is not None:
            parts.append("-H 'Content-Type: application/json'")
            parts.append(f"-d {shlex.quote(orjson.dumps(example).decode())}")
        return " \\\n  ".join(parts)


@dataclass(frozen=True, slots=True)
class Reference:
    """The document, by what its pages show."""

    document: Json
    operations: Sequence[Operation]

    def operation(self, operation_id: str) -> Operation:
        """Raises NotFound."""
        for one in self.operations:
            if one.id == operation_id:
                return one
        raise NotFound("The API has no such operation.")

    def schema(self, name: str) -> Json:
        """Raises NotFound."""
        schemas: Mapping[str, Json] = self.document["components"]["schemas"]
        if name not in schemas:
            raise NotFound("The API has no such schema.")
        return schemas[name]

    def by_tag(self) -> Iterator[tuple[str, str, Sequence[Operation]]]:
        """The operations of each tag, with its description."""
        for tag in self.document["tags"]:
            found = [one for one in self.operations if one.tag == tag["name"]]
            if found:
                yield tag["name"], tag.get("description", ""), found


@lru_cache(maxsize=1)
def read_reference(content: bytes) -> Reference:
    """The document as its pages show it. Kept, for it does not change while the process runs."""
    document = orjson.loads(content)
    operations = [
        Operation(details["operationId"], method.upper(), path, details["tags"][0], details)
        for path, methods in document["paths"].items()
        for method, details in methods.items()
        if isinstance(details, dict) and "operationId" in details
    ]
    return Reference(document, operations)


def describe_type(schema: Json) -> list[tuple[str, str | None]]:
    """A schema's type in words, in pieces; a piece that names another schema comes with that schema's name."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_REFERENCE)
        return [(name, name)]
    for combined in ("anyOf", "oneOf"):
        if combined in schema:
            parts = [describe_type(one) for one in schema[combined]]
            return [piece for part in parts for piece in ([(" or ", None)] if part is not parts[0] else []) + part]
    if len(schema.get("allOf", ())) == 1:
        return describe_type(schema["allOf"][0])
    if schema.get("type") == "array":
        return [("list of ", None), *describe_type(schema.get("items", {}))]
    return [(_plain_type(schema), None)]


def _plain_type(schema: Json) -> str:
    if "enum" in schema or "const" in schema:
        return " · ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type", "any")
    written = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{written} ({schema['format']})" if "format" in schema else written


async def _reference() -> Reference:
    return read_reference(await document_bytes())


async def show_index(page: PageRequest) -> Response:
    return page.render("reference/index.html", reference=await _reference())


async def show_operation(page: PageRequest) -> Response:
    reference = await _reference()
    operation = reference.operation(page.parameter("operation_id"))
    return page.render("reference/operation.html", operation=operation, describe_type=describe_type)


async def show_schema(page: PageRequest) -> Response:
    name = page.parameter("name")
    schema = (await _reference()).schema(name)
    return page.render("reference/schema.html", name=name, schema=schema, describe_type=describe_type)


ROUTES = (
    DOCS.get(BASE, show_index, needs=None),
    DOCS.get(f"{BASE}/schemas/{{name}}", show_schema, needs=None),
    DOCS.get(f"{BASE}/{{operation_id}}", show_operation, needs=None),
)
