"""The schema revisions that this version runs on, so that processes of two versions can work beside each other.

A version's own revision is the number of its newest migration. CONTRIBUTING.md says when these two change.
"""

from __future__ import annotations

from pathlib import Path

RUNS_ON = "0033"
"""The oldest revision that this version's code runs on: the newest one whose columns or tables it needs. A process
refuses to start on an older schema. Raise it in the change that needs a new migration."""

RUNS_BESIDE = "0012"
"""The own revision of the oldest version that runs on this version's schema. `sendoff migrate` writes it into the
database, where older processes read it: those that are older still refuse to start. Raise it with a migration that
removes, renames or newly demands something."""

READS_RUNS_BESIDE = "0014"
"""The own revision of the oldest version that reads RUNS_BESIDE in the database. Older ones refuse every newer
schema."""

MIGRATIONS = Path(__file__).parents[1] / "migrations"


def newest_revision() -> str:
    """This version's own revision: the number that the newest migration's file name begins with."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]


def stays_beside(found: str) -> bool:
    """Whether the version that made the schema at `found` runs on the schema of this one, and may be started on it."""
    return found >= max(RUNS_BESIDE, READS_RUNS_BESIDE)


def judge_schema(found: str | None, runs_beside: str | None) -> tuple[bool, str | None]:
    """Whether this version runs on a schema at `found`, and a sentence unless that is its own revision.

    `runs_beside` is what the version that migrated the schema wrote into it.
    """
    own = newest_revision()
    if found == own:
        return True, None
    if found is None or found < RUNS_ON:
        needed = f"The database's schema is at revision {found or 'none'}, this version needs {RUNS_ON}"
        return False, f"{needed}; run `sendoff migrate`."
    if found < own:
        return True, f"The database's schema is at revision {found}, {own} is the newest; run `sendoff migrate`."
    if runs_beside is not None and runs_beside <= own:
        return True, f"The database's schema is at revision {found}, newer than this version's {own}; upgrade it soon."
    return False, (
        f"The database's schema is at revision {found}, which this version ({own}) does not run on; "
        "install the version that migrated it."
    )
