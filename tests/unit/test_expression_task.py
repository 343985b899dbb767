"""The sandbox's evaluation of an event's expressions: what becomes of those that a limit stops."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sendoff.policy.endpoints.expressions import Evaluated, Expressions
from sendoff.publishing import expression_task
from sendoff.publishing.expression_task import EvaluateExpressions

FILTER, NOT_MATCHING = Expressions("data.number > 1", None), Expressions("data.number > 5", None)
TRANSFORM, BOTH = Expressions(None, "{'n': data.number}"), Expressions("data.number > 1", "{'n': data.number}")


def evaluate(*pairs: Expressions) -> list[Evaluated]:
    """What they give for an event with the number 2."""
    task = EvaluateExpressions(list(pairs), "evt_1", "a.b", datetime(2026, 1, 1, tzinfo=UTC), '{"number":2}')
    return task.run(lambda _: None)


def test_without_time_left_filters_do_not_match_and_transforms_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expression_task, "CPU_SECONDS", -1)
    late = evaluate(FILTER, TRANSFORM, BOTH)
    assert [one.matches for one in late] == [False, True, False]
    assert all("took more than" in (one.error or "") for one in late)


def test_beyond_the_bytes_of_all_transforms_filters_are_judged_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expression_task, "MAX_TRANSFORMED_CHARACTERS", 10)
    first, second, matching, other = evaluate(TRANSFORM, BOTH, FILTER, NOT_MATCHING)
    assert first == Evaluated(data='{"n":2}')
    assert second.matches
    assert "made more than" in (second.error or "")
    assert matching == Evaluated()
    assert other == Evaluated(matches=False)
