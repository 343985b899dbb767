"""Dialects are found by name."""

from __future__ import annotations

import pytest

from sendoff.dialects.registry import dialect_names, get_dialect
from sendoff.errors import Invalid


def test_every_dialect_is_found_under_its_own_name() -> None:
    assert dialect_names() == ["optimaldial", "dialbird", "standard"]
    assert [get_dialect(name).name for name in dialect_names()] == dialect_names()


def test_an_unknown_dialect_is_an_invalid_request_that_names_the_known_ones() -> None:
    with pytest.raises(Invalid, match="known are optimaldial, dialbird, standard") as caught:
        get_dialect("smoke-signals")
    assert caught.value.field == "dialect"
