"""Users and members are there once, however many keys are minted for them at the same moment."""

from __future__ import annotations

import asyncio

import pytest
from sqlmodel import col, select

from sendoff.accounts import organizations
from sendoff.accounts.authentication import OPERATOR
from sendoff.context import Context
from sendoff.errors import Invalid
from sendoff.store.tables import ApiKey, Membership, User
from tests.support.app_fixture import ACTOR, open_app


async def mint(context: Context, organization_id: str, email: str) -> str:
    minted = await organizations.create_key(
        context, ACTOR, organization_id=organization_id, email=email, scopes=[OPERATOR]
    )
    return minted.id


async def test_keys_minted_at_once_for_a_new_user_are_one_users(database_url: str) -> None:
    async with open_app(database_url) as app:
        mine = app.principal.organization_id
        other = (await organizations.create_organization(app.context, ACTOR, name="Other", credits=None)).id
        spellings = [" New@example.com", "new@example.com", "NEW@EXAMPLE.COM "]
        calls = [mint(app.context, owner, email) for owner in (mine, other) * 3 for email in spellings]
        minted = await asyncio.gather(*calls)
        async with app.transaction() as tx:
            [user] = (await tx.scalars(select(User).where(col(User.email) == "new@example.com"))).all()
            members = (await tx.scalars(select(Membership).where(col(Membership.user_id) == user.id))).all()
            keys = (await tx.scalars(select(ApiKey).where(col(ApiKey.user_id) == user.id))).all()
        assert sorted(member.organization_id for member in members) == sorted([mine, other])
        assert sorted(key.id for key in keys) == sorted(minted)


async def test_an_organizations_name_is_bounded(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        with pytest.raises(Invalid) as refused:
            await organizations.create_organization(app.context, ACTOR, name="x" * 201, credits=None)
        assert refused.value.field == "name"
        kept = await organizations.create_organization(app.context, ACTOR, name=" " + "é" * 200, credits=None)
        assert len(kept.name) == 200
