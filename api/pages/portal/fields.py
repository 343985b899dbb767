"""What the forms of the portal hold, as the operations take it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sendoff.errors import Invalid
from sendoff.policy.endpoints.matching import ALL_TYPES

from ...http.schemas import QueryTime
from ...http.validation import RequestBody, validate
from ...optimaldial.schemas import NewWebhook, WebhookChange
from ..page import PageRequest

EVERYTHING = "everything"
"""The name of the checkbox that subscribes to all types, those of the future as well."""


@dataclass(frozen=True, slots=True)
class EndpointForm:
    """The form of an endpoint: as it was sent, so that it can be shown again with an error."""

    url: str = ""
    description: str = ""
    events: Sequence[str] = ()
    dialect: str = ""

    @classmethod
    async def of(cls, page: PageRequest) -> EndpointForm:
        pairs = await page.form_pairs()
        fields = dict(pairs)
        chosen = [value for name, value in pairs if name == "events"]
        return cls(
            url=fields.get("url", "").strip(),
            description=fields.get("description", "").strip(),
            events=[ALL_TYPES] if EVERYTHING in fields else chosen,
            dialect=fields.get("dialect", ""),
        )

    def new_endpoint(self, settings: Mapping[str, Any]) -> NewWebhook:
        """What to register, with its settings. Raises Invalid, which names the field."""
        dialect = {"dialect": self.dialect} if self.dialect else {}
        return validate(NewWebhook, {**self._fields(), **dialect, **settings})

    def changes(self, current: Mapping[str, Any]) -> dict[str, Any]:
        """What differs from `current`, for `update_endpoint`. Raises Invalid, which names the field."""
        changed = {name: value for name, value in self._fields().items() if value != current[name]}
        return validate(WebhookChange, changed).given()

    def _fields(self) -> dict[str, Any]:
        if not self.events:
            raise Invalid("Choose at least one event type, or all of them.", field="events")
        return {"url": self.url, "description": self.description or None, "events": list(self.events)}


class _Since(RequestBody):
    since: QueryTime


def read_since(text: str) -> datetime:
    """The time of a form's field. Raises Invalid."""
    return validate(_Since, {"since": text.strip()}).since


def extra_events(subscribed: Collection[str], offered: Collection[str]) -> list[str]:
    """What an endpoint is subscribed to beyond the checkboxes: patterns, and types that are not offered any more."""
    return [name for name in subscribed if name not in offered and name != ALL_TYPES]
