"""The evaluation of an event's filters and transforms as a task of the sandbox, if it may take over a millisecond."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from sendoff.policy.endpoints.expressions import (
    Evaluated,
    EvaluationContext,
    ExpressionInput,
    Expressions,
    evaluate_expressions,
)

CPU_SECONDS = 0.5
"""CPU time for the expressions of one event together. Those whose turn does not come by then fail; a higher value lets
an organization's own expressions delay its events for longer."""


MAX_TRANSFORMED_CHARACTERS = 8 * 1024 * 1024
"""Characters that the transforms of an organization's endpoints may make of one event, all deliveries together; those
that come later fail. Without it, 500 endpoints make 128 MB of an event of a kilobyte, in memory and in the database."""

TOO_MUCH_TRANSFORMED = Evaluated(
    error=f"the transforms of the organization's endpoints made more than {MAX_TRANSFORMED_CHARACTERS // 1024**2} MB "
    "of this event"
)


class EvaluateExpressions(msgspec.Struct, frozen=True):
    """What do `pairs` of a filter and a transform give for this event, whose `data` is JSON text?"""

    pairs: list[Expressions]
    id: str
    type: str
    occurred_at: datetime
    data: str

    def run(self, _progress: Callable[[int], object]) -> list[Evaluated]:
        """What each pair gives, in their order."""
        source = ExpressionInput(self.id, self.type, self.occurred_at, self.data.encode())
        event = EvaluationContext(source)
        until, characters = time.process_time() + CPU_SECONDS, 0
        late = f"the expressions of the organization's endpoints took more than {CPU_SECONDS:g} s for this event"
        results: list[Evaluated] = []
        for pair in self.pairs:
            result = evaluate_expressions(pair, event) if time.process_time() < until else failed(pair, late)
            characters += len(result.data or "")
            is_too_much = result.data is not None and characters > MAX_TRANSFORMED_CHARACTERS
            results.append(TOO_MUCH_TRANSFORMED if is_too_much else result)
        return results


def failed(pair: Expressions, error: str) -> Evaluated:
    """What a pair gives that a limit kept from being evaluated.

    A filter that fails does not match. A transform alone that fails makes a dead letter, so that nothing is lost.
    """
    return Evaluated(matches=pair.filter is None, error=error)
