"""Who does something: a request's API key or an operator at the command line, and the audit entry about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sendoff.ids import new_id
from sendoff.policy.redaction import redact_mapping
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import AuditEntry


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is at work, as the audit log names it: `key:od_live_AbCd` or `cli:ada`."""

    name: str
    request_id: str | None = None


WORKER = Actor("worker")
"""The product itself, which switches endpoints off that fail."""


def write_audit(
    tx: Transaction,
    actor: Actor,
    action: str,
    *,
    target: tuple[str, str],
    now: datetime,
    organization_id: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Note in the same transaction that `actor` did `action` (such as `endpoint.update`) to `target`.

    `target` is its type and id; `before` and `after` hold what changed, and what looks like a secret is cut out.
    """
    target_type, target_id = target
    tx.add(
        AuditEntry(
            id=new_id(),
            at=now,
            actor=actor.name,
            organization_id=organization_id,
            action=action,
            target_type=target_type,
            target_id=target_id,
            before=None if before is None else redact_mapping(before),
            after=None if after is None else redact_mapping(after),
            request_id=actor.request_id,
        )
    )
