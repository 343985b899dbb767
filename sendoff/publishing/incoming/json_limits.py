"""What is wrong with a text that is not JSON, and how deep and wide one is that is.

The latter is measured on the text: cheaper than decoding it, and safe for hostile input.
"""

from __future__ import annotations

import msgspec

from sendoff.errors import Invalid

BadJson = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The decoder's errors for text that is not JSON, not UTF-8, or nested too deeply."""

DEEPEST_NESTING = 64
"""Levels of arrays and objects: more than people write, less than any receiver's parser gives up at."""

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def is_nested_deeper(json_text: bytes, levels: int) -> bool:
    """Whether valid JSON nests arrays and objects deeper than `levels`."""
    if json_text.count(b"{") + json_text.count(b"[") <= levels:
        return False
    brackets = without_strings(json_text).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(levels):  # each round takes off the innermost level
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def without_strings(json_text: bytes) -> bytes:
    """Valid JSON without its strings: numbers, brackets and what separates them."""
    # Once escaped quotes are gone, every second quote ends a string. A regular expression takes five times as long.
    plain = json_text.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in json_text else json_text
    return b"".join(plain.split(b'"')[::2])


def has_more_keys(json_text: bytes, most: int) -> bool:
    """Whether the objects of valid JSON have more than `most` keys together."""
    # Outside of strings a colon stands behind a key and nowhere else.
    return json_text.count(b":") > most and without_strings(json_text).count(b":") > most


def malformed(error: Exception) -> Invalid:
    """The error for one of BadJson."""
    if isinstance(error, RecursionError):
        return Invalid("The body is nested too deeply; flatten it.")
    if isinstance(error, UnicodeDecodeError):
        return Invalid("The body is not UTF-8; JSON is always sent as UTF-8.")
    return Invalid(f"The body is not valid JSON: {error}")
