"""Filters and transforms: what is accepted, what is refused and why, and what evaluating them costs at most."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.endpoints.expressions import (
    MAX_READS,
    MAX_VALUES,
    Evaluated,
    EvaluationContext,
    ExpressionInput,
    ExpressionRefused,
    Expressions,
    Purpose,
    compile_expression,
    compile_expressions,
    evaluate_expressions,
)

DATA = {
    "amount": 12,
    "price": 1.5,
    "live": True,
    "name": "Grüße",
    "nothing": None,
    "big": 2**64 - 1,
    "customer": {"id": "c_1", "tags": ["vip", "eu"]},
    "items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 3}],
}


def an_event(data: object = DATA, event_type: str = "order.paid") -> ExpressionInput:
    """An event of 2026-04-24 at noon."""
    at = datetime(2026, 4, 24, 12, 0, 0, 5_000, UTC)
    return ExpressionInput("evt_1", event_type, at, json.dumps(data).encode())


def filtered(expression: str, data: object = DATA) -> Evaluated:
    """What the filter says of an event with `data`."""
    return evaluate_expressions(Expressions(filter=expression), EvaluationContext(an_event(data)))


def transformed(expression: str, data: object = DATA) -> Evaluated:
    """What the transform makes of an event with `data`."""
    return evaluate_expressions(Expressions(transform=expression), EvaluationContext(an_event(data)))


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("data.amount > 10", True),
        ("data.amount > 12.5", False),
        ("data.live", True),
        ("!data.live", False),
        ("type == 'order.paid' && id == 'evt_1'", True),
        ("type.startsWith('order.') // a comment", True),
        ("occurred_at > timestamp('2026-01-01T00:00:00Z')", True),
        ("occurred_at.getHours() < 12", False),
        ("data.customer.id in ['c_1', 'c_2']", True),
        ("'vip' in data.customer.tags", True),
        ("data['customer']['id'] == 'c_1'", True),
        ("has(data.customer) && !has(data.vendor)", True),
        ("data.items.exists(item, item.count > 2)", True),
        ("data.items.all(item, item.count > 2)", False),
        ("data.items.filter(item, item.count > 2).size() == 1", True),
        ("data.items.exists(data, data.count > 2)", True),
        ("data.name.matches('^Gr.ße$')", True),
        ("data.name.contains('ü') ? true : false", True),
        ("data.nothing == null", True),
        ("data.big == 18446744073709551615u", True),
        ("data.name == '? : && ('", False),
        ("true", True),
    ],
)
def test_a_filter_matches_by_the_events_parts(expression: str, *, matches: bool) -> None:
    assert filtered(expression) == Evaluated(matches)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("data.missing == 1", "the event has no 'missing'"),
        ("data.amount", "it gives a number for this event instead of a bool"),
        ("data.nothing", "it gives null for this event instead of a bool"),
        ("data.amount > 'x'", "No such overload"),
        ("data.items[7].count == 1", ""),
        ("data.amount / 0 == 1", "division by zero"),
        ("data.amount.matches('1')", "it gives null"),
    ],
)
def test_a_filter_that_fails_on_an_event_does_not_match_it_and_says_why(expression: str, reason: str) -> None:
    result = filtered(expression)
    assert not result.matches
    assert result.error is not None
    assert reason in result.error


@pytest.mark.parametrize(
    ("expression", "made"),
    [
        ("{'id': data.customer.id}", {"id": "c_1"}),
        ("data", DATA),
        ("{'skus': data.items.map(item, item.sku)}", {"skus": ["a", "b"]}),
        ("{'at': occurred_at, 'type': type}", {"at": "2026-04-24T12:00:00.005+00:00", "type": "order.paid"}),
        ("{'for': duration('90s'), 'whole': 3u, 'none': null}", {"for": "90s", "whole": 3, "none": None}),
        ("data.live ? {'live': true} : {}", {"live": True}),
    ],
)
def test_a_transform_makes_the_data(expression: str, made: object) -> None:
    result = transformed(expression)
    assert result.error is None
    assert result.data is not None
    assert json.loads(result.data) == made


def test_a_transform_gives_the_same_bytes_each_time() -> None:
    assert transformed("{'b': 1, 'a': 2, 'c': 3}").data == '{"a":2,"b":1,"c":3}'


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("data.amount", "a number for this event instead of a map"),
        ("{'x': data.missing}", "the event has no 'missing'"),
        ("{1: data.amount}", "keys that are not strings"),
        ("{'x': b'raw'}", "it gives bytes"),
        ("{'x': 1.0 / 0.0}", "which JSON cannot hold"),
    ],
)
def test_a_transform_that_fails_matches_and_says_why(expression: str, reason: str) -> None:
    result = transformed(expression)
    assert (result.matches, result.data) == (True, None)
    assert result.error is not None
    assert reason in result.error


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "does not compile at character 1"),
        ("1 +", "does not compile at character 4"),
        ("data.x ==\n= 2", "does not compile at line 2, character 1"),
        ("data.x == 'open", "does not compile at character 11"),
        ("data.\u202e", "does not compile at character 6"),
        ("\\x" * 400, "does not compile at character 1"),
        ("data.`a`", "does not compile"),
        ("(" * 200 + "true" + ")" * 200, "does not compile"),
        ("a" * 1001, "1,001 characters; at most 1,000"),
        ("1 + 1", "always gives a number, a string or a list; it must give a bool"),
        ("'text'", "always gives a string"),
        ("data.items.map(x, x)", "always gives a list"),
        ("data.live ? 'x' : 'y'", "always gives a string"),
        ("size(data)", "always gives a number"),
        ("{'a': 1}", "always gives a map"),
        ("(null)", "always gives null"),
        ("unknown(1)", "unknown function at character 1: unknown"),
        ("data.items.exist(x, true)", "did you mean exists?"),
        ("exists(data.items, true)", "unknown function"),
        ("datas.x == 1", "unknown name at character 1: datas; did you mean data?"),
        ("Point{x: 1} == data", "unknown name"),
        ("data.a.exists(x, x.b.exists(y, y == 1))", "macros cannot be nested"),
        ("data.a.exists(x, x == data.b)", "reads `data` at character 23 inside a macro"),
        (".data.a == 1", "unknown name at character 2: data"),
        ("data.a.exists(x, x == .data.b)", "unknown name"),
        ("data.s.matches(data.p)", "without a pattern in quotes"),
        ("data.s.matches('a' + data.p)", "without a pattern in quotes"),
        ("matches(data.s, 'a')", "without a pattern in quotes"),
        ("data.s.matches('(')", "pattern that cannot be used"),
        ("data.s.matches('(a{100}){100}')", "pattern that cannot be used"),
        (r"data.s.matches('\\pL{100}')", "pattern that cannot be used"),
        ("data.s.matches(b'a')", "pattern of bytes"),
        (" && ".join(["data.a == 1"] * 65), "reads the data up to 65 times"),
        ("data.a" + ".map(x, [x, x, x, x])" * 3 + ".size() == 1", "reads the data up to 125 times"),
        ("data.x ? 1 + data.y + " + "+".join(["data.z"] * 70) + " == 1 : false", "reads the data up to 72 times"),
    ],
)
def test_an_invalid_expression_is_refused_with_the_place_and_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(ExpressionRefused, match=re.escape(reason)):
        compile_expression(expression, "filter")


def test_chained_macros_multiply_how_often_the_data_is_read() -> None:
    expression = "data.a" + ".map(x, [x, x, x])" * 3 + ".size() == 1"
    assert compile_expression(expression, "filter").reads == MAX_READS["filter"]


def test_a_transform_must_give_a_map_and_may_be_longer() -> None:
    with pytest.raises(ExpressionRefused, match="it must give a map"):
        compile_expression("data.amount > 1", "transform")
    assert compile_expression("{'a': '" + "x" * 3_900 + "'}", "transform").reads == 1


@given(st.text(max_size=60), st.sampled_from(get_args(Purpose)))
def test_any_text_compiles_or_is_refused(text: str, purpose: Purpose) -> None:
    with suppress(ExpressionRefused):
        assert compile_expression(text, purpose).reads >= 1


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=30))
def test_any_data_matches_or_fails_with_a_reason(value: object) -> None:
    for expression in ("data.x == 1", "data.x.exists(y, y == 1)", "size(data.x) > 1"):
        result = filtered(expression, {"x": value})
        assert result.error is None or result.error


def test_data_beyond_the_limits_fails_instead_of_costing_time() -> None:
    assert "more than 10,000 values" in str(filtered("data.x == 1", {"x": list(range(MAX_VALUES))}).error)
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    assert "64 levels" in str(filtered("data.x == 1", {"x": deep}).error)
    lone = ExpressionInput("evt_1", "a", datetime.now(UTC), b'{"x":"\\ud800"}')
    assert "not valid Unicode" in str(evaluate_expressions(Expressions(filter="true"), EvaluationContext(lone)).error)


def test_steps_grow_with_the_data_and_with_how_often_it_is_read() -> None:
    once, often = (
        compile_expressions(Expressions(filter=text)) for text in ("data.a == 1", "data.a == 1 || data.b == data.c")
    )
    small, large = (an_event({"a": a}).steps_a_read for a in (1, list(range(1_000))))
    assert once.steps(small) < once.steps(large)
    assert once.steps(large) * 3 <= often.steps(large)
    assert once.steps(large) >= 1_000
