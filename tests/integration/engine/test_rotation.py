"""Rotating secrets: an endpoint's, with an overlap in which both sign, and the keys that encrypt them all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sendoff.context import Context
from sendoff.endpoints.manage import EndpointChange, delete_endpoint, update_endpoint
from sendoff.endpoints.secrets import rotate_secret
from sendoff.errors import NotFound
from sendoff.idempotency import IdempotentRequest, StoredResponse, complete, reserve
from sendoff.maintenance.key_rotation import KeyUse, count_key_use, rotate_keys
from sendoff.maintenance.purge import purge_expired
from sendoff.operators.queries import list_audit
from sendoff.operators.replays.replay import Selection, start_replay, tick_replay
from sendoff.store.queries import endpoints
from sendoff.store.queries.audit import AuditFilter
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Endpoint
from sendoff.store.vault import CannotOpenSecret, Vault
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.exchange import Received
from tests.support.receiver import Receiver
from tests.support.reference_signatures import timestamped_marks

DAY = 86_400
OLD, NEW = "o" * 32, "n" * 32


def is_signed_by(request: Received, *secrets: str) -> bool:
    return timestamped_marks(request.header("X-OptimalDial-Signature"), request.body, list(secrets))


async def send_one(app: AppFixture, receiver: Receiver) -> Received:
    receiver.forget()
    await app.publish()
    await app.work()
    [request] = receiver.requests("/hook")
    return request


async def find(app: AppFixture, endpoint_id: str) -> Endpoint:
    async with app.transaction() as tx:
        found = await endpoints.find(tx, endpoint_id)
    assert found is not None
    return found


async def rotate(app: AppFixture, endpoint_id: str, *, overlap_seconds: float | None = None) -> str:
    organization_id = app.principal.organization_id
    rotated = await rotate_secret(app.context, organization_id, ACTOR, endpoint_id, overlap_seconds=overlap_seconds)
    return rotated.secret


async def test_both_secrets_sign_newest_first_until_the_overlap_of_a_day_ends(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        old = registered.secret
        assert is_signed_by(await send_one(app, receiver), old)

        new = await rotate(app, registered.endpoint.id)
        assert new != old
        assert is_signed_by(await send_one(app, receiver), new, old)
        app.clock.advance(DAY - 1)
        assert is_signed_by(await send_one(app, receiver), new, old)
        app.clock.advance(1)
        assert is_signed_by(await send_one(app, receiver), new)


async def test_an_ended_secret_is_forgotten_and_one_that_still_signs_is_not(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        await rotate(app, registered.endpoint.id)
        await purge_expired(app.context)
        assert (await find(app, registered.endpoint.id)).previous_secret is not None
        app.clock.advance(DAY)
        await purge_expired(app.context)
        after = await find(app, registered.endpoint.id)
        assert (after.previous_secret, after.previous_secret_until) == (None, None)


async def test_a_second_rotation_within_the_overlap_ends_the_oldest_secret(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, secret_overlap_seconds=600) as app:
        registered = await app.register(receiver.url("/hook"))
        second = await rotate(app, registered.endpoint.id)
        third = await rotate(app, registered.endpoint.id)
        assert is_signed_by(await send_one(app, receiver), third, second)
        app.clock.advance(600)
        assert is_signed_by(await send_one(app, receiver), third)


async def test_without_an_overlap_the_old_secret_ends_at_once(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url) as app:
        registered = await app.register(receiver.url("/hook"))
        await rotate(app, registered.endpoint.id)
        newest = await rotate(app, registered.endpoint.id, overlap_seconds=0)
        assert is_signed_by(await send_one(app, receiver), newest)
        assert (await find(app, registered.endpoint.id)).previous_secret is None


async def test_a_retry_and_a_replay_sign_with_the_current_secrets(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, retry_schedule=[60]) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        first = await send_one(app, receiver)
        assert is_signed_by(first, registered.secret)
        new = await rotate(app, registered.endpoint.id)
        receiver.forget()
        app.clock.advance(60)
        await app.work()
        [retried] = receiver.requests("/hook")
        assert is_signed_by(retried, new, registered.secret)
        assert retried.body == first.body

        app.clock.advance(DAY)
        receiver.program("/hook", 200)
        receiver.forget()
        started = await start_replay(app.context, ACTOR, Selection(DeadLetterFilter()))
        app.clock.advance(1)
        await tick_replay(app.context, started.replay.id)
        await app.work()
        [replayed] = receiver.requests("/hook")
        assert is_signed_by(replayed, new)
        assert replayed.body == first.body


async def test_the_ping_of_a_changed_url_is_signed_like_a_delivery(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url) as app:
        registered = await app.register(receiver.url("/hook"))
        new = await rotate(app, registered.endpoint.id)
        change = EndpointChange({"url": receiver.url("/moved")})
        organization_id = app.principal.organization_id
        await update_endpoint(app.context, organization_id, ACTOR, registered.endpoint.id, change)
        [ping] = receiver.requests("/moved")
        assert is_signed_by(ping, new, registered.secret)


async def test_a_rotation_is_in_the_audit_log_and_no_secret_is(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url) as app:
        registered = await app.register(receiver.url("/hook"))
        secret = await rotate(app, registered.endpoint.id)
        [entry] = await list_audit(app.context, AuditFilter(action="endpoint.rotate_secret"), limit=10)
        ends = app.clock.now() + timedelta(seconds=DAY)
        assert (entry.actor, entry.target_id) == (ACTOR.name, registered.endpoint.id)
        assert entry.after == {"previous_signs_until": ends.isoformat(timespec="milliseconds")}
        assert secret not in repr(await find(app, registered.endpoint.id))


async def test_another_organizations_and_deleted_endpoints_have_no_secret_to_rotate(
    sqlite_url: str, receiver: Receiver
) -> None:
    async with open_app(sqlite_url) as app:
        registered = await app.register(receiver.url("/hook"))
        with pytest.raises(NotFound):
            await rotate_secret(app.context, registered.endpoint.id, ACTOR, registered.endpoint.id)
        await delete_endpoint(app.context, app.principal.organization_id, ACTOR, registered.endpoint.id)
        with pytest.raises(NotFound):
            await rotate(app, registered.endpoint.id)


def with_keys(context: Context, *keys: str) -> Context:
    return replace(context, vault=Vault(keys))


async def test_keys_are_rotated_while_everything_goes_on_and_the_old_one_can_be_dropped(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, secret_keys=[OLD]) as app:
        paths = [f"/{number}" for number in range(5)]
        registered = [await app.register(receiver.url(path)) for path in paths]
        new = await rotate(app, registered[0].endpoint.id)
        old_id, new_id = Vault([OLD]).newest_key_id, Vault([NEW]).newest_key_id

        app.context = with_keys(app.context, NEW, OLD)
        assert await count_key_use(app.context) == [KeyUse(new_id, True, True, 0), KeyUse(old_id, False, True, 6)]
        done = await rotate_keys(app.context, ACTOR)
        assert (done.resealed, done.current, done.unopenable) == (6, 0, 0)
        again = await rotate_keys(app.context, ACTOR)
        assert (again.resealed, again.current, again.unopenable) == (0, 6, 0)
        [entry] = await list_audit(app.context, AuditFilter(action="secrets.rotate_keys"), limit=10)
        assert (entry.target_id, entry.after) == (new_id, {"resealed": 6, "in": "endpoints"})

        app.context = with_keys(app.context, NEW)
        assert await count_key_use(app.context) == [KeyUse(new_id, True, True, 6)]
        receiver.forget()
        await app.publish()
        await app.work()
        assert sorted(request.path for request in receiver.requests()) == paths
        assert is_signed_by(receiver.requests("/0")[0], new, registered[0].secret)
        assert is_signed_by(receiver.requests("/1")[0], registered[1].secret)


async def test_stored_answers_are_reencrypted_and_still_replayed(database_url: str) -> None:
    async with open_app(database_url, secret_keys=[OLD]) as app:
        requests = [IdempotentRequest(app.principal.organization_id, f"key {n}", "same") for n in range(450)]
        first = StoredResponse(200, b'{"secret": "shown once"}')
        async with app.context.database.write() as tx:
            for request in requests:
                assert await reserve(tx, app.context, request) is None
                await complete(tx, app.context, request, first)
        app.context = with_keys(app.context, NEW, OLD)
        done = await rotate_keys(app.context, ACTOR)
        assert (done.resealed, done.current, done.unopenable) == (450, 0, 0)
        app.context = with_keys(app.context, NEW)
        async with app.context.database.write() as tx:
            again = [await reserve(tx, app.context, request) for request in requests]
        assert {stored.body for stored in again if stored} == {first.body}
        assert None not in again


async def test_a_secret_whose_key_is_missing_is_counted_and_left_alone(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, secret_keys=[OLD]) as app:
        registered = await app.register(receiver.url("/hook"))
        before = (await find(app, registered.endpoint.id)).secret
        app.context = with_keys(app.context, NEW)
        done = await rotate_keys(app.context, ACTOR)
        assert (done.resealed, done.unopenable) == (0, 1)
        assert (await find(app, registered.endpoint.id)).secret == before
        old_id, new_id = Vault([OLD]).newest_key_id, Vault([NEW]).newest_key_id
        assert await count_key_use(app.context) == [KeyUse(new_id, True, True, 0), KeyUse(old_id, False, False, 1)]


async def test_a_delivery_whose_secret_cannot_be_opened_waits_without_costing_an_attempt(
    sqlite_url: str, receiver: Receiver
) -> None:
    async with open_app(sqlite_url, secret_keys=[OLD]) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.forget()
        context, app.context = app.context, with_keys(app.context, NEW)
        await app.publish()
        await app.work()
        assert receiver.requests() == []
        app.context = context
        app.clock.advance(3600)
        await app.work()
        [request] = receiver.requests("/hook")
        assert request.header("X-OptimalDial-Attempt") == "1"
        assert (await find(app, registered.endpoint.id)).consecutive_failures == 0


def test_ciphertext_opens_only_for_its_row_and_under_its_key() -> None:
    vault = Vault([NEW, OLD])
    sealed = Vault([OLD]).seal("secret", bound_to="row")
    assert vault.open(sealed, bound_to="row") == "secret"
    for broken in (sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:20], b"", b"\x02" + sealed[1:]):
        with pytest.raises(CannotOpenSecret):
            vault.open(broken, bound_to="row")
    with pytest.raises(CannotOpenSecret):
        vault.open(sealed, bound_to="another")
    with pytest.raises(CannotOpenSecret):
        Vault([NEW]).open(sealed, bound_to="row")
    resealed = vault.reseal(sealed, bound_to="row")
    assert resealed is not None
    assert Vault([NEW]).open(resealed, bound_to="row") == "secret"
    assert vault.reseal(resealed, bound_to="row") is None
    assert NEW not in repr(vault)
