"""Users and members are there once, however many keys are minted for them at the same moment."""

from __future__ import annotations

import asyncio

from sqlmodel import col, select

from sendoff.operations import accounts
from sendoff.operations.authenticate import OPERATOR
from sendoff.operations.runtime import Runtime
from sendoff.store.tables import ApiKey, Membership, User
from tests.support.house import ACTOR, open_house


async def mint(runtime: Runtime, organization_id: str, email: str) -> str:
    minted = await accounts.create_key(runtime, ACTOR, organization_id=organization_id, email=email, scopes=[OPERATOR])
    return minted.id


async def test_keys_minted_at_once_for_a_new_user_are_one_users(database_url: str) -> None:
    async with open_house(database_url) as house:
        mine = house.principal.organization_id
        other = (await accounts.create_organization(house.runtime, ACTOR, name="Other", credits=None)).id
        spellings = [" New@example.com", "new@example.com", "NEW@EXAMPLE.COM "]
        calls = [mint(house.runtime, owner, email) for owner in (mine, other) * 3 for email in spellings]
        minted = await asyncio.gather(*calls)
        async with house.transaction() as tx:
            [user] = (await tx.scalars(select(User).where(col(User.email) == "new@example.com"))).all()
            members = (await tx.scalars(select(Membership).where(col(Membership.user_id) == user.id))).all()
            keys = (await tx.scalars(select(ApiKey).where(col(ApiKey.user_id) == user.id))).all()
        assert sorted(member.organization_id for member in members) == sorted([mine, other])
        assert sorted(key.id for key in keys) == sorted(minted)
