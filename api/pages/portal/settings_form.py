"""The form of an endpoint's settings: what of an event is sent, how requests authenticate, and when they are repeated.

What is saved of secrets is never shown: header values are `***`, and passwords, tokens and keys are left out, which are
not even sent back when the form has a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sendoff.errors import Invalid
from sendoff.policy.endpoints.auth import MASK
from sendoff.store.tables import Endpoint

from ...http.validation import validate
from ...optimaldial.schemas import WebhookChange
from ..endpoint_fields import AUTH_LABELS, INPUTS
from ..page import PageRequest

AUTH_FIELDS: Mapping[str, Mapping[str, str]] = {
    "basic": {"username": "User name", "password": "Password"},
    "bearer": {"token": "Token"},
    "oauth2": {
        "token_url": "Token URL",
        "client_id": "Client id",
        "client_secret": "Client secret",
        "scope": "Scope (optional)",
        "audience": "Audience (optional)",
    },
    "mtls": {"certificate": "Certificate with its chain (PEM)", "private_key": "Private key (PEM)"},
}
"""What each kind of authentication asks for, with the labels. The form's fields are named `basic.username`."""

SECRETS = frozenset({"password", "token", "client_secret", "private_key"})
"""Fields that a page never shows, not even when it comes back with an error."""

KEEP = "keep"
"""The choice that leaves the authentication as it is."""

SINGLE_ATTEMPT = "none"
"""What the schedule is written as when there are no retries."""


@dataclass(frozen=True, slots=True)
class SettingsForm:
    """The form as it was sent, or as the endpoint is."""

    filter: str = ""
    transform: str = ""
    headers: str = ""
    """A header each line."""
    auth: str = "none"
    """One of AUTH_LABELS, or KEEP."""
    auth_values: Mapping[str, str] = field(default_factory=dict, repr=False)
    retry_schedule: str = ""
    """Waits separated by commas; empty for the installation's schedule, SINGLE_ATTEMPT for no retries."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What was given for each of `INPUTS`, by its name."""

    @classmethod
    def of_endpoint(cls, endpoint: Endpoint) -> SettingsForm:
        schedule = endpoint.retry_schedule
        return cls(
            filter=endpoint.filter or "",
            transform=endpoint.transform or "",
            headers="\n".join(f"{name}: {MASK}" for name in endpoint.header_names or ()),
            auth=KEEP if endpoint.auth_type else "none",
            retry_schedule="" if schedule is None else ", ".join(schedule) or SINGLE_ATTEMPT,
            values={one.name: one.write(getattr(endpoint, one.attribute)) for one in INPUTS},
        )

    @classmethod
    async def of_page(cls, page: PageRequest) -> SettingsForm:
        """What was sent. Lines of a text field come with CR LF."""
        sent = {name: value.replace("\r\n", "\n").strip() for name, value in (await page.form()).items()}
        return cls(
            filter=sent.get("filter", ""),
            transform=sent.get("transform", ""),
            headers=sent.get("headers", ""),
            auth=sent.get("auth", "none"),
            auth_values={name: value for name, value in sent.items() if "." in name and value},
            retry_schedule=sent.get("retry_schedule", ""),
            values={one.name: sent.get(one.name, "") for one in INPUTS},
        )

    def shown(self, name: str) -> str:
        """What a field of the authentication holds when the form comes back; nothing secret."""
        return "" if name.rpartition(".")[2] in SECRETS else self.auth_values.get(name, "")

    def changes(self, before: SettingsForm) -> dict[str, Any]:
        """What differs, for `update_endpoint`. Raises Invalid, which names the field."""
        self._check_choice()
        ours, theirs = self._fields(), before._fields()
        changed = {name: value for name, value in ours.items() if value != theirs[name]}
        for one in INPUTS:
            # Compared as texts: what is not touched stays, even if the form cannot hold it exactly.
            text = self.values.get(one.name, "")
            if text != before.values.get(one.name, "").strip():
                changed[one.name] = one.read(text)
        if self.auth != KEEP and (self.auth != "none" or before.auth == KEEP):
            changed["auth"] = self._auth()
        return validate(WebhookChange, changed).given()

    def _check_choice(self) -> None:
        """Raise Invalid for values of an authentication that is not chosen: they would be lost without a word."""
        others = {name.partition(".")[0] for name in self.auth_values} - {self.auth}
        if others and self.auth not in AUTH_FIELDS:
            raise Invalid(
                f"`auth`: The fields for {AUTH_LABELS.get(min(others), min(others))} are filled in, and it is not "
                "chosen; choose it, or clear them.",
                field="auth",
            )

    def _fields(self) -> dict[str, Any]:
        return {
            "filter": self.filter or None,
            "transform": self.transform or None,
            "headers": _headers(self.headers),
            "retry_schedule": _schedule(self.retry_schedule),
        }

    def _auth(self) -> dict[str, str] | None:
        if self.auth == "none":
            return None
        if self.auth not in AUTH_FIELDS:
            raise Invalid(f"`auth` must be one of {', '.join([KEEP, *AUTH_LABELS])}.", field="auth")
        given = {name: self.auth_values.get(f"{self.auth}.{name}") for name in AUTH_FIELDS[self.auth]}
        return {"type": self.auth, **{name: value for name, value in given.items() if value}}


def _headers(text: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.split("\n"))):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise Invalid("`headers` takes `Name: value`, a line each.", field="headers")
        if name.strip() in found:
            raise Invalid(f"`headers` has `{name.strip()}` twice; leave one out.", field="headers")
        found[name.strip()] = value.strip()
    return found or None


def _schedule(text: str) -> list[str] | None:
    if text == SINGLE_ATTEMPT:
        return []
    return text.replace(",", " ").split() or None
