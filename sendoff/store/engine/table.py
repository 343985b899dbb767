"""What every table is made of."""

from __future__ import annotations

from sqlmodel import SQLModel


class Table(SQLModel):
    """The base of the tables.

    Rows are made by this program and never validated: `defer_build` leaves the validators unmade, which would take a
    fifth of the CPU time that a process needs to start.
    """

    model_config = {"defer_build": True}
