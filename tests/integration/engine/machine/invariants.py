"""What must hold of every snapshot of the database, and between any two that follow each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sendoff.policy.states import DeadLetterState, DeliveryState, ReplayItemState, ReplayState
from tests.integration.engine.machine.db_snapshot import OPEN, DbSnapshot, ItemKey, Row

UNSETTLED = (ReplayItemState.WAITING, ReplayItemState.SENT)


@dataclass
class Ledger:
    """What the database must agree with: written by the test from what it did and saw answered."""

    matched: dict[str, set[str]] = field(default_factory=dict)
    """The endpoints that each event had to be delivered to."""
    failures: Counter[str] = field(default_factory=Counter)
    """Consecutive failed attempts of each endpoint."""
    may_send_again: set[ItemKey] = field(default_factory=set)
    """What an operator asked to replay by its id: the only way for a delivered delivery to be sent again."""


def check_snapshot(snapshot: DbSnapshot, ledger: Ledger) -> None:
    """Everything that can be said of one moment."""
    _nothing_is_lost(snapshot, ledger)
    for delivery in snapshot.deliveries.values():
        _numbers_have_no_gaps(delivery, snapshot)
        _nothing_is_stuck(delivery)
        _an_end_has_its_proof(delivery, snapshot)
        _its_replay_knows(delivery, snapshot)
    for letter in snapshot.letters_of_all():
        assert (
            letter.state != DeadLetterState.OPEN or snapshot.deliveries[letter.delivery_id].state == DeliveryState.DEAD
        )
    for replay in snapshot.replays.values():
        _a_replay_adds_up(replay, snapshot)
    for endpoint in snapshot.endpoints.values():
        assert endpoint.consecutive_failures == ledger.failures[endpoint.id], endpoint


def check_step(before: DbSnapshot, after: DbSnapshot, ledger: Ledger) -> None:
    """Nothing vanishes, history is only added to, and nothing that was delivered is sent again unasked."""
    assert before.events.keys() <= after.events.keys()
    assert before.deliveries.keys() <= after.deliveries.keys()
    for delivery_id, attempts in before.attempts.items():
        assert after.attempts[delivery_id][: len(attempts)] == attempts
    for delivery_id, letters in before.letters.items():
        assert [letter.id for letter in after.letters[delivery_id][: len(letters)]] == [letter.id for letter in letters]
    for delivery_id, delivery in before.deliveries.items():
        if delivery.state == DeliveryState.DELIVERED and after.deliveries[delivery_id].state != DeliveryState.DELIVERED:
            word = ItemKey(after.deliveries[delivery_id].replay_id, delivery_id)
            assert word in ledger.may_send_again, f"{delivery} was delivered and is open again: {after.deliveries}"
            ledger.may_send_again.remove(word)


def _nothing_is_lost(snapshot: DbSnapshot, ledger: Ledger) -> None:
    found = Counter((delivery.event_id, delivery.endpoint_id) for delivery in snapshot.deliveries.values())
    accepted = Counter((event_id, endpoint_id) for event_id, ids in ledger.matched.items() for endpoint_id in ids)
    assert found == accepted
    assert snapshot.events.keys() == ledger.matched.keys()


def _numbers_have_no_gaps(delivery: Row, snapshot: DbSnapshot) -> None:
    numbers = [attempt.number for attempt in snapshot.attempts.get(delivery.id, [])]
    assert numbers == list(range(1, delivery.attempt_count + 1)), delivery


def _nothing_is_stuck(delivery: Row) -> None:
    """`held` is found by its endpoint, whatever else its row says; that it is really taken up shows at the end."""
    assert (delivery.due_at is not None) == (delivery.state in (DeliveryState.PENDING, DeliveryState.HELD)), delivery
    for column in (delivery.lease_token, delivery.leased_until):
        assert (column is not None) == (delivery.state == DeliveryState.IN_FLIGHT), delivery


def _an_end_has_its_proof(delivery: Row, snapshot: DbSnapshot) -> None:
    if delivery.state == DeliveryState.DELIVERED:
        last = snapshot.attempts[delivery.id][-1]
        assert 200 <= last.response_status < 300, delivery
        assert delivery.delivered_at is not None
    else:
        assert delivery.delivered_at is None
    if delivery.state == DeliveryState.DEAD:
        states = [letter.state for letter in snapshot.letters[delivery.id]]
        assert states[-1] != DeadLetterState.REPLAYED, delivery


def _its_replay_knows(delivery: Row, snapshot: DbSnapshot) -> None:
    sent_by = [
        key.replay_id
        for key, state in snapshot.items.items()
        if key.delivery_id == delivery.id and state == ReplayItemState.SENT
    ]
    is_on_its_way = delivery.state in OPEN and delivery.replay_id is not None
    assert sent_by == ([delivery.replay_id] if is_on_its_way else []), delivery


def _a_replay_adds_up(replay: Row, snapshot: DbSnapshot) -> None:
    states = Counter(state for key, state in snapshot.items.items() if key.replay_id == replay.id)
    assert states.total() == replay.total
    assert (replay.finished_at is None) == (replay.state == ReplayState.RUNNING)
    if replay.state == ReplayState.COMPLETED:
        assert not any(states[state] for state in UNSETTLED), (replay, states)


def check_end(snapshot: DbSnapshot) -> None:
    """After enough time with receivers that answer, everything has ended."""
    assert snapshot.open_deliveries() == []
    assert [replay for replay in snapshot.replays.values() if replay.state == ReplayState.RUNNING] == []
    assert [endpoint for endpoint in snapshot.endpoints.values() if endpoint.drain_due] == []
