"""Which schemas a version runs on, so that two versions work beside each other."""

from __future__ import annotations

import pytest

from sendoff.store.engine import revisions
from sendoff.store.engine.revisions import RUNS_BESIDE, RUNS_ON, judge_schema, newest_revision, stays_beside


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose own revision is 0020, and which runs on 0018 and later."""
    monkeypatch.setattr(revisions, "newest_revision", lambda: "0020")
    monkeypatch.setattr(revisions, "RUNS_ON", "0018")


@pytest.mark.parametrize(
    ("found", "runs_beside", "runs", "said"),
    [
        ("0020", None, True, None),
        ("0018", None, True, "run `sendoff migrate`"),
        ("0017", None, False, "needs 0018; run `sendoff migrate`"),
        (None, None, False, "revision none"),
        ("0021", "0020", True, "upgrade it soon"),
        ("0030", "0018", True, "upgrade it soon"),
        ("0021", "0021", False, "install the version that migrated it"),
        ("0021", None, False, "install the version that migrated it"),
    ],
)
def test_a_version_runs_on_what_it_needs_and_on_what_newer_ones_leave_it(
    found: str | None, runs_beside: str | None, runs: bool, said: str | None
) -> None:
    judged, remark = judge_schema(found, runs_beside)
    assert judged is runs
    assert (remark is None) is (said is None)
    assert (said or "") in (remark or "")


@pytest.mark.parametrize(
    ("found", "runs_beside", "stays"),
    [
        ("0020", "0019", True),
        ("0019", "0019", True),
        ("0018", "0019", False),
        ("0013", "0012", False),  # it does not read what the newer version writes
        ("0014", "0012", True),
    ],
)
def test_the_version_that_made_a_schema_stays_beside_the_one_that_migrates_it(
    found: str, runs_beside: str, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "RUNS_BESIDE", runs_beside)
    assert stays_beside(found) is stays


def test_the_statements_of_this_version_are_possible() -> None:
    assert newest_revision() >= RUNS_ON
    assert newest_revision() >= RUNS_BESIDE
