"""`/` and `/docs`: what anybody may see, made of the OpenAPI document."""

from __future__ import annotations

import re

from api.openapi.serving import document_bytes
from api.pages.reference import describe_type, read_reference
from tests.integration.api.api_fixture import ApiFixture
from tests.support.visitor import Visitor

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_the_front_page_is_a_page_for_browsers_and_json_for_programs(api: ApiFixture, visitor: Visitor) -> None:
    page = await visitor.get("/", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    links = set(re.findall(r'href="(/[a-z.]+)"', page.text))
    assert {"/dashboard", "/docs", "/portal", "/openapi.json"} <= links
    for accept in ("*/*", "application/json", ""):
        answer = await visitor.get("/", headers={"Accept": accept})
        assert answer.json()["links"]["dashboard"] == "/dashboard"


async def test_the_reference_has_a_page_for_every_operation_and_schema(visitor: Visitor) -> None:
    reference = read_reference(await document_bytes())
    index = await visitor.get("/docs")
    assert index.status_code == 200
    assert len(index.content) < 100_000
    for operation in reference.operations:
        assert f'href="/docs/{operation.id}"' in index.text
        page = await visitor.get(f"/docs/{operation.id}")
        assert page.status_code == 200, operation.id
        assert operation.path in page.text
        assert len(page.content) < 100_000, operation.id
        assert " style=" not in page.text
    for name in reference.document["components"]["schemas"]:
        assert (await visitor.get(f"/docs/schemas/{name}")).status_code == 200, name
    assert (await visitor.get("/docs/nothing")).status_code == 404
    assert (await visitor.get("/docs/schemas/Nothing")).status_code == 404


def test_types_are_told_in_words() -> None:
    assert describe_type({"type": "string", "format": "uuid"}) == [("string (uuid)", None)]
    assert describe_type({"anyOf": [{"$ref": "#/components/schemas/Bucket"}, {"type": "null"}]}) == [
        ("Bucket", "Bucket"),
        (" or ", None),
        ("null", None),
    ]
    assert describe_type({"type": "array", "items": {"enum": ["a", "b"]}}) == [("list of ", None), ("a · b", None)]
