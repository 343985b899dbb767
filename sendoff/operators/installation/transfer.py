"""Export and import: organizations, users, keys as hashes, endpoints and event types, as lines of JSON.

Endpoints' secrets are sealed with a key that is given for the transfer, since the keys of two installations differ. An
import is all or nothing, and leaves alone what is there already, so it can be repeated.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from sendoff.audit import Actor, write_audit
from sendoff.clock import iso
from sendoff.errors import Invalid
from sendoff.store.queries.installation import transfers
from sendoff.store.tables import ApiKey, Endpoint, Membership, User
from sendoff.store.vault import CannotOpenSecret, Vault

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.engine.database import Transaction

VERSION = 1
"""The version of the export's format. Raise it when an older Sendoff could not import the file."""

SHORTEST_KEY = 32
"""Characters of the key that secrets are sealed with, as of SENDOFF_SECRET_KEYS."""

_HEADER = "sendoff_export"


@dataclass(slots=True)
class Imported:
    """How many records were created, and how many were there already, by kind."""

    created: Counter[str] = field(default_factory=Counter)
    existing: Counter[str] = field(default_factory=Counter)


async def export_records(
    context: Context, *, seal_key: str, organization_ids: Sequence[str] | None = None
) -> AsyncIterator[dict[str, Any]]:
    """The records of an export, its header first. Raises Invalid for a short key, CannotOpenSecret."""
    vault = _transfer_vault(seal_key)
    yield {"kind": _HEADER, "version": VERSION, "created_at": iso(context.clock.now())}
    async with context.database.read() as tx:
        for kind in transfers.TABLES:
            async for row in transfers.rows_of(tx, kind, organization_ids):
                yield {"kind": kind, **_dump(context, vault, kind, row)}


async def audit_export(context: Context, actor: Actor, organization_ids: Sequence[str]) -> None:
    """Write down that secrets leave the installation, sealed with a key of the actor's."""
    async with context.database.write() as tx:
        after = {"organizations": list(organization_ids) or "all"}
        write_audit(tx, actor, "export", target=("installation", "*"), now=context.clock.now(), after=after)


async def import_records(
    context: Context, actor: Actor, lines: Iterable[bytes], *, seal_key: str, dry_run: bool = False
) -> Imported:
    """Create what the lines of an export hold and is not there yet; with `dry_run`, only count it.

    Raises Invalid with the number of the line, and nothing is changed then.
    """
    vault, imported = _transfer_vault(seal_key), Imported()
    users: dict[str, str] = {}
    async with context.database.write() as tx:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                kind, fields = _parse(line, is_first=number == 1)
                if kind != _HEADER:
                    row = _load(context, vault, kind, fields)
                    await _import_row(tx, kind, row, users, imported)
            except CannotOpenSecret:
                raise Invalid(f"Line {number}: its secrets are sealed with another key; give that one.") from None
            except (ValueError, KeyError, TypeError) as error:
                raise Invalid(f"Line {number}: {error}. Nothing was imported.") from None
        if not dry_run and imported.created:
            counts = [f"{count} {kind}" for kind, count in imported.created.items()]
            write_audit(
                tx, actor, "import", target=("installation", "*"), now=context.clock.now(), after={"created": counts}
            )
        if dry_run:
            await tx.rollback()
    return imported


async def _import_row(
    tx: Transaction, kind: str, row: transfers.Row, users: dict[str, str], imported: Imported
) -> None:
    """Add the row unless it is there; users are known by their addresses, and may have another id there."""
    if isinstance(row, Membership | ApiKey | Endpoint) and row.user_id is not None:
        row.user_id = users.get(row.user_id, row.user_id)
    existing = await transfers.find_existing(tx, row)
    if isinstance(row, User):
        users[row.id] = existing.id if isinstance(existing, User) else row.id
    if existing is not None:
        imported.existing[kind] += 1
        return
    tx.add(row)
    await tx.flush()
    imported.created[kind] += 1


def _dump(context: Context, vault: Vault, kind: str, row: transfers.Row) -> dict[str, Any]:
    fields = row.model_dump(exclude=set(transfers.OF_OPERATION) if kind == "endpoint" else None)
    for name in transfers.SEALED if kind == "endpoint" else ():
        if fields[name] is not None:
            opened = context.vault.open(fields[name], bound_to=fields["id"], keep=False)
            fields[name] = vault.seal(opened, bound_to=fields["id"])
    return {name: _as_json(value) for name, value in fields.items() if value is not None}


def _load(context: Context, vault: Vault, kind: str, fields: dict[str, Any]) -> transfers.Row:
    for name in transfers.binary_columns(kind) & fields.keys():
        fields[name] = base64.b64decode(fields[name], validate=True)
    for name in transfers.time_columns(kind) & fields.keys():
        fields[name] = transfers.parse_time(fields[name])
    for name in (*transfers.SEALED,) if kind == "endpoint" else ():
        if fields.get(name) is not None:
            opened = vault.open(fields[name], bound_to=fields["id"], keep=False)
            fields[name] = context.vault.seal(opened, bound_to=fields["id"])
    return transfers.make_row(kind, fields)


def _parse(line: bytes, *, is_first: bool) -> tuple[str, dict[str, Any]]:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    kind = fields.pop("kind", None) if isinstance(fields, dict) else None
    if is_first and (kind != _HEADER or fields.get("version") != VERSION):
        raise ValueError(f"it is not the first line of an export of version {VERSION}")
    if kind not in (_HEADER, *transfers.TABLES):
        raise ValueError(f"its kind {kind!r} is unknown; it may come from a newer version")
    return kind, fields


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else value


def _transfer_vault(key: str) -> Vault:
    if len(key) < SHORTEST_KEY:
        raise Invalid(
            f"The key that secrets are sealed with has {len(key)} characters; give {SHORTEST_KEY} or more. Make one "
            "with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            field="key",
        )
    return Vault([key])
