"""Organizations, their members and their API keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, update
from sqlmodel import col, select

from sendoff.ids import is_uuid
from sendoff.policy.operational_events import OPERATORS
from sendoff.store.engine.batch import insert_or_ignore
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import newest_first
from sendoff.store.tables import ApiKey, Membership, Organization, User


async def find_organization(tx: Transaction, organization_id: str) -> Organization | None:
    return await tx.get(Organization, organization_id)


async def names_of(tx: Transaction, organization_ids: Iterable[str]) -> dict[str, str]:
    """The names of the existing organizations among these, by id."""
    query = select(Organization.id, Organization.name).where(col(Organization.id).in_(set(organization_ids)))
    return {row.id: row.name for row in (await tx.execute(query)).all()}


async def lock_organization(tx: Transaction, organization_id: str) -> None:
    """Hold the organization until the transaction ends, against others that lock it."""
    query = select(Organization.id).where(col(Organization.id) == organization_id)
    await tx.execute(query.with_for_update(key_share=True))


async def insert_organization_if_new(tx: Transaction, new: Organization) -> None:
    """Insert the organization unless there is one with its id or external id; waits for a concurrent insert of it."""
    await _insert_if_new(tx, new)


async def list_organizations(tx: Transaction) -> list[Organization]:
    """All organizations but the operators' own, newest first."""
    query = select(Organization).where(col(Organization.id) != OPERATORS)
    return list((await tx.scalars(query.order_by(col(Organization.id).desc()))).all())


async def page_organizations(tx: Transaction, *, limit: int, before: str | None) -> list[Organization]:
    """All organizations but the operators' own, newest first, at most `limit`, older than the id `before`."""
    query = select(Organization).where(col(Organization.id) != OPERATORS)
    query = newest_first(query, col(Organization.id), limit=limit, before=before)
    return list((await tx.scalars(query)).all())


async def find_by_external_id(tx: Transaction, external_id: str) -> Organization | None:
    query = select(Organization).where(col(Organization.external_id) == external_id)
    return (await tx.scalars(query)).one_or_none()


async def find_organizations(tx: Transaction, names: Iterable[str]) -> dict[str, Organization]:
    """The organizations but the operators' own among `names`, which are ids or external ids, by what named them."""
    wanted = set(names)
    ids = {one.lower(): one for one in wanted if is_uuid(one)}
    chosen = or_(col(Organization.id).in_(ids), col(Organization.external_id).in_(wanted))
    found = await tx.scalars(select(Organization).where(chosen, col(Organization.id) != OPERATORS))
    by_name: dict[str, Organization] = {}
    for organization in found:
        if organization.external_id in wanted:
            by_name.setdefault(organization.external_id, organization)
        if organization.id in ids:
            by_name[ids[organization.id]] = organization
    return by_name


async def hold_organizations(tx: Transaction, organization_ids: Iterable[str]) -> list[Organization]:
    """The organizations, which nobody suspends or moves until the transaction ends."""
    query = select(Organization).where(col(Organization.id).in_(set(organization_ids))).order_by(col(Organization.id))
    return list(await tx.scalars(query.with_for_update(read=True)))


async def find_user(tx: Transaction, email: str) -> User | None:
    """The user with that e-mail address, compared without regard to case."""
    return (await tx.scalars(select(User).where(col(User.email) == email.strip().lower()))).one_or_none()


async def find_or_insert_user(tx: Transaction, new: User) -> User:
    """The user with the new one's e-mail address (in lower case): the existing one, or else `new`, now inserted."""
    await _insert_if_new(tx, new)
    return (await tx.scalars(select(User).where(col(User.email) == new.email))).one()


async def get_user(tx: Transaction, user_id: str) -> User | None:
    return await tx.get(User, user_id)


async def find_membership(tx: Transaction, organization_id: str, user_id: str) -> Membership | None:
    return await tx.get(Membership, (organization_id, user_id))


async def find_member(tx: Transaction, organization_id: str, email: str | None = None) -> str | None:
    """The id of the member with that e-mail address, or without one of the organization's first member."""
    query = (
        select(User.id)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(col(Membership.organization_id) == organization_id)
        .order_by(col(Membership.created_at), col(User.id))
        .limit(1)
    )
    if email is not None:
        query = query.where(col(User.email) == email.strip().lower())
    return (await tx.scalars(query)).one_or_none()


async def insert_membership_if_new(tx: Transaction, membership: Membership) -> None:
    """Make the user a member of the organization, which they may be already."""
    await _insert_if_new(tx, membership)


async def _insert_if_new(tx: Transaction, row: User | Membership | Organization) -> None:
    """Insert the row unless a unique column says that it is there; a concurrent insert of it is waited for."""
    await tx.execute(insert_or_ignore(tx, type(row)).values(row.model_dump()))


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An API key as authentication sees it; revoked and expired ones are known as well."""

    id: str
    prefix: str
    organization_id: str
    user_id: str
    scopes: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    is_suspended: bool
    """Whether its organization is suspended."""
    moved_to: str | None = None
    """The cell that its organization moves to, or has moved to."""


async def find_key(tx: Transaction, key_id: str) -> ApiKey | None:
    return await tx.get(ApiKey, key_id)


@dataclass(frozen=True, slots=True)
class ListedKey:
    """An API key with its user's e-mail address."""

    key: ApiKey
    email: str


async def list_keys(tx: Transaction, organization_id: str) -> list[ListedKey]:
    """The organization's API keys, newest first."""
    query = _keys().where(col(ApiKey.organization_id) == organization_id).order_by(col(ApiKey.id).desc())
    return [ListedKey(key, email) for key, email in (await tx.execute(query)).all()]


async def page_keys(tx: Transaction, *, organization_id: str | None, limit: int, before: str | None) -> list[ListedKey]:
    """API keys of one organization or of all, newest first, at most `limit`, older than the id `before`."""
    query = _keys()
    if organization_id is not None:
        query = query.where(col(ApiKey.organization_id) == organization_id)
    query = newest_first(query, col(ApiKey.id), limit=limit, before=before)
    return [ListedKey(key, email) for key, email in (await tx.execute(query)).all()]


async def keys_with_prefix(tx: Transaction, prefix: str, *, limit: int) -> list[ListedKey]:
    """API keys that lists show with this prefix, newest first. Reads all keys."""
    query = _keys().where(col(ApiKey.prefix).startswith(prefix, autoescape=True))
    query = newest_first(query, col(ApiKey.id), limit=limit, before=None)
    return [ListedKey(key, email) for key, email in (await tx.execute(query)).all()]


async def keys_of_user(tx: Transaction, email: str, *, limit: int) -> list[ListedKey]:
    """The API keys that this user minted, newest first."""
    query = _keys().where(col(User.email) == email.lower())
    query = newest_first(query, col(ApiKey.id), limit=limit, before=None)
    return [ListedKey(key, found) for key, found in (await tx.execute(query)).all()]


async def organizations_of_user(tx: Transaction, email: str, *, limit: int) -> list[Organization]:
    """The organizations that this user is a member of, newest first."""
    query = (
        select(Organization)
        .join(Membership, col(Membership.organization_id) == col(Organization.id))
        .join(User, col(User.id) == col(Membership.user_id))
        .where(col(User.email) == email.lower())
    )
    return list((await tx.scalars(newest_first(query, col(Organization.id), limit=limit, before=None))).all())


async def named_like(tx: Transaction, text: str, *, limit: int) -> list[Organization]:
    """Organizations whose name or external id contains the text, newest first. Reads all organizations."""
    query = select(Organization).where(
        col(Organization.name).icontains(text, autoescape=True)
        | col(Organization.external_id).icontains(text, autoescape=True)
    )
    return list((await tx.scalars(newest_first(query, col(Organization.id), limit=limit, before=None))).all())


def _keys() -> Any:
    return select(ApiKey, User.email).join(User, col(User.id) == col(ApiKey.user_id))


async def revoke_keys_of_user(tx: Transaction, organization_id: str, user_id: str, *, now: datetime) -> list[str]:
    """Revoke what this user minted for the organization; the ids of the keys that were still valid."""
    result = await tx.execute(
        update(ApiKey)
        .where(
            col(ApiKey.organization_id) == organization_id,
            col(ApiKey.user_id) == user_id,
            col(ApiKey.revoked_at).is_(None),
        )
        .values(revoked_at=now)
        .returning(col(ApiKey.id))
    )
    return [row.id for row in result]


async def charge_credits(tx: Transaction, organization_id: str, amount: int) -> bool:
    """Take `amount` credits if the balance allows it; False, and nothing taken, if not or without a subscription."""
    result = await tx.execute(
        update(Organization)
        .where(col(Organization.id) == organization_id, col(Organization.credits) >= amount)
        .values(credits=col(Organization.credits) - amount)
        .returning(col(Organization.id))
        .execution_options(synchronize_session=False)
    )
    return result.first() is not None


async def refund_credits(tx: Transaction, organization_id: str, amount: int) -> None:
    """Give credits back."""
    await tx.execute(
        update(Organization)
        .where(col(Organization.id) == organization_id)
        .values(credits=col(Organization.credits) + amount)
        .execution_options(synchronize_session=False)
    )
