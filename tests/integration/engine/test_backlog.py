"""A backlog is held when it is inserted: what exceeds the quota of an endpoint is held, not due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from sendoff.accounts import organizations
from sendoff.policy.delivery.admission import most_due
from sendoff.policy.states import DeliveryState
from sendoff.publishing.batcher import PublishBatcher
from sendoff.publishing.publish import AcceptedEvent, NewEvent
from sendoff.store.queries.traffic import delivery_history
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.receiver import Receiver

CAP = 2
AT_ONCE = most_due(CAP, slots=1_000)
MORE = 5
COMPLETED, FAILED = NewEvent("upload.completed", b"{}"), NewEvent("upload.failed", b"{}")


class _Publisher:
    """Publishes within a transaction of its own or together with others, by the test's parameter."""

    def __init__(self, app: AppFixture, *, together: bool) -> None:
        self._app = app
        self._together = together

    async def publish(self, *events: NewEvent) -> list[AcceptedEvent]:
        if not self._together:
            return await self._app.publish(*events)
        organization_id = self._app.principal.organization_id
        minted = await organizations.create_key(
            self._app.context, ACTOR, organization_id=organization_id, email="a@example.com", scopes=["events:write"]
        )
        return await PublishBatcher(self._app.context).publish(f"Bearer {minted.key}", events, in_batch=True)


async def states(app: AppFixture, accepted: Sequence[AcceptedEvent]) -> Counter[str]:
    ids = [delivery_id for event in accepted for delivery_id in event.delivery_ids]
    async with app.transaction() as tx:
        return Counter(delivery.state for delivery in await delivery_history.find_many(tx, ids))


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
async def test_deliveries_beyond_the_quota_are_held_and_sent_later(
    database_url: str, receiver: Receiver, *, together: bool
) -> None:
    async with open_app(database_url, endpoint_max_in_flight=CAP) as app:
        busy = await app.register(receiver.url("/busy"), "upload.completed")
        await app.register(receiver.url("/quiet"), "upload.failed")
        events = [*[COMPLETED] * (AT_ONCE + MORE), FAILED]
        accepted = await _Publisher(app, together=together).publish(*events)
        assert await states(app, accepted) == {DeliveryState.PENDING: AT_ONCE + 1, DeliveryState.HELD: MORE}
        due = [*accepted[:AT_ONCE], accepted[-1]]  # the oldest of each
        assert app.queue.deliveries == [delivery_id for event in due for delivery_id in event.delivery_ids]
        assert app.queue.backlog == {busy.endpoint.id}
        await app.work()
        assert await states(app, accepted) == {DeliveryState.DELIVERED: AT_ONCE + MORE + 1}


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
async def test_of_many_endpoints_less_is_due_of_each(database_url: str, receiver: Receiver, *, together: bool) -> None:
    async with open_app(database_url, endpoint_max_in_flight=CAP, worker_max_in_flight=8) as app:
        for number in range(4):
            await app.register(receiver.url(f"/{number}"), "upload.completed")
        accepted = await _Publisher(app, together=together).publish(*[COMPLETED] * 3)
        assert [await states(app, [event]) for event in accepted] == [
            {DeliveryState.PENDING: 4},
            {DeliveryState.PENDING: 4},
            {DeliveryState.HELD: 4},
        ]
        await app.work()
        assert await states(app, accepted) == {DeliveryState.DELIVERED: 4 * 3}


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
async def test_new_deliveries_queue_behind_held_ones(database_url: str, receiver: Receiver, *, together: bool) -> None:
    async with open_app(database_url, endpoint_max_in_flight=CAP) as app:
        await app.register(receiver.url("/busy"), "upload.completed")
        await app.register(receiver.url("/quiet"), "upload.failed")
        publisher = _Publisher(app, together=together)
        await publisher.publish(*[COMPLETED] * (AT_ONCE + 1))
        behind = await publisher.publish(COMPLETED, FAILED)
        assert await states(app, behind[:1]) == {DeliveryState.HELD: 1}
        assert await states(app, behind[1:]) == {DeliveryState.PENDING: 1}
        await app.work()
        later = await publisher.publish(COMPLETED)
        assert await states(app, later) == {DeliveryState.PENDING: 1}
