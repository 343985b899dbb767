"""The curl command of a request, to be copied from its page."""

from __future__ import annotations

import shlex

from ..operator.schemas import DetailedDelivery

_LONGEST_BODY = 16_384
"""Bytes of the body; a longer command does not fit into the pages' 100 kB."""


def as_curl(view: DetailedDelivery) -> str | None:
    """A command that sends the last request again, to be copied; None for a body that is long or was never sent."""
    if view.request.headers is None or len(view.request.body) > _LONGEST_BODY:
        return None
    unsent = {"content-length", "host", "connection", "accept-encoding"}
    headers = [(name, value) for name, value in view.request.headers.items() if name.lower() not in unsent]
    options = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers]
    parts = [
        "curl -i -X POST",
        *options,
        f"--data-binary {shlex.quote(view.request.body)}",
        shlex.quote(view.request.url),
    ]
    return " \\\n  ".join(parts)
