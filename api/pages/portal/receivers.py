"""Receivers to copy: complete programs that verify an endpoint's requests, in five languages, and their page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from ..page import PageRequest
from .surface import get

if TYPE_CHECKING:
    from sendoff.context import Context

LANGUAGES = {"python": "Python", "node": "Node.js", "go": "Go", "php": "PHP", "ruby": "Ruby"}
"""The languages, by the names of their programs in `api/pages/receivers`."""

FORMATS = {
    "": None,
    "standard": "Standard Webhooks",
    "standard-v1a": "Standard Webhooks, with a public key",
    "cloudevents": "CloudEvents",
}
"""The dialects that endpoints are offered, with their labels; the empty one is the installation's own."""

_FOLDER = Path(__file__).parents[1] / "receivers"
_SCHEMES = {"stripe": "timestamped", "slack": "versioned"}
_STANDARD = {"standard": "standard", "standard-v1a": "asymmetric", "cloudevents": "standard"}


def receiver_code(context: Context, dialect: str, language: str) -> str:
    """A program that receives and verifies the dialect's requests."""
    own = context.dialects.default
    return (
        _programs()
        .get_template(f"{language}.txt")
        .render(
            scheme=_STANDARD.get(dialect, _SCHEMES[own.scheme]),
            header=own.signature_name,
            time_header=f"{own.prefix}Timestamp",
        )
    )


def receiver_programs(context: Context, dialect: str) -> dict[str, str]:
    """The programs for the dialect, by the label of their language."""
    return {label: receiver_code(context, dialect, language) for language, label in LANGUAGES.items()}


async def show(page: PageRequest) -> Response:
    """The programs before there is an endpoint: a receiver must run when its URL is pinged."""
    wanted = page.query.get("format", "")
    dialect = wanted if wanted in FORMATS else ""
    return page.render(
        "portal/receivers.html",
        dialect=dialect,
        formats=FORMATS,
        programs=receiver_programs(page.context, dialect),
    )


@cache
def _programs() -> Environment:
    return Environment(  # noqa: S701 - source code, which the pages that show it escape
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


ROUTES = (get("/receivers", show),)
