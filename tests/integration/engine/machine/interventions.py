"""What people do meanwhile: owners and operators switch endpoints, replay, retry and discard."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sendoff.endpoints.manage import EndpointChange, delete_endpoint, update_endpoint
from sendoff.errors import Conflict, NotFound
from sendoff.operators.actions import discard_dead_letter, retry_delivery, switch_endpoint
from sendoff.operators.replays.replay import Selection, cancel_replay, start_replay, tick_replay
from sendoff.policy.states import DeadLetterState, DeliveryState, EndpointState, ReplayState
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.integration.engine.machine.db_snapshot import ItemKey
from tests.integration.engine.machine.state_machine import DeliveryMachine, deaths, picks
from tests.support.app_fixture import ACTOR

SWITCHES = ("pause", "resume", "disable", "enable", "resume", "enable", "delete")
rates = st.sampled_from([1, 50])
letter_states = st.sampled_from([None, None, "open", "replayed", "discarded"])


class Interventions(DeliveryMachine):
    """Whatever people may ask for, at any moment."""

    @rule(which=picks, how=st.sampled_from(SWITCHES), dies_after=deaths)
    def an_endpoint_is_switched(self, which: int, how: str, dies_after: int | None) -> None:
        endpoint_id = self.pick(self.snapshot.endpoints, which)
        before = self.snapshot.endpoints[endpoint_id]
        try:
            self.harness.run_with_crash(self._switch(endpoint_id, how), dies_after=dies_after)
        except NotFound:
            assert before.state == EndpointState.DELETED
        except Conflict:
            assert before.state == EndpointState.GONE or (how == "resume" and before.disabled_by_operator)
        else:
            if how in ("resume", "enable") and dies_after != 0:
                self.ledger.failures[endpoint_id] = 0

    def is_discarded(self, delivery_id: str) -> bool:
        """Whether the delivery ended in a dead letter that was discarded."""
        letters = self.snapshot.letters.get(delivery_id, [])
        return bool(letters) and letters[-1].state == DeadLetterState.DISCARDED

    async def _switch(self, endpoint_id: str, how: str) -> None:
        context, organization_id = self.harness.context, self.harness.app.principal.organization_id
        if how in ("pause", "resume"):
            change = EndpointChange({"is_active": how == "resume"})
            await update_endpoint(context, organization_id, ACTOR, endpoint_id, change)
        elif how == "delete":
            await delete_endpoint(context, organization_id, ACTOR, endpoint_id)
        else:
            await switch_endpoint(context, ACTOR, endpoint_id, on=how == "enable")

    @precondition(lambda self: self.snapshot.letters)
    @rule(state=letter_states, rate=rates, times=st.integers(1, 2))
    def dead_letters_are_replayed(self, state: str | None, rate: int, times: int) -> None:
        """Also by two operators at once, who do not know of each other."""
        for _ in range(times):
            selection = Selection(DeadLetterFilter(state=state))
            self.harness.run(start_replay(self.harness.context, ACTOR, selection, rate=rate))

    @precondition(lambda self: len(self.snapshot.open_deliveries()) < len(self.snapshot.deliveries))
    @rule(which=st.sets(picks, min_size=1, max_size=5), rate=rates)
    def deliveries_are_replayed(self, which: set[int], rate: int) -> None:
        chosen = tuple({self.pick(self.snapshot.deliveries, one) for one in which})
        selection = Selection(DeadLetterFilter(), delivery_ids=chosen)
        try:
            report = self.harness.run(start_replay(self.harness.context, ACTOR, selection, rate=rate))
        except Conflict:
            assert any(self.is_discarded(delivery_id) for delivery_id in chosen)
            return
        self.ledger.may_send_again |= {ItemKey(report.replay.id, delivery_id) for delivery_id in chosen}

    @precondition(lambda self: self.snapshot.replays)
    @rule(which=st.sets(picks, min_size=1, max_size=3), seconds=st.sampled_from([0.0, 1.0, 1.0, 2.0]))
    def replays_go_on(self, which: set[int], seconds: float) -> None:
        self.harness.clock.advance(seconds)
        for replay_id in {self.pick(self.snapshot.replays, one): None for one in which}:
            self.harness.run(tick_replay(self.harness.context, replay_id))

    @precondition(lambda self: self.snapshot.replays)
    @rule(which=picks)
    def a_replay_is_cancelled(self, which: int) -> None:
        replay_id = self.pick(self.snapshot.replays, which)
        try:
            self.harness.run(cancel_replay(self.harness.context, ACTOR, replay_id))
        except Conflict:
            assert self.snapshot.replays[replay_id].state != ReplayState.RUNNING

    @precondition(lambda self: self.snapshot.deliveries)
    @rule(which=picks)
    def a_delivery_is_retried(self, which: int) -> None:
        delivery_id = self.pick(self.snapshot.deliveries, which)
        before = self.snapshot.deliveries[delivery_id]
        try:
            self.harness.run(retry_delivery(self.harness.context, ACTOR, delivery_id))
        except Conflict:
            closed = self.snapshot.endpoints[before.endpoint_id].state != EndpointState.ACTIVE
            assert (
                closed
                or self.is_discarded(delivery_id)
                or before.state in (DeliveryState.IN_FLIGHT, DeliveryState.DELIVERED)
            )
        else:
            after = self.harness.look().deliveries[delivery_id]
            assert (after.state, after.due_at) == (DeliveryState.PENDING, self.harness.clock.now())

    @precondition(lambda self: self.snapshot.letters)
    @rule(which=picks)
    def a_dead_letter_is_discarded(self, which: int) -> None:
        letters = {letter.id: letter for letter in self.snapshot.letters_of_all()}
        letter_id = self.pick(letters, which)
        try:
            self.harness.run(discard_dead_letter(self.harness.context, ACTOR, letter_id))
        except Conflict:
            assert letters[letter_id].state != DeadLetterState.OPEN
