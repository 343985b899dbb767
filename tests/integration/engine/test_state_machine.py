"""A model of a delivery's life: whatever happens, in whatever order, to the real operations on a real database.

Setup: one organization, a few endpoints; clock, random source, queue and wire belong to the test.
Timeline: accept, enqueue, claim, exchange, record, die, stall, hold, sweep, switch off and on, replay, retry and
discard, as Hypothesis likes; at the end every receiver answers and time passes.
What this proves: nothing accepted is lost or stuck, nothing delivered is sent again unasked, nothing is sent for an
endpoint that is off or under a lease that was lost, attempts are numbered without gaps, all counters equal what the
rows say, the audit finds nothing, and retention forgets what has ended.

`SENDOFF_TEST_LIVES` sets how many lives are lived on each database.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from sendoff.endpoint_health.draining import drain_inactive_endpoints
from sendoff.maintenance.purge import purge_expired
from sendoff.operators.installation.reconcile import reconcile
from sendoff.operators.replays.replay import tick_replay
from tests.integration.engine.machine.db_snapshot import DbSnapshot
from tests.integration.engine.machine.fakes import Answer
from tests.integration.engine.machine.harness import DEAD_LETTER_RETENTION_DAYS, RETENTION_DAYS, open_harness
from tests.integration.engine.machine.interventions import Interventions
from tests.integration.engine.machine.invariants import check_end
from tests.integration.engine.machine.work import Work

LIVES = int(os.environ.get("SENDOFF_TEST_LIVES", "10"))
STEPS = 40
ROUNDS_TO_THE_END = 30
"""More than the schedule has waits and a slow replay has seconds: what has not ended by then never will."""


class WholeLife(Work, Interventions):
    """Work and interventions in any order, and then an end in peace."""

    def teardown(self) -> None:
        """From now on every receiver answers, every process lives and time passes: everything must come to its end."""
        self.claims.clear()
        self.finished.clear()
        for _ in range(ROUNDS_TO_THE_END):
            if self.snapshot.has_ended():
                break
            self._one_more_round()
            self.everything_adds_up()
        check_end(self.snapshot)
        assert self.harness.run(reconcile(self.harness.context)).counts == {}
        self._forget_everything()

    def _forget_everything(self) -> None:
        """Half of it is past its retention first, then all."""
        for days in (RETENTION_DAYS, DEAD_LETTER_RETENTION_DAYS):
            self.harness.clock.advance(days * 86_400 + 1)
            self.harness.run(purge_expired(self.harness.context))
            assert self.harness.run(reconcile(self.harness.context)).counts == {}
        left = self.harness.look()
        assert replace(left, endpoints={}) == DbSnapshot({}, {}, {}, {}, {}, {}, {})

    def _one_more_round(self) -> None:
        self.harness.clock.advance(1)
        self.advance_to_next()
        self.harness.run(drain_inactive_endpoints(self.harness.context))
        for replay_id in self.snapshot.replays:
            self.harness.run(tick_replay(self.harness.context, replay_id))
        self.claim_held(100)
        self.work_off(Answer(200))


def test_no_sequence_of_events_loses_blocks_or_repeats_a_delivery(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.endpoint_health.draining.DRAIN_BATCH", 2)
    with open_harness(database_url) as harness:
        machine = partial(WholeLife, harness)
        run_state_machine_as_test(
            cast("type[RuleBasedStateMachine]", machine),
            settings=settings(
                max_examples=LIVES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
