"""Slack's incoming webhooks, and what understands their messages (Mattermost, Rocket.Chat): for alert endpoints."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Sequence
from typing import Any

import orjson

from sendoff.dialects.alert import Alert, compose
from sendoff.dialects.base import CONTENT_TYPE, AttemptInfo, EventData, Headers, check_text_secret
from sendoff.dialects.signing import versioned_hex

_LONGEST_TEXT = 2_900  # of a section's 3,000 characters, so that the marks around it fit
_LONGEST_FIELD = 1_900  # of 2,000
_MOST_FIELDS = 10  # in one section
_LONGEST_TITLE = 500


class Slack:
    """A `text` for notifications and blocks for the channel. Slack checks no signature; one is sent all the same."""

    name = "slack"

    def __init__(self, user_agent: str) -> None:
        self._user_agent = user_agent

    def new_secret(self) -> str:
        return randomness.token_hex(32)

    def check_secret(self, secret: str) -> None:
        check_text_secret(secret)

    def body(self, event: EventData) -> bytes:
        alert = compose(event)
        return orjson.dumps({"text": _cut(escape(alert.title), _LONGEST_TITLE), "blocks": list(_blocks(alert, event))})

    def headers(self, event: EventData, attempt: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        return [
            CONTENT_TYPE,
            ("User-Agent", self._user_agent),
            ("X-Sendoff-Timestamp", str(attempt.timestamp)),
            ("X-Sendoff-Signature", versioned_hex(attempt.timestamp, body, secrets)),
            ("X-Sendoff-Event-Id", event.event_id),
        ]


def escape(text: str) -> str:
    """The text as Slack shows it to the letter: no mention, link or formatting within it has an effect."""
    plain = "".join(" " if not character.isprintable() else character for character in text)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str, longest: int) -> str:
    """The text in a fixed-width font, in which nothing in it is taken for formatting or for a link."""
    return f"`{_cut(escape(text.replace('`', chr(39))), longest)}`"


def _cut(escaped: str, longest: int) -> str:
    """At most `length` characters, without half of an entity at the end."""
    if len(escaped) <= longest:
        return escaped
    cut = escaped[:longest]
    start = cut.rfind("&")
    return (cut[:start] if start > longest - 5 and ";" not in cut[start:] else cut) + "…"


def _blocks(alert: Alert, event: EventData) -> Sequence[dict[str, Any]]:
    blocks = [_section(f"*{_cut(escape(alert.title.replace('*', '')), _LONGEST_TITLE)}*")]
    for start in range(0, len(alert.facts), _MOST_FIELDS):
        fields = [
            {"type": "mrkdwn", "text": f"{_cut(escape(name), 100)}\n{_code(value, _LONGEST_FIELD)}"}
            for name, value in alert.facts[start : start + _MOST_FIELDS]
        ]
        blocks.append({"type": "section", "fields": fields})
    if alert.remedy:
        blocks.append(_section(_cut(escape(alert.remedy), _LONGEST_TEXT)))
    if alert.commands:
        blocks.append(_section("\n".join(_code(command, _LONGEST_FIELD // 4) for command in alert.commands)))
    footer = escape(f"{event.type} · {event.event_id}") + (f" · {_link(alert.page)}" if alert.page else "")
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": footer}]})
    return blocks


def _link(page: str) -> str:
    """A link if the installation's own address is known, or else the path."""
    return f"<{escape(page)}|Dashboard>" if page.startswith(("https://", "http://")) else _code(page, 500)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}
