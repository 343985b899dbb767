"""Which paths are the surface's, whether or not there is anything at them."""

from __future__ import annotations

SUBSCRIPTIONS = "/api/v1/subscriptions"
ME = "/api/v1/me"
HEALTH = "/health"


def needs_token(path: str) -> bool:
    """Whether the path is one of those that only a token opens."""
    return any(path == root or path.startswith(f"{root}/") for root in (SUBSCRIPTIONS, ME))


def is_on_surface(path: str) -> bool:
    """Whether errors and rate limits of the path follow the Dialbird contract."""
    return path == HEALTH or path.startswith(f"{HEALTH}/") or needs_token(path)
