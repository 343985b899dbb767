"""The evaluation of an event's filters and transforms as a task of the sandbox, if it may take over a millisecond."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from sendoff.policy.endpoints.expressions import Evaluated, EvaluationContext, ExpressionInput, Pair, evaluate_pair

CPU_SECONDS = 0.5
"""CPU time for the expressions of one event together. Those whose turn does not come by then fail; a higher value lets
an organization's own expressions delay its events for longer."""


class EvaluateExpressions(msgspec.Struct, frozen=True):
    """What do `pairs` of a filter and a transform give for this event, whose `data` is JSON text?"""

    pairs: list[Pair]
    id: str
    type: str
    occurred_at: datetime
    data: str

    def run(self, _progress: Callable[[int], object]) -> list[Evaluated]:
        """What each pair gives, in their order."""
        source = ExpressionInput(self.id, self.type, self.occurred_at, self.data.encode())
        event = EvaluationContext(source)
        until = time.process_time() + CPU_SECONDS
        late = Evaluated(
            error=f"the expressions of the organization's endpoints took more than {CPU_SECONDS:g} s for this event"
        )
        return [evaluate_pair(pair, event) if time.process_time() < until else late for pair in self.pairs]
