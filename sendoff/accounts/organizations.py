"""Organizations, members and API keys, as the command line manages them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sendoff.accounts.authentication import KEY_PREFIX, SCOPES, hash_key
from sendoff.audit import Actor, write_audit
from sendoff.clock import iso
from sendoff.context import Context
from sendoff.errors import Invalid, NotFound
from sendoff.ids import is_uuid, new_id
from sendoff.policy.operational_events import OPERATORS
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts
from sendoff.store.queries.accounts import ListedKey
from sendoff.store.tables import ApiKey, Membership, Organization, User

DISPLAY_PREFIX_LENGTH = 12

LONGEST_NAME = 200
"""Characters of an organization's name, which stands in lists and in entries of the audit log."""


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new API key; `key` is shown this once."""

    id: str
    key: str

    def __repr__(self) -> str:
        return f"MintedKey(id={self.id!r})"


async def create_organization(context: Context, actor: Actor, *, name: str, credits: int | None) -> Organization:  # noqa: A002
    """A new organization; with `credits` (0 or more) it has an active subscription, without it has none."""
    if not name.strip():
        raise Invalid("The organization needs a name.", field="name")
    if len(name.strip()) > LONGEST_NAME:
        raise Invalid(f"The organization's name takes at most {LONGEST_NAME} characters; shorten it.", field="name")
    _check_credits(credits)
    now = context.clock.now()
    organization = Organization(id=new_id(), name=name.strip(), credits=credits, created_at=now)
    async with context.database.write() as tx:
        tx.add(organization)
        write_audit(
            tx,
            actor,
            "organization.create",
            target=("organization", organization.id),
            now=now,
            organization_id=organization.id,
            after={"name": organization.name, "credits": credits},
        )
    return organization


async def set_credits(context: Context, actor: Actor, organization_id: str, credits: int | None) -> Organization:  # noqa: A002
    """Set an organization's balance; None ends its subscription."""
    _check_credits(credits)
    async with context.database.write() as tx:
        organization = await _find_organization(tx, organization_id)
        before = {"credits": organization.credits}
        organization.credits = credits
        write_audit(
            tx,
            actor,
            "organization.set_credits",
            target=("organization", organization.id),
            now=context.clock.now(),
            organization_id=organization.id,
            before=before,
            after={"credits": credits},
        )
    return organization


async def suspend_organization(
    context: Context, actor: Actor, organization_id: str, *, suspended: bool
) -> Organization:
    """Refuse the organization's keys and tokens from now on, or take them again; deliveries go on either way."""
    now = context.clock.now()
    async with context.database.write() as tx:
        organization = await _find_organization(tx, organization_id)
        before = {"suspended": organization.suspended_at is not None}
        organization.suspended_at = (organization.suspended_at or now) if suspended else None
        write_audit(
            tx,
            actor,
            "organization.suspend" if suspended else "organization.resume",
            target=("organization", organization.id),
            now=now,
            organization_id=organization.id,
            before=before,
            after={"suspended": suspended},
        )
    return organization


async def list_organizations(context: Context) -> list[Organization]:
    """All organizations, newest first."""
    async with context.database.read() as tx:
        return await accounts.list_organizations(tx)


async def create_key(
    context: Context,
    actor: Actor,
    *,
    organization_id: str,
    email: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> MintedKey:
    """Mint an API key for a user, who becomes a member of the organization by it."""
    _check_scopes(scopes)
    if "@" not in email.strip("@ "):
        raise Invalid(f"{email!r} is not an e-mail address; write it as name@example.com.", field="user")
    now = context.clock.now()
    if expires_at is not None and expires_at <= now:
        raise Invalid("A key that expires in the past could never be used.", field="expires_at")
    minted = MintedKey(id=new_id(), key=KEY_PREFIX + secrets.token_urlsafe(24))
    async with context.database.write() as tx:
        organization = await _find_organization(tx, organization_id)
        user = await _find_or_create_member(tx, organization.id, email, now)
        tx.add(
            ApiKey(
                id=minted.id,
                organization_id=organization.id,
                user_id=user.id,
                key_hash=hash_key(minted.key),
                prefix=minted.key[:DISPLAY_PREFIX_LENGTH],
                scopes=list(dict.fromkeys(scopes)),
                created_at=now,
                expires_at=expires_at,
            )
        )
        write_audit(
            tx,
            actor,
            "key.create",
            target=("key", minted.id),
            now=now,
            organization_id=organization.id,
            after={"prefix": minted.key[:DISPLAY_PREFIX_LENGTH], "scopes": list(scopes), "user": user.email},
        )
    return minted


async def list_keys(context: Context, organization_id: str) -> list[ListedKey]:
    """The organization's API keys, newest first; never the keys themselves."""
    async with context.database.read() as tx:
        await _find_organization(tx, organization_id)
        return await accounts.list_keys(tx, organization_id)


async def revoke_key(context: Context, actor: Actor, key_id: str) -> None:
    """End an API key at once."""
    now = context.clock.now()
    async with context.database.write() as tx:
        key = await accounts.find_key(tx, key_id) if is_uuid(key_id) else None
        if key is None:
            raise NotFound(f"There is no API key {key_id}.")
        before = {"prefix": key.prefix, "revoked_at": iso(key.revoked_at) if key.revoked_at else None}
        key.revoked_at = key.revoked_at or now
        write_audit(
            tx,
            actor,
            "key.revoke",
            target=("key", key.id),
            now=now,
            organization_id=key.organization_id,
            before=before,
            after={"prefix": key.prefix, "revoked_at": iso(key.revoked_at)},
        )


async def remove_member(context: Context, actor: Actor, *, organization_id: str, email: str) -> list[str]:
    """Remove a user from an organization and revoke the keys that this user minted there; their ids."""
    now = context.clock.now()
    async with context.database.write() as tx:
        organization = await _find_organization(tx, organization_id)
        user = await accounts.find_user(tx, email)
        membership = await accounts.find_membership(tx, organization.id, user.id) if user else None
        if user is None or membership is None:
            raise NotFound(f"{email} is not a member of this organization.")
        await tx.delete(membership)
        revoked = await accounts.revoke_keys_of_user(tx, organization.id, user.id, now=now)
        write_audit(
            tx,
            actor,
            "member.remove",
            target=("user", user.id),
            now=now,
            organization_id=organization.id,
            before={"user": user.email},
            after={"revoked_keys": revoked},
        )
    return revoked


async def _find_organization(tx: Transaction, organization_id: str) -> Organization:
    found = await accounts.find_organization(tx, organization_id) if is_uuid(organization_id) else None
    if found is None or found.id == OPERATORS:
        raise NotFound(f"There is no organization {organization_id}; `sendoff orgs list` shows those there are.")
    return found


async def _find_or_create_member(tx: Transaction, organization_id: str, email: str, now: datetime) -> User:
    user = await accounts.find_or_insert_user(tx, User(id=new_id(), email=email.strip().lower(), created_at=now))
    await accounts.insert_membership_if_new(
        tx, Membership(organization_id=organization_id, user_id=user.id, created_at=now)
    )
    return user


def _check_credits(credits: int | None) -> None:  # noqa: A002
    if credits is not None and credits < 0:
        raise Invalid("Credits are 0 or more.", field="credits")


def _check_scopes(scopes: Sequence[str]) -> None:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise Invalid(f"Unknown scope {unknown[0]!r}; there are {', '.join(SCOPES)}.", field="scope")
    if not scopes:
        raise Invalid(f"A key needs at least one scope; there are {', '.join(SCOPES)}.", field="scope")
