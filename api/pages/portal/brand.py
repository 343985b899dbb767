"""The product's name, logo and accent colour on the portal's pages; read once, when the first page is made.

A colour is shown in the shades that can be read: each scheme gets the nearest one with a contrast of 4.5 or more. A
logo is served by us, and inert: of an image everything is left out that could run, load or tell something.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sendoff.errors import BadSettings
from sendoff.policy.colors import readable_shade, text_on
from sendoff.policy.images import LARGEST_BYTES, make_inert

from ...http.authentication import context_of

if TYPE_CHECKING:
    from sendoff.context import Context

PREFIX = "/portal/brand"

_GROUNDS = {"light": "#e9edf2", "dark": "#28313d"}
"""The ground of each scheme against which the accent has the least contrast (`pages.css`)."""


@dataclass(frozen=True, slots=True)
class BrandFile:
    """A file of the brand; its path contains the content's hash."""

    path: str
    content: bytes
    media_type: str

    @classmethod
    def of(cls, stem: str, ending: str, content: bytes, media_type: str) -> BrandFile:
        digest = hashlib.sha256(content).hexdigest()[:16]
        return cls(f"{PREFIX}/{stem}.{digest}.{ending}", content, media_type)


@dataclass(frozen=True, slots=True)
class Brand:
    """What the pages look like to customers."""

    name: str
    logo: BrandFile | None
    colors: BrandFile | None

    @classmethod
    def of(cls, context: Context) -> Brand:
        """For `context.service(Brand.of)`. Raises BadSettings for a logo that cannot be used."""
        settings = context.settings
        return cls(
            name=settings.portal_name or settings.brand,
            logo=_read_logo(settings.portal_logo) if settings.portal_logo else None,
            colors=_make_colors(settings.portal_accent) if settings.portal_accent else None,
        )

    def find(self, path: str) -> BrandFile | None:
        return next((file for file in (self.logo, self.colors) if file is not None and file.path == path), None)


async def serve_brand(request: Request) -> Response:
    """A file of the brand, cached without end; 404 for a name whose hash is not that of the content."""
    found = context_of(request).service(Brand.of).find(request.url.path)
    if found is None:
        return Response(status_code=404)
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(found.content, 200, headers, found.media_type)


def _read_logo(path: Path) -> BrandFile:
    try:
        with path.open("rb") as file:
            image = make_inert(file.read(LARGEST_BYTES + 1))
    except OSError as error:
        raise BadSettings(f"SENDOFF_PORTAL_LOGO: {path} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise BadSettings(f"SENDOFF_PORTAL_LOGO: {path} {error}.") from None
    return BrandFile.of("logo", image.ending, image.content, image.media_type)


def _make_colors(accent: str) -> BrandFile:
    return BrandFile.of("colors", "css", "\n".join(_rules(accent)).encode(), "text/css; charset=utf-8")


def _rules(accent: str) -> Iterator[str]:
    """The colours as a style sheet that outranks the pages' own."""
    light, dark = (f"{{ {_variables(accent, _GROUNDS[scheme])} }}" for scheme in ("light", "dark"))
    yield f"html:root {light}"
    yield f'html:root[data-scheme="dark"] {dark}'
    yield f'@media (prefers-color-scheme: dark) {{ html:root[data-scheme="auto"] {dark} }}'


def _variables(accent: str, ground: str) -> str:
    shade = readable_shade(accent, ground)
    return f"--accent: {shade}; --on-accent: {text_on(shade)};"


ROUTE = Route(PREFIX + "/{name}", serve_brand, methods=["GET"], include_in_schema=False)
