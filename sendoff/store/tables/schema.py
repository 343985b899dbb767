"""What the schema says of itself, beside its revision."""

from __future__ import annotations

from sqlmodel import Field

from sendoff.store.engine.table import Table


class SchemaCompatibility(Table, table=True):
    """`runs_beside`: the revision of the oldest version that runs on this schema (engine/revisions.py). One row."""

    __tablename__ = "schema_compatibility"

    id: int = Field(default=1, primary_key=True)
    runs_beside: str = Field(max_length=32)
