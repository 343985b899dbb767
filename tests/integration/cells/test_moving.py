"""An organization moves to another cell: nothing of it is lost or sent twice, wherever the move is interrupted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sendoff.errors import BadSettings, Conflict
from sendoff.operators.installation.moving import Move
from sendoff.operators.installation.reconcile import reconcile
from sendoff.settings import read_environment_file
from tests.integration.cells.conftest import Cells
from tests.support.receiver import Receiver

EVENT = {"type": "upload.completed", "data": {"upload": {"id": "1"}}}
STEPS = ("_copy_settings", "_take_some", "_hand_over", "_arrive")


class Interrupted(Exception):
    """The mover was killed."""


async def seed(cells: Cells, receiver: Receiver, **fields: object) -> list[str]:
    """Events of `eu`: one delivered, one that failed once and waits, two not attempted yet; their ids."""
    receiver.program("/hook", 200, 200, 503, 200)  # the ping is the first
    await cells.eu.register(receiver.url("/hook"), **fields)
    ids = [(await cells.eu.publish())["id"]]
    await cells.eu.app.work()
    ids.append((await cells.eu.publish())["id"])
    await cells.eu.app.work()
    return ids + [(await cells.eu.publish())["id"] for _ in range(2)]


def arrivals(receiver: Receiver, ids: list[str]) -> list[str]:
    """The events' ids in the order in which they arrived."""
    found = [one.body.decode() for one in receiver.requests("/hook")]
    return [id_ for body in found for id_ in ids if f'"{id_}"' in body]


async def finish(cells: Cells) -> None:
    """Let both cells' workers work until nothing is due for days."""
    for _ in range(3):
        await cells.eu.app.work()
        await cells.us.app.work()
        cells.advance(50_000)


async def run_until(step: str, move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the mover behind this step."""
    original = getattr(Move, step)

    async def killed_after(self: Move, *given: object) -> object:
        await original(self, *given)
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(Move, step, killed_after)
        with pytest.raises(Interrupted):
            await move.run(settle_seconds=0)


async def check_that_it_adds_up(cells: Cells) -> None:
    for cell in (cells.eu, cells.us):
        assert (await reconcile(cell.app.context)).findings == []


async def test_everything_moves_and_the_new_cell_goes_on(cells: Cells, receiver: Receiver) -> None:
    ids = await seed(cells, receiver)
    assert (await cells.call("GET", "/api/v1/webhooks", cells.eu.key)).status_code == 200  # the router remembers
    moved = await cells.move(cells.eu.app.principal.organization_id).run(settle_seconds=0)
    assert (moved.endpoints, moved.open_deliveries, moved.events) == (1, 3, 4)
    refused = await cells.eu.post("/api/v1/events", EVENT)
    assert (refused.status_code, "us" in refused.text) == (503, True)
    late = await cells.call("POST", "/api/v1/events", cells.eu.key, json=EVENT)
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    by_router = await cells.call("POST", "/api/v1/events", cells.eu.key, json=EVENT)
    assert by_router.status_code == 202, by_router.text
    ids.append(by_router.json()["id"])
    await finish(cells)
    assert Counter(arrivals(receiver, ids)) == Counter([*ids, ids[1]])  # the one that failed came twice
    listed = (await cells.call("GET", "/api/v1/deliveries", cells.eu.key)).json()["data"]
    assert ({one["event_id"] for one in listed}, {one["state"] for one in listed}) == (set(ids), {"delivered"})
    retried = next(one for one in listed if one["event_id"] == ids[1])
    detailed = (await cells.call("GET", f"/api/v1/deliveries/{retried['id']}", cells.eu.key)).json()
    assert [one["number"] for one in detailed["attempts"]] == [1, 2]
    await check_that_it_adds_up(cells)


async def test_order_is_kept(cells: Cells, receiver: Receiver) -> None:
    ids = await seed(cells, receiver, ordered=True)
    await cells.move(cells.eu.app.principal.organization_id).run(settle_seconds=0)
    ids.append((await cells.call("POST", "/api/v1/events", cells.eu.key, json=EVENT)).json()["id"])
    await finish(cells)
    assert arrivals(receiver, ids) == [ids[0], ids[1], *ids[1:]]
    await check_that_it_adds_up(cells)


@pytest.mark.parametrize("step", STEPS)
async def test_a_move_that_is_interrupted_goes_on(
    cells: Cells, receiver: Receiver, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await seed(cells, receiver)
    organization = cells.eu.app.principal.organization_id
    await run_until(step, cells.move(organization), monkeypatch)
    await cells.eu.app.work()
    await cells.us.app.work()
    await cells.move(organization).run(settle_seconds=0)
    await finish(cells)
    assert Counter(arrivals(receiver, ids)) == Counter([*ids, ids[1]])
    await check_that_it_adds_up(cells)


@pytest.mark.parametrize("step", STEPS[:2])
async def test_a_move_that_is_given_up_leaves_the_old_cell_as_it_was(
    cells: Cells, receiver: Receiver, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await seed(cells, receiver)
    move = cells.move(cells.eu.app.principal.organization_id)
    await run_until(step, move, monkeypatch)
    await move.give_up()
    ids.append((await cells.eu.publish())["id"])
    await finish(cells)
    assert Counter(arrivals(receiver, ids)) == Counter([*ids, ids[1]])
    await check_that_it_adds_up(cells)
    again = await move.run(settle_seconds=0)
    assert (again.open_deliveries, again.events) == (0, 5)


async def test_deliveries_taken_too_long_ago_are_delivered_by_the_old_cell_and_not_again(
    cells: Cells, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await seed(cells, receiver)
    move = cells.move(cells.eu.app.principal.organization_id)
    with monkeypatch.context() as patched:

        async def killed(_: Move) -> None:
            raise Interrupted

        patched.setattr(Move, "_hand_over", killed)
        with pytest.raises(Interrupted):
            await move.run(settle_seconds=0)
    cells.advance(100_000)
    await cells.eu.app.work()
    assert Counter(arrivals(receiver, ids)) == Counter([*ids, ids[1]])
    await move.run(settle_seconds=0)
    await finish(cells)
    assert Counter(arrivals(receiver, ids)) == Counter([*ids, ids[1]])
    await check_that_it_adds_up(cells)


async def test_a_move_that_has_handed_over_cannot_be_given_up(cells: Cells, receiver: Receiver) -> None:
    await seed(cells, receiver)
    move = cells.move(cells.eu.app.principal.organization_id)
    await move.run(settle_seconds=0)
    with pytest.raises(Conflict, match="handed over"):
        await move.give_up()


async def test_a_suspended_organization_does_not_move(cells: Cells) -> None:
    organization = cells.eu.app.principal.organization_id
    other = await cells.eu.new_organization()
    suspended = await cells.eu.post(f"/operator/v1/organizations/{other}/suspend")
    assert suspended.status_code == 200
    with pytest.raises(Conflict, match="resume"):
        await cells.move(other).run(settle_seconds=0)
    assert organization != other


def test_the_new_cells_settings_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "us.env"
    path.write_text("# the cell us\nexport SENDOFF_DATABASE_URL='postgresql://x/y'\n\nSENDOFF_SECRET_KEYS=k\n")
    assert read_environment_file(path) == {"database_url": "postgresql://x/y", "secret_keys": "k"}
    path.write_text("DATABASE=1\n")
    with pytest.raises(BadSettings, match="line 1"):
        read_environment_file(path)
