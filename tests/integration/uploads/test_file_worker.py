"""Tasks that read files: their answers, their refusals, and what a file may cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sendoff.errors import Invalid, TooLarge
from sendoff.sandbox import SHORT_CPU_SECONDS, Sandbox
from sendoff.uploads.files import worker
from sendoff.uploads.files.converting import Converted
from sendoff.uploads.files.results import Written
from sendoff.uploads.files.tasks import ConvertJson, ValidateCsv, WriteResults
from sendoff.uploads.files.validating import Counts
from sendoff.uploads.files.worker import FileWorker
from tests.integration.uploads.contacts import valid_contacts


@pytest.fixture
async def file_worker() -> AsyncIterator[FileWorker]:
    sandbox = Sandbox()
    yield FileWorker(sandbox)
    await sandbox.aclose()


@pytest.fixture
def contacts_csv(tmp_path: Path) -> Path:
    path = tmp_path / "contacts.csv"
    path.write_text("phone\n" + "\n".join(row["phone"] for row in valid_contacts(12_000)) + "\nnone\n")
    return path


async def test_a_csv_is_counted_and_progress_reported(file_worker: FileWorker, contacts_csv: Path) -> None:
    progress: list[int] = []
    task = ValidateCsv(str(contacts_csv), "phone")
    assert await file_worker.run(task, organization_id="a", progress=progress.append) == Counts(12_000, 1)
    assert progress == [5_000, 10_000]


async def test_json_is_converted(file_worker: FileWorker, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"filename": "a.csv", "phone_numbers": ["4155552671", "x"]}))
    task = ConvertJson(str(body), str(tmp_path / "out.csv"))
    assert await file_worker.run(task, organization_id="a") == Converted(1, 1, filename="a.csv")


async def test_results_are_written(file_worker: FileWorker, contacts_csv: Path, tmp_path: Path) -> None:
    task = WriteResults(str(contacts_csv), "phone", str(tmp_path / "p"), str(tmp_path / "f"), 12_000, False)
    assert await file_worker.run(task, organization_id="a") == Written(12_000, 12_000)
    assert len((tmp_path / "p").read_text().splitlines()) == 12_001


async def test_a_refusal_keeps_its_message_and_field(
    file_worker: FileWorker, contacts_csv: Path, tmp_path: Path
) -> None:
    with pytest.raises(Invalid, match="'phone'") as caught:
        await file_worker.run(ValidateCsv(str(contacts_csv), "number"), organization_id="a")
    assert caught.value.field == "phone_column"
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"phone_numbers": [0] * 250_001}))
    with pytest.raises(TooLarge, match="250,000"):
        await file_worker.run(ConvertJson(str(body), str(tmp_path / "out.csv")), organization_id="a")


async def test_a_file_that_takes_more_cpu_time_than_its_size_allows_is_refused(
    file_worker: FileWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "CPU_SECONDS", 0.3)
    monkeypatch.setattr(worker, "CPU_SECONDS_PER_MEGABYTE", 0.0)
    slow = tmp_path / "slow.csv"
    slow.write_text("phone\n" + "".join(f"415–555–{n % 10_000:04d} ext {n % 97}\n" for n in range(400_000)))
    with pytest.raises(Invalid, match="more CPU time"):
        await file_worker.run(ValidateCsv(str(slow), "phone"), organization_id="a")


async def test_the_event_loop_goes_on_while_a_file_is_read(file_worker: FileWorker, contacts_csv: Path) -> None:
    rounds = 0

    async def count_rounds_of_the_loop() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_rounds_of_the_loop())
    await file_worker.run(ValidateCsv(str(contacts_csv), "phone"), organization_id="a")
    other.cancel()
    assert rounds > 100


def test_small_files_are_short_tasks_of_the_sandbox() -> None:
    assert worker._cpu_limit(worker.SHORT_FILE_BYTES) <= SHORT_CPU_SECONDS
    assert worker._cpu_limit(worker.SHORT_FILE_BYTES + 1) > SHORT_CPU_SECONDS
