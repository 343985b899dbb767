"""Event types and who gets them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.endpoints.matching import (
    BUILT_IN_TYPES,
    DEFAULT_SUBSCRIPTION,
    PING,
    first_unknown,
    is_event_type_name,
    is_pattern,
    is_reserved,
    matches,
    patterns_of,
)

names = st.from_regex(r"[a-z0-9_]{1,6}(\.[a-z0-9_]{1,6}){0,3}", fullmatch=True).filter(lambda n: n != PING)


@pytest.mark.parametrize("name", ["a", "upload.completed", "a_b.c_1.9", "_", "x" * 128, *BUILT_IN_TYPES, PING])
def test_words_joined_by_dots_name_an_event_type(name: str) -> None:
    assert is_event_type_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "Upload.x",
        "a-b",
        "a b",
        "a\n",
        "a.*",
        "*",
        "é",
        "x" * 129,
        "a/b",
        "٣",
        "a\r\nX: y",
    ],
)
def test_other_names_are_not_event_types(name: str) -> None:
    assert not is_event_type_name(name)


def test_the_built_in_types_are_those_of_the_two_contracts() -> None:
    assert set(BUILT_IN_TYPES) == {
        "upload.created",
        "upload.completed",
        "upload.failed",
        "message.incoming.received",
        "message.outgoing.delivered",
        "call.incoming.completed",
        "call.outgoing.completed",
    }
    assert set(DEFAULT_SUBSCRIPTION) < set(BUILT_IN_TYPES)


@given(st.lists(names), names)
def test_an_endpoint_gets_exactly_the_types_it_lists(subscribed: list[str], event_type: str) -> None:
    assert matches(subscribed, event_type) == (event_type in subscribed)
    assert matches([*subscribed, event_type], event_type)


@pytest.mark.parametrize("subscription", ["*", "upload.*", "upload.completed"])
def test_a_pattern_matches_the_types_that_begin_with_its_words(subscription: str) -> None:
    assert matches([subscription], "upload.completed")


@pytest.mark.parametrize(
    "subscription", ["upload", "upload.completed.", "UPLOAD.COMPLETED", "upload.completed.*", "up*", "*.completed", ""]
)
def test_nothing_else_is_a_pattern(subscription: str) -> None:
    assert not matches([subscription], "upload.completed")


@given(names)
def test_each_pattern_of_a_type_matches_it_and_is_a_name_or_a_pattern(name: str) -> None:
    for pattern in patterns_of(name):
        assert matches([pattern], name)
        assert is_pattern(pattern) or pattern == name


@pytest.mark.parametrize("text", ["**", "*.a", "a.*.b", "a*", ".*", "a..*", "A.*", "a.b", "x" * 128 + ".*.*"])
def test_a_name_is_told_from_a_pattern(text: str) -> None:
    assert not is_pattern(text)


def test_a_ping_matches_no_subscription_and_can_neither_be_subscribed_to_nor_published() -> None:
    assert not matches([PING, "*", "webhook.*"], PING)
    assert is_reserved(PING)
    assert first_unknown(["upload.failed", PING], [*BUILT_IN_TYPES, PING]) == PING


def test_the_first_unknown_type_is_named() -> None:
    assert first_unknown(["upload.failed", "a.b", "c.d"], BUILT_IN_TYPES) == "a.b"
    assert first_unknown([], BUILT_IN_TYPES) is None
    assert first_unknown(BUILT_IN_TYPES, BUILT_IN_TYPES) is None
