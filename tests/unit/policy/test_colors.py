"""Accent colours: whatever is chosen can be read on the ground of each scheme."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.colors import CONTRAST, contrast, readable_shade, text_on

colors = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@pytest.mark.parametrize(("one", "other", "expected"), [("#000000", "#ffffff", 21), ("#777777", "#ffffff", 4.48)])
def test_contrast_is_that_of_wcag(one: str, other: str, expected: float) -> None:
    assert contrast(one, other) == contrast(other, one) == pytest.approx(expected, abs=0.01)


@given(colors, st.sampled_from(["#e9edf2", "#28313d", "#ffffff", "#12171e"]))
def test_every_colour_has_a_shade_that_can_be_read_on_each_ground(color: str, ground: str) -> None:
    shade = readable_shade(color, ground)
    assert contrast(shade, ground) >= CONTRAST
    assert shade == color or contrast(color, ground) < CONTRAST


@given(colors)
def test_black_or_white_can_be_read_on_every_colour(ground: str) -> None:
    assert contrast(text_on(ground), ground) >= CONTRAST
