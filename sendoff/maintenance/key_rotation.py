"""Rotate the keys that encrypt secrets at rest: encrypt secrets of older keys again with the newest.

Runs while other processes work: each batch is a short transaction, and a secret that changed in the meantime is
skipped, because the change encrypted it with the newest key. Safe to stop at any moment and to run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sendoff.audit import Actor, write_audit
from sendoff.context import Context
from sendoff.idempotency import answer_binding
from sendoff.store import encrypted_columns
from sendoff.store.encrypted_columns import ENCRYPTED_COLUMNS, EncryptedColumns, Sealed
from sendoff.store.engine.database import Transaction
from sendoff.store.vault import CannotOpenSecret

_BATCH = 200

_BOUND_TO: dict[EncryptedColumns, Callable[[tuple[str, ...]], str]] = {
    encrypted_columns.ENDPOINTS: lambda key: key[0],
    encrypted_columns.ANSWERS: lambda key: answer_binding(*key),
}
"""The context that the vault binds a row's values to, by the row's key."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many secrets are sealed under a key; `known` says whether it is among `SECRET_KEYS`."""

    key_id: str
    newest: bool
    known: bool
    secrets: int


@dataclass(slots=True)
class KeyRotation:
    """How many secrets were encrypted again, already used the newest key, or need a key that is missing."""

    resealed: int = 0
    current: int = 0
    unopenable: int = 0


async def rotate_keys(context: Context, actor: Actor) -> KeyRotation:
    """Seal every secret with the newest key. Those that no key opens are counted and left as they are."""
    done = KeyRotation()
    for columns in ENCRYPTED_COLUMNS:
        after: tuple[str, ...] | None = None
        while True:
            async with context.database.write() as tx:
                found = await encrypted_columns.batch(tx, columns, after=after, limit=_BATCH)
                if not found:
                    break
                await _reseal_batch(tx, context, actor, columns, found, done)
            after = found[-1].key
    return done


async def count_key_use(context: Context) -> list[KeyUse]:
    """The keys of `SECRET_KEYS`, newest first, then those that are missing; each with the secrets sealed under it."""
    async with context.database.read() as tx:
        counted = await encrypted_columns.count_by_key(tx)
    known = context.vault.key_ids
    return [
        KeyUse(key_id, key_id == context.vault.newest_key_id, key_id in known, counted[key_id])
        for key_id in [*known, *sorted(counted.keys() - set(known))]
    ]


async def _reseal_batch(
    tx: Transaction,
    context: Context,
    actor: Actor,
    columns: EncryptedColumns,
    found: Sequence[Sealed],
    done: KeyRotation,
) -> None:
    became = Counter([await _reseal(tx, context, columns, one) for one in found])
    done.resealed += became["resealed"]
    done.current += became["current"]
    done.unopenable += became["unopenable"]
    if became["resealed"]:
        write_audit(
            tx,
            actor,
            "secrets.rotate_keys",
            target=("secret_key", context.vault.newest_key_id),
            now=context.clock.now(),
            after={"resealed": became["resealed"], "in": str(columns.model.__tablename__)},
        )


async def _reseal(
    tx: Transaction, context: Context, columns: EncryptedColumns, one: Sealed
) -> Literal["resealed", "current", "unopenable"]:
    try:
        resealed = context.vault.reseal(one.sealed, bound_to=_BOUND_TO[columns](one.key))
    except CannotOpenSecret:
        return "unopenable"
    if resealed is None or not await encrypted_columns.replace(tx, columns, one, resealed):
        return "current"
    return "resealed"
