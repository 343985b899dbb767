"""The methods of each path, for the `Allow` header: the framework names those of the first route alone.

HEAD is answered wherever GET is; the middleware does that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path


@dataclass(frozen=True, slots=True)
class KnownRoute:
    """One method and one path, such as `GET /api/v1/webhooks/{webhook_id}`."""

    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Methods:
    """The methods of every path pattern."""

    _patterns: Sequence[tuple[re.Pattern[str], str]]

    @classmethod
    def of(cls, app: FastAPI) -> Methods:
        """Of the routes that the application has now."""
        return cls([(compile_path(route.path)[0], route.method) for route in known_routes(app)])

    def allowed(self, path: str) -> str:
        """The value of the `Allow` header of `path`; a route of that very path hides those with parameters."""
        matching = [(pattern.match(path), method) for pattern, method in self._patterns]
        found = [(match.groups(), method) for match, method in matching if match]
        exact = {method for parameters, method in found if not parameters}
        methods = exact or {method for _, method in found}
        return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def known_routes(app: FastAPI) -> Iterator[KnownRoute]:
    """Every route of the application, one for each method."""
    for context in iter_route_contexts(app.routes):
        for method in sorted(context.methods or ()):
            yield KnownRoute(method, context.path or "")
