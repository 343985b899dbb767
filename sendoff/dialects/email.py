"""Mail to a person: for alert endpoints whose URL is a `mailto:`."""

from __future__ import annotations

import secrets as randomness
import textwrap
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from sendoff.dialects.alert import Alert, compose
from sendoff.dialects.base import AttemptInfo, EventData, Headers, check_text_secret

_WIDTH = 78
_LONGEST_SUBJECT = 180


class Email:
    """A message in plain text without sender and recipient, which the mailer writes above it. Mail is not signed."""

    name = "email"

    def new_secret(self) -> str:
        return randomness.token_hex(32)

    def check_secret(self, secret: str) -> None:
        check_text_secret(secret)

    def body(self, event: EventData) -> bytes:
        alert = compose(event)
        message = EmailMessage(policy=SMTP)
        message["Subject"] = f"[Sendoff] {_plain(alert.title)}"[:_LONGEST_SUBJECT]
        message["Date"] = format_datetime(event.occurred_at)
        message["Message-ID"] = f"<{event.event_id}@sendoff.invalid>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence notice answers it
        message.set_content(_text(alert, event), cte="quoted-printable")
        return message.as_bytes()

    def headers(self, event: EventData, attempt: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        return []


def _text(alert: Alert, event: EventData) -> str:
    parts = [textwrap.fill(_plain(alert.title) + ".", _WIDTH)]
    if alert.facts:
        width = max(len(_plain(name)) for name, _ in alert.facts)
        parts.append("\n".join(f"{_plain(name):<{min(width, 24)}}  {_plain(value)}" for name, value in alert.facts))
    if alert.remedy:
        parts.append(textwrap.fill(alert.remedy, _WIDTH))
    if alert.commands:
        parts.append("\n".join(f"  {_plain(command)}" for command in alert.commands))
    if alert.page:
        parts.append(f"Dashboard: {_plain(alert.page)}")
    parts.append(f"Event {event.type} {event.event_id}")
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """The text on one line, without characters that steer a terminal or begin a header."""
    return "".join(character if character.isprintable() else " " for character in text)
