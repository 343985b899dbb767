"""Muted failures: groups that operators know of, and that the overview leaves out for an hour.

Nothing is stopped by it. Mutes are kept in Redis, which forgets them by itself; a Redis that lost them shows the groups
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import structlog
from redis.exceptions import RedisError

from sendoff.audit import Actor, write_audit
from sendoff.clock import iso
from sendoff.errors import Invalid, Unavailable
from sendoff.operators.queries import get_endpoint

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.queries.traffic.failures import FailureGroup
    from sendoff.store.tables import Endpoint

MUTE_SECONDS = 3600
"""How long a group is muted. Longer, and a failure that comes back the next day is overlooked."""

_LONGEST_NAME = 200
_AWAY = "Mutes are kept in Redis, which does not answer; try again in a moment."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FailureName:
    """What tells one group of failures from another."""

    endpoint_id: str
    outcome: str
    response_status: int | None
    reason: str | None

    @classmethod
    def of(cls, group: FailureGroup) -> FailureName:
        return cls(group.endpoint_id, group.outcome, group.response_status, group.reason)

    @classmethod
    def parse(cls, text: str) -> FailureName:
        """The name that `str` made. Raises Invalid."""
        endpoint_id, _, rest = text.partition(":")
        outcome, status, reason = [*rest.split(":"), "", ""][:3]
        if not outcome or (status and not (status.isascii() and status.isdigit())) or len(text) > _LONGEST_NAME:
            raise Invalid("`group` names no failures; send the form from the page of failures.", field="group")
        return cls(endpoint_id, outcome, int(status) if status else None, reason or None)

    def __str__(self) -> str:
        return f"{self.endpoint_id}:{self.outcome}:{self.response_status or ''}:{self.reason or ''}"


@dataclass(frozen=True, slots=True)
class Mute:
    """Until when a group is muted, and who did it."""

    until: datetime
    by: str


async def mute_failures(context: Context, actor: Actor, name: FailureName) -> Mute:
    """Leave the group out of the overview for MUTE_SECONDS. Raises NotFound, Unavailable without Redis."""
    endpoint = await get_endpoint(context, name.endpoint_id)
    now = context.clock.now()
    mute = Mute(now + timedelta(seconds=MUTE_SECONDS), actor.name)
    document = orjson.dumps({"until": iso(mute.until), "by": mute.by})
    try:
        await context.redis.set(_key(context, name), document, ex=MUTE_SECONDS)
    except (RedisError, OSError):
        raise Unavailable(_AWAY) from None
    after = {"outcome": name.outcome, "reason": name.reason, "until": iso(mute.until)}
    await _audit(context, actor, "failures.mute", endpoint, after=after)
    return mute


async def unmute_failures(context: Context, actor: Actor, name: FailureName) -> None:
    """Show the group again. Raises NotFound, Unavailable without Redis."""
    endpoint = await get_endpoint(context, name.endpoint_id)
    try:
        await context.redis.delete(_key(context, name))
    except (RedisError, OSError):
        raise Unavailable(_AWAY) from None
    before = {"outcome": name.outcome, "reason": name.reason}
    await _audit(context, actor, "failures.unmute", endpoint, before=before)


async def _audit(
    context: Context, actor: Actor, action: str, endpoint: Endpoint, **sides: Mapping[str, object]
) -> None:
    async with context.database.write() as tx:
        write_audit(
            tx,
            actor,
            action,
            target=("endpoint", endpoint.id),
            now=context.clock.now(),
            organization_id=endpoint.organization_id,
            **sides,
        )


async def find_mutes(context: Context, groups: Sequence[FailureGroup]) -> Mapping[FailureName, Mute]:
    """Which of the groups are muted; without Redis none is."""
    names = [FailureName.of(group) for group in groups]
    if not names:
        return {}
    try:
        found = await context.redis.mget([_key(context, name) for name in names])
    except (RedisError, OSError) as error:
        _log.warning("mutes_not_read", error=type(error).__name__)
        return {}
    return {name: _mute(document) for name, document in zip(names, found, strict=True) if document is not None}


def _mute(document: bytes) -> Mute:
    fields = orjson.loads(document)
    return Mute(datetime.fromisoformat(fields["until"]), fields["by"])


def _key(context: Context, name: FailureName) -> str:
    return context.settings.redis_key(f"sendoff:muted:{name}")
