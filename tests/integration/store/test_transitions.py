"""State changes: every function that writes one is tried on every state, and does what `policy/states.py` declares."""

from __future__ import annotations

import ast
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel

import sendoff
from sendoff.endpoints.state import disable_by_operator, enable_by_operator, mark_deleted, switch_off, switch_on
from sendoff.errors import Conflict
from sendoff.ids import new_id
from sendoff.operators.actions import discard_dead_letter
from sendoff.operators.replays.replay import cancel_replay, tick_replay
from sendoff.policy import states
from sendoff.policy.delivery.admission import UNLIMITED, Quotas
from sendoff.policy.delivery.decision import HealthEffect
from sendoff.policy.states import (
    DEAD_LETTER,
    DELIVERY,
    ENDPOINT,
    MACHINES,
    REPLAY,
    REPLAY_ITEM,
    UPLOAD,
    DeliveryState,
    ReplayItemState,
    StateMachine,
    Trigger,
    UploadStatus,
)
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.transitions import found_by, made_by
from sendoff.store.hot.rows import AttemptRecord
from sendoff.store.queries import endpoints, uploads
from sendoff.store.queries.installation import moving
from sendoff.store.queries.traffic import dead_letters, deliveries, ordering, replays
from sendoff.store.tables import DeadLetter, Delivery, Endpoint, Replay, ReplayItem, Upload
from tests.support.app_fixture import ACTOR, START, AppFixture, open_app

TOKEN = new_id()
CREATIONS = {trigger for machine in MACHINES for trigger in machine.triggers if trigger.allows(None)}
Write = Callable[[AppFixture, Any], Awaitable[object]]
"""Calls a function of the product on a row."""


@dataclass(frozen=True)
class Subject:
    """A row to try, and what it must look like in each state."""

    machine: StateMachine
    column: str
    row: Callable[[AppFixture], Any]
    values: Callable[[AppFixture, str], Mapping[str, object]]
    writers: Mapping[Trigger, list[Write]]


def in_transaction(work: Callable[[Transaction, AppFixture, Any], Awaitable[object]]) -> Write:
    """`work` gets a transaction first, and the app and the row."""

    async def write(app: AppFixture, row: Any) -> None:
        async with app.context.database.write() as tx:
            await work(tx, app, row)

    return write


def claim_due(quotas: Quotas) -> Write:
    async def write(app: AppFixture, row: Delivery) -> None:
        now = app.clock.now()
        await app.context.hot.claim_due(
            [row.id], quotas=quotas, lease_token=new_id(), now=now, until=now + timedelta(seconds=20)
        )

    return write


async def claim_held(app: AppFixture, row: Delivery) -> None:
    now = app.clock.now()
    until = now + timedelta(seconds=20)
    await app.context.hot.claim_held({row.endpoint_id: 1}, lease_token=new_id(), now=now, until=until)


def record(state: DeliveryState, *, may_raise_event: bool = True) -> Write:
    async def write(app: AppFixture, row: Delivery) -> None:
        now = app.clock.now()
        attempt = AttemptRecord(
            delivery_id=row.id,
            lease_token=TOKEN,
            state=state,
            due_at=now if state is DeliveryState.PENDING else None,
            counted=False,
            number=1,
            started_at=now,
            ended_at=now,
            duration_ms=1,
            outcome="ok",
            response_status=200,
            error=None,
            blocked_since=None,
            health=HealthEffect.NONE,
            may_raise_event=may_raise_event,
        )
        await app.context.hot.record([attempt], now=now, failing_at=10)

    return write


def release(*, held: bool) -> Write:
    return in_transaction(
        lambda tx, app, row: deliveries.release(tx, [row.id], lease_token=TOKEN, now=app.clock.now(), held=held)
    )


def reopen(*, delivered: bool, replayed: bool = True) -> Write:
    return in_transaction(
        lambda tx, app, row: deliveries.reopen(
            tx,
            {row.id: app.clock.now()},
            replay_id=new_id() if replayed else None,
            now=app.clock.now() + timedelta(seconds=1),
            delivered=delivered,
        )
    )


def delivery_in(app: AppFixture, state: str) -> Mapping[str, object]:
    """With a lease that has ended, if it is in flight."""
    in_flight, now = state == DeliveryState.IN_FLIGHT, app.clock.now()
    waits = state in (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.QUEUED)
    return {
        "lease_token": TOKEN if in_flight else None,
        "leased_until": now if in_flight else None,
        "due_at": now if waits else None,
        "sequence": 1,
    }


def in_line(write: Write, *, behind: bool = False) -> Write:
    """With an ordered endpoint; `behind` another delivery of its line that is in flight."""

    async def write_in_line(app: AppFixture, row: Delivery) -> None:
        async with app.context.database.write() as tx:
            (await tx.get_one(Endpoint, row.endpoint_id)).ordered = True
            if behind:
                head = DELIVERIES.row(app)
                head.endpoint_id, head.state, head.sequence = row.endpoint_id, DeliveryState.IN_FLIGHT, 0
                tx.add(head)
        await write(app, row)

    return write_in_line


async def advance(app: AppFixture, row: Delivery) -> None:
    async with app.context.database.write() as tx:
        await ordering.advance(tx, [row.endpoint_id], now=app.clock.now())


async def arrive(app: AppFixture, row: Delivery) -> None:
    async with app.context.database.write() as tx:
        organization_id = (await tx.get_one(Endpoint, row.endpoint_id)).organization_id
        await moving.arrive(tx, organization_id, lease_token=TOKEN, now=app.clock.now())


def without_place(write: Write) -> Write:
    """Of a delivery to an endpoint that is not ordered."""

    async def write_without_place(app: AppFixture, row: Delivery) -> None:
        async with app.context.database.write() as tx:
            found = await tx.get_one(Delivery, row.id)
            if found.state == DeliveryState.IN_FLIGHT:
                found.sequence = None
        await write(app, row)

    return write_without_place


NO_CAPACITY = Quotas({}, default=0)

DELIVERIES = Subject(
    DELIVERY,
    "state",
    lambda app: Delivery(
        id=new_id(),
        event_id=f"evt_{new_id()[-12:]}",
        endpoint_id=new_id(),
        organization_id=app.principal.organization_id,
        created_at=START,
    ),
    delivery_in,
    {
        states.CLAIM_DUE: [claim_due(UNLIMITED), claim_due(NO_CAPACITY)],
        states.CLAIM_HELD: [claim_held],
        states.RELEASE: [release(held=False), release(held=True)],
        states.RECORD: [
            *(record(state) for state in states.RECORD.targets if isinstance(state, DeliveryState)),
            record(DeliveryState.DELIVERED, may_raise_event=False),
        ],
        states.RETRY_NOW: [
            in_transaction(
                lambda tx, app, row: deliveries.make_due_now(tx, row.id, now=app.clock.now() + timedelta(seconds=1))
            )
        ],
        states.CLOSE: [in_transaction(lambda tx, _, row: deliveries.mark_dead(tx, [row.id]))],
        states.REOPEN: [
            reopen(delivered=False, replayed=False),
            reopen(delivered=True),
            in_line(reopen(delivered=True), behind=True),
        ],
        states.ADVANCE: [in_line(advance)],
        states.STEP_BACK: [in_line(advance, behind=True)],
        states.ENTER_LINE: [in_transaction(lambda tx, _, row: ordering.enter_line(tx, [row.id], lease_token=TOKEN))],
        states.HAND_OVER: [
            in_transaction(
                lambda tx, app, row: moving.hand_over(tx, [row.id], lease_token=TOKEN, until=app.clock.now())
            )
        ],
        states.ARRIVE: [arrive, without_place(arrive)],
        states.DISBAND: [advance],
    },
)


def upload_of(app: AppFixture) -> Upload:
    return Upload(
        id=new_id(),
        user_id=new_id(),
        organization_id=app.principal.organization_id,
        status=UploadStatus.READY_FOR_PROCESSING,
        source="api",
        created_at=START,
        updated_at=START,
        original_filename="numbers.csv",
        storage_path="numbers.csv",
        phone_column="phone",
        file_size_bytes=1,
        valid_row_count=1,
        invalid_row_count=0,
        credits_required=1,
        credits_charged=1,
    )


def upload_in(app: AppFixture, state: str) -> Mapping[str, object]:
    processing = state == UploadStatus.PROCESSING
    return {
        "lease_token": TOKEN if processing else None,
        "leased_until": app.clock.now() if processing else None,
        "updated_at": START - timedelta(days=1),
    }


UPLOADS = Subject(
    UPLOAD,
    "status",
    upload_of,
    upload_in,
    {
        states.CLAIM_UPLOAD: [
            in_transaction(
                lambda tx, app, row: uploads.claim(
                    tx, row.id, lease_token=new_id(), now=app.clock.now(), until=app.clock.now() + timedelta(minutes=1)
                )
            )
        ],
        states.CANCEL_UPLOAD: [
            in_transaction(
                lambda tx, app, row: uploads.cancel(
                    tx, row.id, organization_id=row.organization_id, now=app.clock.now()
                )
            )
        ],
        states.RELEASE_UPLOAD: [
            in_transaction(
                lambda tx, app, row: uploads.release(
                    tx, row.id, lease_token=TOKEN, now=app.clock.now(), due_at=app.clock.now(), attempts=1
                )
            )
        ],
        states.FINISH_UPLOAD: [
            in_transaction(
                lambda tx, app, row, status=status: uploads.finish(  # type: ignore[misc]
                    tx, row.id, lease_token=TOKEN, status=status, now=app.clock.now()
                )
            )
            for status in (UploadStatus.COMPLETED, UploadStatus.FAILED)
        ],
    },
)


async def discard(app: AppFixture, row: DeadLetter) -> None:
    with suppress(Conflict):
        await discard_dead_letter(app.context, ACTOR, row.id)


DEAD_LETTERS = Subject(
    DEAD_LETTER,
    "state",
    lambda app: DeadLetter(
        id=new_id(),
        delivery_id=new_id(),
        event_id="evt_1",
        event_type="upload.completed",
        endpoint_id=new_id(),
        endpoint_url="https://example.com",
        organization_id=app.principal.organization_id,
        reason="retries_exhausted",
        attempt_count=6,
        died_at=START,
    ),
    lambda _app, _state: {},
    {
        states.SEND_AGAIN: [
            in_transaction(lambda tx, app, row: dead_letters.mark_replayed(tx, [row.delivery_id], now=app.clock.now()))
        ],
        states.DISCARD: [discard],
    },
)


async def cancel(app: AppFixture, row: Replay) -> None:
    with suppress(Conflict):
        await cancel_replay(app.context, ACTOR, row.id)


async def tick(app: AppFixture, row: Replay) -> None:
    """With nothing left to send, a tick completes the replay."""
    await tick_replay(app.context, row.id)


REPLAYS = Subject(
    REPLAY,
    "state",
    lambda _app: Replay(
        id=new_id(), filter={}, rate=1, total=0, requested_by="test", created_at=START, ticked_at=START
    ),
    lambda _app, _state: {},
    {states.CANCEL_REPLAY: [cancel], states.COMPLETE_REPLAY: [tick]},
)


def move_item(trigger: Trigger, to: ReplayItemState) -> Write:
    return in_transaction(lambda tx, _, row: replays.move_items(tx, row.replay_id, [row.delivery_id], trigger, to=to))


def record_item(state: DeliveryState, *, may_raise_event: bool = True) -> Write:
    """Records an attempt of the item's delivery, which is in flight."""

    async def write(app: AppFixture, row: ReplayItem) -> None:
        delivery = DELIVERIES.row(app)
        for name, value in delivery_in(app, DeliveryState.IN_FLIGHT).items():
            setattr(delivery, name, value)
        delivery.id, delivery.replay_id, delivery.state = row.delivery_id, row.replay_id, DeliveryState.IN_FLIGHT
        async with app.context.database.write() as tx:
            await tx.merge(delivery)
        await record(state, may_raise_event=may_raise_event)(app, delivery)

    return write


REPLAY_ITEMS = Subject(
    REPLAY_ITEM,
    "state",
    lambda _app: ReplayItem(replay_id=new_id(), delivery_id=new_id()),
    lambda _app, _state: {},
    {
        states.SEND_ITEM: [
            move_item(states.SEND_ITEM, state)
            for state in states.SEND_ITEM.targets
            if isinstance(state, ReplayItemState)
        ],
        states.RECORD_ITEM: [
            record_item(DeliveryState.DELIVERED),
            record_item(DeliveryState.DELIVERED, may_raise_event=False),
            record_item(DeliveryState.DEAD),
        ],
        states.CLOSE_ITEM: [move_item(states.CLOSE_ITEM, ReplayItemState.FAILED)],
    },
)


def on_endpoint(change: Callable[[Any, AppFixture, Endpoint], Awaitable[None] | None]) -> Write:
    async def write(app: AppFixture, row: Endpoint) -> None:
        async with app.context.database.write() as tx:
            found = await endpoints.find(tx, row.id, lock=True)
            assert found is not None
            with suppress(Conflict, ValueError):
                done = change(tx, app, found)
                if done is not None:
                    await done

    return write


ENDPOINTS = Subject(
    ENDPOINT,
    "state",
    lambda app: Endpoint(
        id=new_id(),
        organization_id=app.principal.organization_id,
        dialect="standard",
        url="https://example.com",
        events=["upload.completed"],
        secret=b"",
        created_at=START,
        updated_at=START,
    ),
    lambda _app, _state: {},
    {
        states.SWITCH_OFF: [on_endpoint(lambda _, app, row: switch_off(row, app.clock.now()))],
        states.SWITCH_ON: [
            on_endpoint(lambda _, app, row: switch_on(row, app.clock.now())),
            on_endpoint(lambda _, app, row: enable_by_operator(row, app.clock.now())),
        ],
        states.DISABLE_BY_OPERATOR: [on_endpoint(lambda _, app, row: disable_by_operator(row, app.clock.now()))],
        states.DELETE: [on_endpoint(lambda tx, app, row: mark_deleted(tx, ACTOR, row, app.clock.now()))],
        states.AUTO_DISABLE: [on_endpoint(lambda *of: endpoints.move(of[-1], states.AUTO_DISABLE))],
        states.ANSWER_GONE: [on_endpoint(lambda *of: endpoints.move(of[-1], states.ANSWER_GONE))],
    },
)

SUBJECTS = (ENDPOINTS, DELIVERIES, DEAD_LETTERS, REPLAYS, REPLAY_ITEMS, UPLOADS)


def test_every_trigger_is_tried() -> None:
    assert {subject.machine for subject in SUBJECTS} == set(MACHINES)
    for subject in SUBJECTS:
        assert subject.writers.keys() | CREATIONS == set(subject.machine.triggers) | CREATIONS


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.machine.name)
async def test_each_function_writes_its_own_arrows_and_no_other(database_url: str, subject: Subject) -> None:
    """A row is put into every state; what a function then makes of it are the arrows of its trigger, all of them."""
    async with open_app(database_url) as app:
        for trigger, writers in subject.writers.items():
            found: set[tuple[str, str]] = set()
            for state in subject.machine.states:
                for write in writers:
                    row = await put(app, subject, state)
                    before = await look(app, row)
                    await write(app, row)
                    after = await look(app, row)
                    # A change from a state to itself shows in other columns; without one, nothing may change.
                    new = str(after[subject.column])
                    if after != before and (new != state or subject.machine.allows(state, state)):
                        found.add((state, new))
            assert found == {(str(arrow.source), str(arrow.target)) for arrow in trigger.arrows}, trigger


async def put(app: AppFixture, subject: Subject, state: str) -> Any:
    row = subject.row(app)
    async with app.context.database.write() as tx:
        tx.add(row)
        if isinstance(row, Delivery):
            endpoint = ENDPOINTS.row(app)
            endpoint.id = row.endpoint_id
            tx.add(endpoint)
    async with app.context.database.write() as tx:
        kind: type[SQLModel] = type(row)
        keys = [column == getattr(row, column.name) for column in kind.__table__.primary_key]  # type: ignore[attr-defined]
        values = {subject.column: state, **subject.values(app, state)}
        await tx.execute(update(kind).where(*keys).values(values))
    return row


async def look(app: AppFixture, row: Any) -> dict[str, object]:
    kind: type[SQLModel] = type(row)
    key = tuple(getattr(row, column.name) for column in kind.__table__.primary_key)  # type: ignore[attr-defined]
    async with app.transaction() as tx:
        found = await tx.get(kind, key)
    assert found is not None
    return found.model_dump()


SOURCES = Path(sendoff.__file__).parent
TABLES = "deliveries|endpoints|dead_letters|replays|replay_items|uploads"
UPDATE = re.compile(rf"\bUPDATE\s+({TABLES})\b(?:\s+AS\s+\w+)?\s+SET\b(?P<set>.*?)(?:\bWHERE\b|\bFROM\b|$)", re.DOTALL)
SETS_STATE = re.compile(r"\b(?:state|status)\s*=")


def statements() -> Iterator[tuple[str, str, str]]:
    """Every UPDATE in the product's source, but for migrations: file, what it sets, and its whole text."""
    for path in sorted(SOURCES.rglob("*.py")):
        if "migrations" in path.parts:
            continue
        text = path.read_text()
        if "UPDATE" not in text:
            continue
        tree = ast.parse(text)
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in parts:
                continue
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                shown = ast.unparse(node).replace("\\n", "\n")
                for match in UPDATE.finditer(shown):
                    yield path.name, match["set"], shown


def test_every_statement_that_sets_a_state_takes_it_from_a_trigger() -> None:
    """A literal would be a change that nobody declared; and the rows are chosen by the same trigger's sources."""
    written = {(file, what, whole) for file, what, whole in statements() if SETS_STATE.search(what)}
    assert len(written) >= 9  # claims, records and replay items on two databases, and those of queries/
    for file, what, whole in written:
        triggers = set(re.findall(r"made_by\((\w+)", what))
        if not triggers:  # the one statement whose state is a column of what it is given, checked by attempt_columns
            assert re.search(r"state = (r\.|:)state\b", what), f"{file}: {what}"
            triggers = {"RECORD"}
        found = set(re.findall(r"found_by\((\w+)", whole)) | (
            {"CLAIM_DUE"} if re.search("ranked|IS_DUE", whole) else set()
        )
        assert triggers <= found, f"{file}: {whole}"


def test_no_other_code_assigns_a_state() -> None:
    """Rows that SQLAlchemy holds change their state by `Trigger.target` alone."""
    for path in sorted(SOURCES.rglob("*.py")):
        if {"wire", "migrations", "publishing"} & set(path.parts):  # publishing plans rows that are not inserted yet
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign):
                names = [part for target in node.targets for part in ast.walk(target)]
                if any(isinstance(part, ast.Attribute) and part.attr in ("state", "status") for part in names):
                    assert ".target(" in ast.unparse(node.value), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg in ("state", "status"):
                assert not _is_state(node.value), f"{path.name}:{node.value.lineno} writes a state by its name"


def _is_state(node: ast.expr) -> bool:
    machines = ("EndpointState", "UploadStatus", "DeadLetterState", "ReplayState", "ReplayItemState")
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in machines


def test_a_trigger_knows_only_its_own_states() -> None:
    assert found_by(states.STEP_BACK, column="d.state") == "d.state IN ('pending', 'held')"
    assert made_by(states.CLAIM_HELD) == "'in_flight'"
    with pytest.raises(ValueError, match="does not start from held"):
        found_by(states.CLAIM_DUE, DeliveryState.HELD)
    with pytest.raises(ValueError, match="does not lead to dead"):
        made_by(states.REOPEN, DeliveryState.DEAD)
