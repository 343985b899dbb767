"""Colours that can be read: contrast by WCAG 2.2, and the nearest shade of a colour that has enough of it."""

from __future__ import annotations

CONTRAST = 4.5
"""The least ratio of text to its ground (WCAG 2.2, 1.4.3). A lower one is unreadable to many."""

_STEPS = 50
_BLACK, _WHITE = "#000000", "#ffffff"


def readable_shade(color: str, ground: str) -> str:
    """The colour, made darker or lighter until it has enough contrast with the ground. Both are `#rrggbb`."""
    end = _BLACK if contrast(_BLACK, ground) > contrast(_WHITE, ground) else _WHITE
    shades = (_mix(color, end, step / _STEPS) for step in range(_STEPS + 1))
    return next(shade for shade in shades if contrast(shade, ground) >= CONTRAST)


def text_on(ground: str) -> str:
    """Black or white, whichever can be read better on the ground; one of them always has enough contrast."""
    return max((_WHITE, _BLACK), key=lambda text: contrast(text, ground))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours: 1 for equal ones, 21 for black and white."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(part / 255) for part in _parts(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def _mix(color: str, end: str, share: float) -> str:
    mixed = (round(one + (other - one) * share) for one, other in zip(_parts(color), _parts(end), strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _parts(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
