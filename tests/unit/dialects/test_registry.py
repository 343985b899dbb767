"""Dialects are found by name."""

from __future__ import annotations

import pytest

from sendoff.dialects.branded import BrandedDialect
from sendoff.dialects.registry import Dialects
from sendoff.errors import Invalid

ACME = BrandedDialect(brand="Acme", api_version="1")


def test_every_dialect_is_found_under_its_own_name() -> None:
    dialects = Dialects()
    assert dialects.names == ["default", "dialbird", "standard", "standard-v1a", "cloudevents"]
    assert [dialects.get(name).name for name in dialects.names] == dialects.names


def test_the_brand_and_the_former_name_find_the_default_dialect() -> None:
    assert Dialects().get("optimaldial").name == Dialects().get("house").name == "default"
    assert Dialects(ACME).get("acme") is ACME
    with pytest.raises(Invalid):
        Dialects(ACME).get("optimaldial")


def test_an_unknown_dialect_is_an_invalid_request_that_names_the_known_ones() -> None:
    with pytest.raises(Invalid, match="use one of default, dialbird, standard") as caught:
        Dialects().get("smoke-signals")
    assert caught.value.field == "dialect"
