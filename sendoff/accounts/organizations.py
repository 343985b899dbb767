"""Organizations, members and API keys, as operators manage them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sendoff.accounts.authentication import KEY_PREFIX, SCOPES, hash_key
from sendoff.audit import Actor, write_audit
from sendoff.clock import iso
from sendoff.context import Context
from sendoff.errors import Conflict, Invalid, NotFound
from sendoff.ids import is_uuid, new_id
from sendoff.policy.operational_events import OPERATORS
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts
from sendoff.store.queries.accounts import ListedKey
from sendoff.store.tables import ApiKey, Membership, Organization, User

DISPLAY_PREFIX_LENGTH = 12
"""Characters of a key that lists and the audit log show. More would give away more of the secret."""

_EXTERNAL_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")

LONGEST_NAME = 200
"""Characters of an organization's name, which stands in lists and in entries of the audit log."""


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new API key; `key` is shown this once."""

    id: str
    key: str

    def __repr__(self) -> str:
        return f"MintedKey(id={self.id!r})"


async def create_organization(
    context: Context,
    actor: Actor,
    *,
    name: str,
    credits: int | None,  # noqa: A002
    external_id: str | None = None,
) -> Organization:
    """A new organization; with `credits` (0 or more) it has an active subscription, without it has none.

    `external_id` is what the product's own backend calls it. Raises Conflict if another one has it.
    """
    organization = _new_organization(context, name, credits, external_id)
    async with context.database.write() as tx:
        if external_id is not None and await accounts.find_by_external_id(tx, external_id) is not None:
            raise Conflict(f"There is an organization with the external id {external_id!r} already.")
        tx.add(organization)
        _audit_creation(tx, actor, organization)
    return organization


async def put_organization(
    context: Context,
    actor: Actor,
    external_id: str,
    *,
    name: str,
    credits: int | None = None,  # noqa: A002
) -> tuple[Organization, bool]:
    """The organization with this external id, made if there is none, and whether it was made.

    One that there was gets the name and, unless None, the credits. Safe to repeat, also at the same time.
    """
    new = _new_organization(context, name, credits, external_id)
    async with context.database.write() as tx:
        await accounts.insert_organization_if_new(tx, new)
        found = await accounts.find_by_external_id(tx, external_id)
        if found is None or found.id == new.id:
            _audit_creation(tx, actor, new)
            return found or new, True
        before = {"name": found.name, "credits": found.credits}
        found.name = new.name
        found.credits = found.credits if credits is None else credits
        after = {"name": found.name, "credits": found.credits}
        if before != after:
            write_audit(
                tx,
                actor,
                "organization.update",
                target=("organization", found.id),
                now=context.clock.now(),
                organization_id=found.id,
                before=before,
                after=after,
            )
    return found, False


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


async def get_organization(context: Context, identifier: str) -> Organization:
    """An organization by its id or its external id. Raises NotFound."""
    async with context.database.read() as tx:
        found = await accounts.find_organization(tx, identifier) if is_uuid(identifier) else None
        if found is None and _EXTERNAL_ID.fullmatch(identifier):
            found = await accounts.find_by_external_id(tx, identifier)
    if found is None:
        raise NotFound("There is no such organization.")
    return found


async def find_names(context: Context, organization_ids: Iterable[str]) -> dict[str, str]:
    """The names of the organizations that exist, by id."""
    async with context.database.read() as tx:
        return await accounts.names_of(tx, organization_ids)


async def page_organizations(context: Context, *, limit: int, before: str | None = None) -> list[Organization]:
    """Organizations, newest first, at most `limit`."""
    async with context.database.read() as tx:
        return await accounts.page_organizations(tx, limit=limit, before=before)


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


async def page_keys(
    context: Context, *, organization_id: str | None = None, limit: int, before: str | None = None
) -> list[ListedKey]:
    """API keys of one organization or of all, newest first, at most `limit`; never the keys themselves."""
    async with context.database.read() as tx:
        return await accounts.page_keys(tx, organization_id=organization_id, limit=limit, before=before)


async def get_key(context: Context, key_id: str) -> ListedKey:
    """One API key; never the key itself. Raises NotFound."""
    async with context.database.read() as tx:
        key = await accounts.find_key(tx, key_id) if is_uuid(key_id) else None
        user = await accounts.get_user(tx, key.user_id) if key else None
    if key is None or user is None:
        raise NotFound(f"There is no API key {key_id}.")
    return ListedKey(key, user.email)


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


def _new_organization(
    context: Context,
    name: str,
    credits: int | None,  # noqa: A002
    external_id: str | None,
) -> Organization:
    name = name.strip()
    if not name:
        raise Invalid("The organization needs a name.", field="name")
    if len(name) > LONGEST_NAME:
        raise Invalid(f"The organization's name takes at most {LONGEST_NAME} characters; shorten it.", field="name")
    if "\0" in name:
        raise Invalid("The organization's name holds a NUL character; take it out.", field="name")
    _check_credits(credits)
    if external_id is not None and not _EXTERNAL_ID.fullmatch(external_id):
        raise Invalid(
            "`external_id` takes 1 to 128 letters, digits and characters of `.-_:@`; change it.", field="external_id"
        )
    now = context.clock.now()
    return Organization(id=new_id(), name=name, credits=credits, external_id=external_id, created_at=now)


def _audit_creation(tx: Transaction, actor: Actor, organization: Organization) -> None:
    made = {"name": organization.name, "credits": organization.credits}
    if organization.external_id is not None:
        made["external_id"] = organization.external_id
    write_audit(
        tx,
        actor,
        "organization.create",
        target=("organization", organization.id),
        now=organization.created_at,
        organization_id=organization.id,
        after=made,
    )


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
