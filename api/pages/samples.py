"""Sample events, by which people try an endpoint or its expressions."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from sendoff.errors import Invalid
from sendoff.policy.endpoints.matching import matches

from ..customers.event_types import EventTypeView


def sample_data(types: Sequence[EventTypeView], subscribed: Sequence[str], wanted: str) -> tuple[str, str]:
    """A type, by default the first that the endpoint is subscribed to, and the text of its example."""
    offered = [one for one in types if matches(subscribed, one.name)]
    chosen = wanted or (offered[0].name if offered else "")
    example = next((one.example for one in types if one.name == chosen), None)
    return chosen, orjson.dumps(example or {"test": True}, option=orjson.OPT_INDENT_2).decode()


def parse_sample(text: str, *, field: str) -> dict[str, object]:
    """The data of a form's field. Raises Invalid."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"The data is not JSON: {error}.", field=field) from None
    if not isinstance(parsed, dict):
        raise Invalid('The data must be a JSON object, such as {"test": true}.', field=field)
    return parsed
