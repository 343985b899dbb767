"""Failures in groups, and what a replay would send: the same on both databases."""

from __future__ import annotations

from sendoff.operators.failures import list_failures
from sendoff.operators.replays.replay import Included, Selection
from sendoff.operators.replays.replay_preview import preview_replay
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.support.app_fixture import open_app
from tests.support.receiver import Receiver


async def test_failures_are_grouped_by_endpoint_outcome_and_status(database_url: str, receiver: Receiver) -> None:
    receiver.program("/broken", 200, 500)
    receiver.program("/moved", 200, 404)
    async with open_app(database_url, retry_schedule="1m", disable_after_failures=100) as app:
        broken = (await app.register(receiver.url("/broken"))).endpoint.id
        moved = (await app.register(receiver.url("/moved"))).endpoint.id
        for _ in range(3):
            await app.publish()
        for wait in (0.0, 60.0):
            app.clock.advance(wait)
            await app.work()
        await app.publish()
        await app.work()
        found = {(one.endpoint_id, one.reason): one for one in await list_failures(app.context)}
        assert {key: (one.count, one.outcome, one.response_status) for key, one in found.items()} == {
            (broken, "retries_exhausted"): (3, "server_error", 500),
            (moved, "retries_exhausted"): (3, "client_error", 404),
            (broken, None): (1, "server_error", 500),
            (moved, None): (1, "client_error", 404),
        }
        group = found[broken, "retries_exhausted"]
        assert group.endpoint_url == receiver.url("/broken")
        assert group.first_at <= group.last_at <= app.clock.now()
        assert len(await list_failures(app.context, endpoint_id=moved)) == 2

        preview = await preview_replay(app.context, Selection(DeadLetterFilter()))
        assert {(share.endpoint_id, share.count) for share in preview.endpoints} == {(broken, 3), (moved, 3)}
        assert (preview.count, preview.is_capped, len(preview.sample)) == (6, False, 6)
        both = (Included.DEAD, Included.PENDING)
        narrowed = await preview_replay(app.context, Selection(DeadLetterFilter(response_status=404), include=both))
        assert [(share.endpoint_url, share.dead, share.waiting) for share in narrowed.endpoints] == [
            (receiver.url("/moved"), 3, 1)
        ]
