"""Who does something: a request's API key or an operator at the command line, and the audit entry about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog

from sendoff.ids import new_id
from sendoff.policy.redaction import redact_mapping
from sendoff.store.engine.database import Transaction, after_commit
from sendoff.store.tables import AuditEntry

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, as the audit log names it: `key:od_live_AbCd` or `cli:ada`."""

    name: str
    request_id: str | None = None


WORKER = Actor("worker")
"""The product itself, which disables endpoints that fail."""

MAX_SIDE_BYTES = 16_384
"""Bytes of JSON that an entry keeps before or after a change. A hundred event types of the longest names fit."""


def write_audit(
    tx: Transaction,
    actor: Actor,
    action: str,
    *,
    target: tuple[str, str],
    now: datetime,
    organization_id: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Note in the same transaction that `actor` did `action` (such as `endpoint.update`) to `target`.

    `target` is its type and id. Of `before` and `after`, the entry holds the fields that differ, without secrets, and a
    side that is larger than MAX_SIDE_BYTES without its largest fields.
    """
    target_type, target_id = target
    before, after = only_changes(before, after)
    tx.add(
        AuditEntry(
            id=new_id(),
            at=now,
            actor=actor.name,
            organization_id=organization_id,
            action=action,
            target_type=target_type,
            target_id=target_id,
            before=None if before is None else _bounded(redact_mapping(before)),
            after=None if after is None else _bounded(redact_mapping(after)),
            request_id=actor.request_id,
        )
    )
    after_commit(
        tx,
        lambda: _log.info(
            "action_audited",
            actor=actor.name,
            action=action,
            target_type=target_type,
            target=target_id,
            organization=organization_id,
        ),
    )


def only_changes(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Both sides without the fields that are the same in both; a creation or a removal has one side, kept whole."""
    if before is None or after is None:
        return before, after
    same = {name for name, value in before.items() if name in after and after[name] == value}
    return (
        {name: value for name, value in before.items() if name not in same},
        {name: value for name, value in after.items() if name not in same},
    )


def _bounded(side: dict[str, object]) -> dict[str, object]:
    sizes = {name: len(orjson.dumps(value, default=str)) for name, value in side.items()}
    for name in sorted(sizes, key=lambda one: sizes[one], reverse=True):
        if sum(sizes.values()) <= MAX_SIDE_BYTES:
            break
        side = side | {name: f"[{sizes[name]:,} bytes, too large for the audit log]"}
        sizes[name] = len(str(side[name]))
    return side
