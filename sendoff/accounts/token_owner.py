"""The owner of a bearer token, on surfaces that accept OAuth access tokens as well as API keys."""

from __future__ import annotations

from dataclasses import dataclass

from sendoff.accounts.authentication import KEY_PREFIX, authenticate, bearer_token, check_organization
from sendoff.accounts.jwks import KeySet
from sendoff.accounts.oauth import AccessToken, read_access_token
from sendoff.context import Context
from sendoff.errors import Forbidden, MissingScope, Unauthenticated
from sendoff.ids import is_uuid
from sendoff.policy.operational_events import OPERATORS
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts
from sendoff.store.tables import Organization


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """The owner of a token. The client is the API key itself, or the OAuth client that the token was issued to."""

    organization_id: str
    client_id: str
    user_id: str | None
    """The local user, if the subject is one."""
    subject: str | None
    """The user as the token names it."""
    scopes: frozenset[str]
    actor: str
    """The bearer as the audit log names it."""
    suspended: bool
    moved_to: str | None = None

    def check(self) -> None:
        """Raise Moved or Suspended when the organization is."""
        check_organization(suspended=self.suspended, moved_to=self.moved_to)

    def require(self, scope: str) -> None:
        """Raise Suspended when the organization is, MissingScope unless the token carries `scope`."""
        self.check()
        if scope not in self.scopes:
            raise MissingScope(f"This token lacks the scope `{scope}`.")


@dataclass(frozen=True, slots=True)
class OwnerNames:
    """Names for what a owner has ids of."""

    organization_name: str
    email: str | None


async def authenticate_token(context: Context, authorization: str | None) -> TokenOwner:
    """The owner of an `Authorization` header's value: one of our API keys or, if configured, an access token.

    Raises Unauthenticated; Forbidden for a genuine access token whose business or member is unknown here.
    """
    token = bearer_token(authorization)
    if token.startswith(KEY_PREFIX):
        return await _of_key(context, authorization)
    if context.settings.oauth_jwks is None or token.count(".") != 2:
        raise Unauthenticated
    now = context.clock.machine_now().timestamp()
    return await _of_access_token(
        context, await read_access_token(context.settings, context.service(KeySet.of), token, now=now)
    )


async def find_owner_names(context: Context, owner: TokenOwner) -> OwnerNames:
    """The name of the user or client that the owner was issued to."""
    async with context.database.read() as tx:
        organization = await _organization(tx, owner.organization_id)
        user = await accounts.get_user(tx, owner.user_id) if owner.user_id else None
    return OwnerNames(organization.name, user.email if user else None)


async def _of_key(context: Context, authorization: str | None) -> TokenOwner:
    principal = await authenticate(context, authorization)
    return TokenOwner(
        organization_id=principal.organization_id,
        client_id=principal.key_id,
        user_id=principal.user_id,
        subject=principal.user_id,
        scopes=principal.scopes,
        actor=f"key:{principal.key_prefix}",
        suspended=principal.suspended,
        moved_to=principal.moved_to,
    )


async def _of_access_token(context: Context, token: AccessToken) -> TokenOwner:
    async with context.database.read() as tx:
        organization = await _organization(tx, token.business)
        user_id = await _user_of(tx, organization, token.subject)
    return TokenOwner(
        organization_id=organization.id,
        client_id=token.client_id,
        user_id=user_id,
        subject=token.subject,
        scopes=token.scopes,
        actor=f"oauth:{token.client_id}",
        suspended=organization.suspended_at is not None,
        moved_to=organization.moved_to,
    )


async def _organization(tx: Transaction, identifier: str) -> Organization:
    found = await accounts.find_organization(tx, identifier.lower()) if is_uuid(identifier) else None
    if found is None or found.id == OPERATORS:
        raise Forbidden("The token's business is not known here.")
    return found


async def _user_of(tx: Transaction, organization: Organization, subject: str | None) -> str | None:
    """The local user with this subject, if any. Raises Forbidden if the user was removed from the organization."""
    user = await accounts.get_user(tx, subject.lower()) if subject and is_uuid(subject) else None
    if user is None:
        return None
    if await accounts.find_membership(tx, organization.id, user.id) is None:
        raise Forbidden("The token's user does not belong to its business.")
    return user.id
