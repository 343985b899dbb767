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
        methods = self._of_exactly(path) or {method for _, method in self._matching(path)}
        return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))

    def is_hidden(self, path: str, method: str) -> bool:
        """Whether a route of that very path answers other methods alone: the route found has taken it for a name."""
        exact = self._of_exactly(path)
        return bool(exact) and method not in exact

    def _of_exactly(self, path: str) -> set[str]:
        return {method for parameters, method in self._matching(path) if not parameters}

    def _matching(self, path: str) -> list[tuple[tuple[str, ...], str]]:
        matching = [(pattern.match(path), method) for pattern, method in self._patterns]
        return [(match.groups(), method) for match, method in matching if match]


def known_routes(app: FastAPI) -> Iterator[KnownRoute]:
    """Every route of the application, one for each method."""
    for context in iter_route_contexts(app.routes):
        for method in sorted(context.methods or ()):
            yield KnownRoute(method, context.path or "")
