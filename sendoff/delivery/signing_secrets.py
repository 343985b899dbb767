"""Which secrets sign for an endpoint at a time: the current one and, after a rotation, the one before."""

from __future__ import annotations

from datetime import datetime

from sendoff.store.queries.endpoints import Destination
from sendoff.store.tables import Endpoint
from sendoff.store.vault import Vault


def open_secrets(vault: Vault, endpoint: Endpoint | Destination, *, now: datetime) -> list[str]:
    """The endpoint's valid secrets, newest first: one, or two while the overlap of a rotation lasts.

    Raises CannotOpenSecret when the current one cannot be opened.
    """
    sealed = [endpoint.secret]
    if endpoint.previous_secret is not None and endpoint.previous_secret_until is not None:
        sealed += [endpoint.previous_secret] * (now < endpoint.previous_secret_until)
    return [vault.open(one, bound_to=endpoint.id) for one in sealed]
