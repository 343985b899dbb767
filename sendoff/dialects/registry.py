"""The dialects of an installation, by name. To add one, write a module and list it in `built_in`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property

from sendoff.dialects.base import AttemptInfo, Dialect, EventData
from sendoff.dialects.branded import FORMER_NAME, NAME, BrandedDialect
from sendoff.dialects.cloudevents import CloudEvents
from sendoff.dialects.dialbird import DIALBIRD
from sendoff.dialects.email import Email
from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.dialects.slack import Slack
from sendoff.dialects.standard import StandardWebhooks
from sendoff.errors import Invalid
from sendoff.verify import SCHEMES, Scheme


def built_in(default: BrandedDialect) -> Sequence[Dialect]:
    """The dialects besides the default one; they send its user agent where a contract allows any."""
    return (
        DIALBIRD,
        StandardWebhooks("standard", user_agent=default.agent),
        StandardWebhooks("standard-v1a", user_agent=default.agent, asymmetric=True),
        CloudEvents(StandardWebhooks("cloudevents", user_agent=default.agent), default.brand),
    )


class Dialects:
    """The dialects of one installation: its default one, also found under the brand's name, and others."""

    def __init__(self, default: BrandedDialect = OPTIMALDIAL, *more: Dialect) -> None:
        """`more`: dialects besides the built-in ones."""
        self.default = default
        self._by_name = {dialect.name: dialect for dialect in (default, *built_in(default), *more)}
        self._of_alerts: dict[str, Dialect] = {one.name: one for one in (Email(), Slack(default.agent))}

    @property
    def receiver_schemes(self) -> dict[str, Scheme]:
        """How receivers verify each dialect, by all names that it has."""
        own = (NAME, FORMER_NAME, self.default.brand, self.default.brand.lower())
        return {**SCHEMES, **dict.fromkeys(own, self.default.receiver_scheme)}

    @property
    def names(self) -> list[str]:
        """The names of the dialects that any endpoint can speak, the default dialect's first."""
        return list(self._by_name)

    @cached_property
    def header_names(self) -> frozenset[str]:
        """The names, in lower case, of all headers that the dialects send."""
        event = EventData("evt_0", "webhook.ping", "", datetime.now(UTC), b"{}")
        attempt = AttemptInfo(delivery_id="", attempt=1, timestamp=0)
        sent = [one.headers(event, attempt, b"{}", [one.new_secret()]) for one in self._by_name.values()]
        return frozenset(name.lower() for headers in sent for name, _ in headers)

    def get(self, name: str) -> Dialect:
        """The dialect of that name. Raises Invalid (field `dialect`) for an unknown one."""
        if name in self._by_name:
            return self._by_name[name]
        if name in self._of_alerts:
            return self._of_alerts[name]
        if name in (self.default.brand, self.default.brand.lower(), FORMER_NAME):
            return self.default
        raise Invalid(f"Unknown dialect {name!r}; use one of {', '.join(self.names)}.", field="dialect")
