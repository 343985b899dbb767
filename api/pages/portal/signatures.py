"""The signature helper: paste a request, and see what was signed and which mistake explains a wrong signature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from starlette.responses import Response

from sendoff.accounts.portal_links import Capability
from sendoff.endpoints.manage import find_endpoints, list_endpoints
from sendoff.endpoints.signature_help import PastedRequest, explain_request
from sendoff.errors import Invalid, SendoffError
from sendoff.ids import is_uuid
from sendoff.store.tables import Endpoint
from sendoff.verify import Explanation

from ...http.errors import status_of
from ..page import PageRequest
from .fields import read_since
from .surface import MOST_CHOICES, get, organization_of, post

SHORTENED = 10
"""Characters of a calculated signature that sessions without `secrets` see: enough to compare, too few to forge."""


async def show(page: PageRequest) -> Response:
    return await _helper_page(page, {"endpoint_id": page.query.get("endpoint_id", "")})


async def explain(page: PageRequest) -> Response:
    form = await page.form()
    try:
        pasted = PastedRequest(
            headers=read_headers(form.get("headers", "")),
            # Browsers send the line feeds of a text field as CR LF.
            body=form.get("body", "").replace("\r\n", "\n").encode(),
            received_at=_read_time(form.get("received_at", "")),
            computed=form.get("computed", "").strip() or None,
        )
        found = await explain_request(page.context, organization_of(page), form.get("endpoint_id", ""), pasted)
    except SendoffError as error:
        return await _helper_page(page, form, error=error)
    return await _helper_page(page, form, found=found)


def read_headers(text: str) -> dict[str, str]:
    """The headers of a pasted text, a line each. Raises Invalid if it holds none."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.strip().strip("'\",").partition(":")
        name = name.strip().strip("'\"").removeprefix("-H ").strip("'\"").lower()
        if separator and name and " " not in name:
            value = value.strip().strip("'\"")
            found[name] = f"{found[name]},{value}" if name in found else value
    if not found:
        raise Invalid("Paste the headers as `Name: value`, a line each.", field="headers")
    return found


def _read_time(text: str) -> datetime | None:
    return read_since(text) if text.strip() else None


async def _helper_page(
    page: PageRequest,
    form: Mapping[str, str],
    *,
    found: Explanation | None = None,
    error: SendoffError | None = None,
) -> Response:
    return page.render(
        "portal/signatures.html",
        status=200 if error is None else status_of(type(error)),
        endpoints=await _choices(page, form.get("endpoint_id", "")),
        form=form,
        found=found,
        error=error,
        shown=None if page.may(Capability.SECRETS) else SHORTENED,
    )


async def _choices(page: PageRequest, chosen: str) -> list[Endpoint]:
    """The newest endpoints, and the chosen one if it is older."""
    newest = await list_endpoints(page.context, organization_of(page), limit=MOST_CHOICES)
    if not is_uuid(chosen) or any(one.id == chosen for one in newest):
        return newest
    return [*newest, *(await find_endpoints(page.context, organization_of(page), [chosen])).values()]


ROUTES = (get("/signatures", show), post("/signatures", explain, Capability.VIEW))
