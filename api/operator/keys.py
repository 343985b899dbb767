"""`/operator/v1/keys`: API keys of all organizations. A key is shown once, when it is made."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES
from sendoff.store.queries.accounts import ListedKey

from ..http.dependencies import ContextOf, Operator, OperatorReader, json_body
from ..http.idempotency import Write
from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Id, Page, QueryTime, ResponseModel, Time
from ..http.validation import RequestBody, Text, UuidText
from ..openapi.operations import body_of, error_responses
from .schemas import ListQuery

router = APIRouter(prefix="/operator/v1/keys", tags=["operator: organizations"])


class KeyQuery(ListQuery):
    """Which keys, of one organization or of all."""

    organization_id: UuidText | None = None


class NewKey(RequestBody):
    """A new API key."""

    organization_id: UuidText
    user: Text = Field(description="The e-mail address of its user, who becomes a member of the organization.")
    scopes: list[str] = Field(
        description=f"One or more of {', '.join(SCOPES)}.",
        json_schema_extra={"minItems": 1, "items": {"type": "string", "enum": list(SCOPES)}},
    )
    expires_at: QueryTime | None = Field(None, description="When it stops to be valid; never without it.")


class KeyView(ResponseModel):
    """An API key, by its first twelve characters."""

    id: Id
    organization_id: Id
    prefix: str
    user: str
    scopes: list[str]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None

    @classmethod
    def fields_of(cls, listed: ListedKey) -> dict[str, Any]:
        """The fields of this class."""
        return listed.key.model_dump(include=set(KeyView.model_fields)) | {"user": listed.email}

    @classmethod
    def of(cls, listed: ListedKey) -> Self:
        return cls(**cls.fields_of(listed))


class MintedKeyView(KeyView):
    """A new API key. `key` is shown this once."""

    key: str


@router.get("", operation_id="listKeys", responses=error_responses(400))
async def list_page(_auth: OperatorReader, context: ContextOf, query: Annotated[KeyQuery, Query()]) -> Page[KeyView]:
    """API keys, newest first, those that are revoked or have expired as well."""
    before = decode_cursor(query.cursor)
    found = await organizations.page_keys(
        context, organization_id=query.organization_id, limit=query.limit + 1, before=before
    )
    page, cursor = split_page(found, query.limit, lambda listed: listed.key.id)
    return Page(data=[KeyView.of(one) for one in page], next_cursor=cursor)


@router.post(
    "",
    operation_id="createKey",
    status_code=201,
    openapi_extra=body_of(NewKey),
    response_model=MintedKeyView,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def create(
    auth: Operator, write: Write, context: ContextOf, body: Annotated[NewKey, Depends(json_body(NewKey))]
) -> Response:
    """A new API key. Keep it: it is not shown again."""

    async def work() -> MintedKeyView:
        minted = await organizations.create_key(
            context,
            auth.actor,
            organization_id=body.organization_id,
            email=body.user,
            scopes=body.scopes,
            expires_at=body.expires_at,
        )
        listed = await organizations.get_key(context, minted.id)
        return MintedKeyView(**KeyView.fields_of(listed), key=minted.key)

    return await write.once(auth, work, status=201, shows_secret=True)


@router.post(
    "/{key_id}/revoke", operation_id="revokeKey", response_model=KeyView, responses=error_responses(400, 404, 409)
)
async def revoke(auth: Operator, write: Write, context: ContextOf, key_id: Id) -> Response:
    """End a key at once, in every process. Sessions that were opened with it end as well."""

    async def work() -> KeyView:
        await organizations.revoke_key(context, auth.actor, key_id)
        return KeyView.of(await organizations.get_key(context, key_id))

    return await write.once(auth, work)
