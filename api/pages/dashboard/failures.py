"""Failures: what failed alike, in groups, with what can be done about each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import Response

from sendoff.clock import iso
from sendoff.operators.failure_mutes import FailureName, Mute, find_mutes, mute_failures, unmute_failures
from sendoff.operators.failures import MOST_GROUPS, list_failures
from sendoff.store.queries.traffic.failures import LOOKED_AT, FailureGroup

from ..page import PageRequest
from .surface import BASE, DASHBOARD


@dataclass(frozen=True, slots=True)
class ShownFailure:
    """A group as the pages show it: with its mute, and where its buttons lead."""

    group: FailureGroup
    mute: Mute | None

    @property
    def name(self) -> str:
        """What a form sends to mean the group."""
        return str(FailureName.of(self.group))

    @property
    def replay_url(self) -> str:
        """The wizard with the group's deliveries chosen."""
        group = self.group
        if group.reason is None:
            return _url("replays/new", endpoint_id=group.endpoint_id, pending="1")
        return _url("replays/new", **self._dead_letters)

    @property
    def discard_url(self) -> str | None:
        """The page that discards the group's dead letters; None for deliveries that wait for a retry."""
        return None if self.group.reason is None else _url("dead-letters/discard", **self._dead_letters)

    @property
    def _dead_letters(self) -> dict[str, str]:
        group = self.group
        status = {} if group.response_status is None else {"response_status": str(group.response_status)}
        return {
            "endpoint_id": group.endpoint_id,
            "reason": str(group.reason),
            **status,
            "since": iso(group.first_at),
        }


def _url(path: str, **query: str) -> str:
    return f"{BASE}/{path}?{urlencode(query)}"


async def find_failures(
    page: PageRequest, *, endpoint_id: str | None = None, limit: int = MOST_GROUPS
) -> Sequence[ShownFailure]:
    """The largest groups, of one endpoint or of all, with their mutes."""
    groups = await list_failures(page.context, endpoint_id=endpoint_id, limit=limit)
    mutes = await find_mutes(page.context, groups)
    return [ShownFailure(group, mutes.get(FailureName.of(group))) for group in groups]


async def show(page: PageRequest) -> Response:
    failures = await find_failures(page, endpoint_id=page.query.get("endpoint_id"))
    return page.render(
        "dashboard/failures.html",
        failures=[one for one in failures if one.mute is None],
        muted=[one for one in failures if one.mute is not None],
        looked_at=LOOKED_AT,
    )


async def mute(page: PageRequest) -> Response:
    await mute_failures(page.context, page.actor, await _name(page))
    return page.redirect(f"{BASE}/failures", notice="muted")


async def unmute(page: PageRequest) -> Response:
    await unmute_failures(page.context, page.actor, await _name(page))
    return page.redirect(f"{BASE}/failures", notice="unmuted")


async def _name(page: PageRequest) -> FailureName:
    return FailureName.parse((await page.form()).get("group", ""))


ROUTES = (
    DASHBOARD.get(f"{BASE}/failures", show),
    DASHBOARD.post(f"{BASE}/failures/mute", mute),
    DASHBOARD.post(f"{BASE}/failures/unmute", unmute),
)
