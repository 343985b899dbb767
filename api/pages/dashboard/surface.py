"""What the dashboard's pages share: session, layout, navigation, notices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sendoff.accounts.page_sessions import SessionKind
from sendoff.settings import Settings

from ..page import PageRequest, Surface

BASE = "/dashboard"

NAVIGATION = (
    ("", (("", "Overview"),)),
    (
        "Traffic",
        (
            ("/events", "Events"),
            ("/deliveries", "Deliveries"),
            ("/failures", "Failures"),
            ("/dead-letters", "Dead letters"),
            ("/replays", "Replays"),
        ),
    ),
    ("Customers", (("/endpoints", "Endpoints"), ("/organizations", "Organizations"))),
    (
        "Installation",
        (("/alerts", "Alerts"), ("/workers", "Workers"), ("/audit", "Audit log"), ("/system", "System")),
    ),
)
"""Groups of pages, each page by its path below BASE and its title."""

NOTICES = {
    "retried": "The delivery is being attempted now.",
    "discarded": "The dead letter is discarded.",
    "discarded-matching": "The dead letters are discarded; the audit log has their number.",
    "muted": "The failures are muted: the overview leaves them out for an hour. Deliveries go on as before.",
    "unmuted": "The failures are shown again.",
    "replay-started": "The replay has started.",
    "replay-cancelled": "The replay is cancelled; what was sent already goes its way.",
    "enabled": "The endpoint is enabled, its failures are forgotten.",
    "disabled": "The endpoint is disabled; its open deliveries go to the dead letters.",
    "limited": "The limit is set.",
    "suspended": "The organization is suspended: its keys are refused, its deliveries go on.",
    "resumed": "The organization's keys are accepted again.",
    "revoked": "The key is revoked; sessions that it opened have ended.",
    "alert-saved": "The alert endpoint is saved.",
    "alert-paused": "The alert endpoint is paused: no alerts go to it until you resume it.",
    "alert-resumed": "Alerts go to it again.",
    "alert-deleted": "The alert endpoint is deleted.",
    "draining": "The worker finishes what it has and stops; it hears of it within five seconds.",
    "retention-started": "What is past its retention is being removed.",
    "reconciliation-started": "The check has started. It only reads, and goes on while you look at other pages.",
    "organization-created": "The organization is created.",
}
"""The sentence for each `notice` that a form's redirect names. Other names show nothing."""


def _mode(settings: Settings) -> str:
    return settings.dashboard


def _values(page: PageRequest) -> Mapping[str, Any]:
    return {
        "base": BASE,
        "navigation": NAVIGATION,
        "notice": NOTICES.get(page.query.get("notice", "")),
        "can_act": page.may("act"),
        "query": page.query,
    }


DASHBOARD = Surface(
    kind=SessionKind.OPERATOR,
    entrance=f"{BASE}/login",
    layout="dashboard/layout.html",
    mode=_mode,
    values=_values,
)
