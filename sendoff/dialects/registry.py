"""The dialects that endpoints can be created with, by name. A new one is a file and a line in `built_in`."""

from __future__ import annotations

from collections.abc import Sequence

from sendoff.dialects.base import Dialect
from sendoff.dialects.branded import HouseDialect
from sendoff.dialects.dialbird import DIALBIRD
from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.dialects.standard import StandardWebhooks
from sendoff.errors import Invalid


def built_in(house: HouseDialect) -> Sequence[Dialect]:
    """What every installation speaks beside its house dialect; where a contract leaves it open, under its name."""
    return (
        DIALBIRD,
        StandardWebhooks("standard", user_agent=house.agent),
        StandardWebhooks("standard-v1a", user_agent=house.agent, asymmetric=True),
    )


class Dialects:
    """The dialects of one installation: its house dialect, which its brand is another name for, and the others."""

    def __init__(self, house: HouseDialect = OPTIMALDIAL, *more: Dialect) -> None:
        """`more`: dialects beside the built-in ones."""
        self.house = house
        self._by_name = {dialect.name: dialect for dialect in (house, *built_in(house), *more)}

    @property
    def names(self) -> list[str]:
        """The names, the house's first."""
        return list(self._by_name)

    def get(self, name: str) -> Dialect:
        """The dialect of that name. Raises Invalid (field `dialect`) for an unknown one."""
        if name in self._by_name:
            return self._by_name[name]
        if name in (self.house.brand, self.house.brand.lower()):
            return self.house
        raise Invalid(f"There is no dialect {name!r}; known are {', '.join(self.names)}.", field="dialect")
