"""The page of the HTTP API, from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from api.app import include_routes
from api.events.schemas import PLAIN_OPERATIONS
from api.openapi.document import document
from tools.docs_site.markdown import cell, table

_HEAD = """# HTTP API

Generated from the OpenAPI document, which every installation serves at `/openapi.json`.

"""
_LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} keys",
    "pattern": "matches `{}`",
}


def load_document() -> dict[str, Any]:
    """The OpenAPI document of this version."""
    app = FastAPI(openapi_url=None)
    include_routes(app)
    return document(app, PLAIN_OPERATIONS)


def render() -> str:
    """The page's text."""
    described = load_document()
    parts = [_HEAD + described["info"].get("description", "").strip()]
    for tag in described["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag.get('description', '')}".strip())
        parts += [_operation(path, method, found) for path, method, found in operations(described, tag["name"])]
        parts += [_sent(name, found["post"]) for name, found in _webhooks(described, tag["name"])]
    parts.append("## Objects\n\nWhat bodies and answers are made of.")
    parts += [_schema(name, found) for name, found in sorted(described["components"]["schemas"].items())]
    return "\n\n".join(parts) + "\n"


def operations(described: dict[str, Any], tag: str | None = None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each operation, of all tags or of one."""
    for path, methods in described["paths"].items():
        for method, found in methods.items():
            if tag is None or tag in found.get("tags", ()):
                yield path, method.upper(), found


def _webhooks(described: dict[str, Any], tag: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, found in described.get("webhooks", {}).items():
        if tag in found.get("post", {}).get("tags", ()):
            yield name, found


def _operation(path: str, method: str, found: dict[str, Any]) -> str:
    parts = [f"### `{method} {path}`", found.get("description") or found.get("summary", "")]
    parameters = found.get("parameters", [])
    if parameters:
        parts.append(table(("parameter", "in", "type", "meaning"), map(_parameter, parameters)))
    if "requestBody" in found:
        bodies = [f"`{kind}`: {_type(body['schema'])}" for kind, body in found["requestBody"]["content"].items()]
        parts.append(f"Body: {'; '.join(bodies)}.")
    rows = [(status, cell(one.get("description", "")), _answer(one)) for status, one in found["responses"].items()]
    parts.append(table(("status", "when", "body"), rows))
    return "\n\n".join(part for part in parts if part)


def _parameter(found: dict[str, Any]) -> tuple[str, str, str, str]:
    schema = found["schema"]
    return f"`{found['name']}`", found["in"], _type(schema), _about(schema, found.get("description"))


def _sent(name: str, found: dict[str, Any]) -> str:
    body = found.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    about = found.get("description") or found.get("summary", "")
    fields = _fields(body) if body.get("properties") else ""
    return "\n\n".join(part for part in (f"### `{name}`", about, fields) if part)


def _answer(response: dict[str, Any]) -> str:
    return ", ".join(_type(body.get("schema", {})) for body in response.get("content", {}).values()) or "–"


def _schema(name: str, found: dict[str, Any]) -> str:
    parts = [f"### {name}", found.get("description", "")]
    if "enum" in found:
        parts.append("One of " + ", ".join(f"`{value}`" for value in found["enum"]) + ".")
    elif found.get("properties"):
        parts.append(_fields(found))
    else:
        parts.append(_type({key: value for key, value in found.items() if key != "description"}))
    return "\n\n".join(part for part in parts if part)


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"`{name}`" + (" (required)" if name in required else ""), _type(found), _about(found))
        for name, found in schema["properties"].items()
    ]
    return table(("field", "type", "meaning"), rows)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[key]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kinds = schema.get("type", "any")
    kind = " or ".join(kinds) if isinstance(kinds, list) else kinds
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _about(schema: dict[str, Any], description: str | None = None) -> str:
    """The description, the bounds and the default of a value, those of its alternatives included."""
    said = [description or schema.get("description", "")]
    for one in (schema, *schema.get("anyOf", ())):
        if not said[0]:
            said[0] = one.get("description", "")
        said += [text.format(one[key]) for key, text in _LIMITS.items() if key in one]
    if schema.get("default") is not None:
        said.append(f"default `{schema['default']}`")
    return cell("; ".join(dict.fromkeys(part.rstrip(".") for part in said if part)))
