"""The dialects that endpoints can be created with, by name. A new one is a file and a line here."""

from __future__ import annotations

from sendoff.dialects.base import Dialect
from sendoff.dialects.dialbird import DIALBIRD
from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.dialects.standard import STANDARD
from sendoff.errors import Invalid

_DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OPTIMALDIAL, DIALBIRD, STANDARD)}


def dialect_names() -> list[str]:
    """The names that `get_dialect` knows, in the order of the registry."""
    return list(_DIALECTS)


def get_dialect(name: str) -> Dialect:
    """The dialect of that name. Raises Invalid (field `dialect`) for an unknown one."""
    try:
        return _DIALECTS[name]
    except KeyError:
        known = ", ".join(_DIALECTS)
        raise Invalid(f"There is no dialect {name!r}; known are {known}.", field="dialect") from None
