"""The usual mistakes of receivers: other bytes as the body, another key than the secret's, another signed content."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .schemes import Claim, Scheme, Standard

_LARGEST_JSON = 64 * 1024
"""Bytes of a body that is parsed and serialized again to compare. Doubling it doubles the time for hostile input."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Variant:
    """What one mistake, or none (`code` is empty), makes of a body, a key or the signed content.

    `text` completes "it fits …"; codes are stable, for programs.
    """

    code: str
    text: str
    value: bytes
    behind: bytes = b""
    """Of signed content: what follows the body; `value` is what goes in front."""


def vary_body(body: bytes, sent: bytes | None = None) -> Iterator[Variant]:
    """The body as it is, then with each usual change made or undone; `sent` is the body that the sender kept."""
    seen = {body}
    yield Variant("", "", body)
    for variant in _changed_bodies(body, sent):
        if variant.value not in seen:
            seen.add(variant.value)
            yield variant


def _changed_bodies(body: bytes, sent: bytes | None) -> Iterator[Variant]:
    if body.endswith(b"\n"):
        cut = body[:-2] if body.endswith(b"\r\n") else body[:-1]
        yield Variant("newline_added", "the body without the newline at its end", cut)
    yield Variant("newline_removed", "the body with a newline at its end", body + b"\n")
    yield Variant("newline_removed", "the body with a carriage return and a newline at its end", body + b"\r\n")
    yield Variant("white_space", "the body without the white space around it", body.strip())
    yield Variant("line_endings", "the body with line feeds in place of CR LF", body.replace(b"\r\n", b"\n"))
    yield Variant("line_endings", "the body with CR LF in place of line feeds", body.replace(b"\n", b"\r\n"))
    yield Variant("byte_order_mark", "the body without the byte order mark in front", body.removeprefix(_BOM))
    yield from _serialized_bodies(body)
    if sent is not None:
        yield Variant("other_bytes", f"the {len(sent):,} bytes that were sent, but not these {len(body):,}", sent)


def _serialized_bodies(body: bytes) -> Iterator[Variant]:
    if len(body) > _LARGEST_JSON:
        return
    try:
        value = json.loads(body)
        compact = _OUTSIDE_STRINGS.sub(lambda token: token["string"] or token["mark"] or "", body.decode())
        yield Variant("json_compact", "the body without white space between its values", compact.encode())
        spaced = _OUTSIDE_STRINGS.sub(lambda token: token["string"] or f"{token['mark']} ", compact)
        yield Variant("json_spaced", "the body with a space after each comma and colon", spaced.encode())
        for code, text, options in _SERIALIZATIONS:
            for ascii_only in (False, True):
                kind = f"{text}, with non-ASCII characters {'escaped' if ascii_only else 'as they are'}"
                dumped = json.dumps(value, ensure_ascii=ascii_only, **options)
                yield Variant(code, kind, dumped.encode("utf-8", "surrogatepass"))
                if "/" in dumped:
                    escaped = dumped.replace("/", "\\/")
                    yield Variant(code, f"{kind} and slashes escaped", escaped.encode("utf-8", "surrogatepass"))
        if isinstance(value, str):
            yield Variant("json_twice", "the text in the body, which is JSON within JSON", value.encode())
        yield Variant("json_twice", "the body as a JSON string", json.dumps(body.decode()).encode())
    except (ValueError, RecursionError):
        return


def is_spaced_json(body: bytes) -> bool:
    """Whether the body begins as JSON with white space does."""
    return _SPACED_JSON.match(body) is not None


_SPACED_JSON = re.compile(rb'\s*\{(\s+"|"[^"]{1,40}"\s*:\s)')
_OUTSIDE_STRINGS = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>[,:])|\s+')
"""Of valid JSON alone: where a string does not end, the search would take quadratic time."""

_COMPACT: Mapping[str, Any] = {"separators": (",", ":")}
_SERIALIZATIONS: Sequence[tuple[str, str, Mapping[str, Any]]] = (
    ("json_compact", "the JSON serialized without spaces", _COMPACT),
    ("json_spaced", "the JSON serialized with spaces after commas and colons", {}),
    ("json_sorted", "the JSON serialized without spaces, its keys sorted", {**_COMPACT, "sort_keys": True}),
    ("json_sorted", "the JSON serialized with spaces, its keys sorted", {"sort_keys": True}),
    ("json_indented", "the JSON indented by two spaces", {"indent": 2}),
    ("json_indented", "the JSON indented by four spaces", {"indent": 4}),
)
"""How libraries serialize by default: JavaScript, Go and PHP compactly, Python and Ruby's `pretty` otherwise."""


def vary_key(scheme: Scheme, secret: str) -> Iterator[Variant]:
    """The key of the secret as the scheme has it, then what usual mistakes make of it."""
    seen: set[bytes] = set()
    for code, text, make in _keys(scheme, secret):
        try:
            key = make()
        except ValueError:
            continue
        if key and key not in seen:
            seen.add(key)
            yield Variant(code, text, key)


def _keys(scheme: Scheme, secret: str) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    key_of: Callable[[str], bytes] = getattr(scheme, "key", str.encode)
    bare = secret.strip().strip("\"'").strip()
    core = bare.removeprefix("whsec_")
    yield "", "", lambda: key_of(secret)
    yield "secret_white_space", "the secret without the white space or quotation marks around it", lambda: key_of(bare)
    yield "secret_white_space", "the secret with a newline at its end", lambda: key_of(bare) + b"\n"
    yield "secret_hex_decoded", "the secret decoded from hexadecimal", lambda: bytes.fromhex(core)
    yield "secret_base64_decoded", "the secret decoded from base64", lambda: b64decode(core, validate=True)
    yield "secret_prefix_removed", "the secret's text without `whsec_`", core.encode
    yield "secret_prefix_kept", "the secret's text with `whsec_` in front", lambda: b"whsec_" + core.encode()


def vary_content(claim: Claim, body: bytes, *, alone: bool) -> Iterator[Variant]:
    """What may be signed around the body: first as the scheme has it, then, unless `alone`, as usual mistakes do."""
    own = claim.message[: len(claim.message) - len(body)]
    yield Variant("", "", own)
    if alone:
        return
    time = str(claim.timestamp).encode()
    identifier = (claim.event_id or "").encode("utf-8", "surrogatepass")
    others = (
        Variant("content_without_time", "the body alone, without the time", b""),
        Variant("content_without_time", "the id and the body without the time", identifier + b"."),
        Variant("content_without_dot", "the time and the body without the dot between them", time),
        Variant("content_of_other_scheme", "`{time}.{body}`, which another dialect signs", time + b"."),
        Variant("content_of_other_scheme", "`v0:{time}:{body}`, which another dialect signs", b"v0:" + time + b":"),
        Variant("content_in_milliseconds", "the time in milliseconds and the body", time + b"000."),
        Variant("content_reversed", "the body in front of the time", b"", b"." + time),
    )
    yield from (variant for variant in others if variant.value != own)


def rule_of_key(scheme: Scheme) -> str:
    """How the scheme makes a key of the secret, in a sentence."""
    if isinstance(scheme, Standard):
        return "The key is what the base64 behind `whsec_` decodes to: remove the prefix, then decode."
    return "The key is the whole secret as text (UTF-8), any prefix included: decode nothing and remove nothing."


def rule_of_content(scheme: Scheme, claim: Claim) -> str:
    """What the scheme signs, in a sentence."""
    if isinstance(scheme, Standard):
        form = "{webhook-id}.{webhook-timestamp}.{body}"
    else:
        form = "v0:{time}:{body}" if claim.message.startswith(b"v0:") else "{time}.{body}"
    return f"Signed is `{form}` with the raw bytes of the body, by HMAC-SHA256."


RULE_OF_BODY = (
    "Take the raw bytes of the body before anything parses, decodes or trims it: JSON that is serialized again has "
    "other bytes."
)
