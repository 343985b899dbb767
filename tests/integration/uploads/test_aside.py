"""Work outside the event loop: the same answers from the thread and from the process, and no process left behind."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from sendoff.errors import Invalid, TooLarge, Unavailable
from sendoff.uploads.files import worker as aside_module
from sendoff.uploads.files.converting import Converted
from sendoff.uploads.files.results import Written
from sendoff.uploads.files.tasks import ConvertJson, ValidateCsv, WriteResults
from sendoff.uploads.files.validating import Counts
from sendoff.uploads.files.worker import FileWorker
from tests.integration.uploads.children import children
from tests.integration.uploads.contacts import valid_contacts
from tests.support.polling import eventually


@pytest.fixture(params=["thread", "process"])
def file_worker(request: pytest.FixtureRequest) -> FileWorker:
    return FileWorker(small_file_bytes=10**9 if request.param == "thread" else -1)


@pytest.fixture
def contacts_csv(tmp_path: Path) -> Path:
    path = tmp_path / "contacts.csv"
    path.write_text("phone\n" + "\n".join(row["phone"] for row in valid_contacts(12_000)) + "\nnone\n")
    return path


async def test_a_csv_is_counted_and_progress_told(file_worker: FileWorker, contacts_csv: Path) -> None:
    progress: list[int] = []
    assert await file_worker.run(ValidateCsv(str(contacts_csv), "phone"), progress.append) == Counts(12_000, 1)
    assert progress == [5_000, 10_000]


async def test_json_is_converted(file_worker: FileWorker, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"filename": "a.csv", "phone_numbers": ["4155552671", "x"]}))
    assert await file_worker.run(ConvertJson(str(body), str(tmp_path / "out.csv"))) == Converted(1, 1, "a.csv")


async def test_results_are_written(file_worker: FileWorker, contacts_csv: Path, tmp_path: Path) -> None:
    task = WriteResults(str(contacts_csv), "phone", str(tmp_path / "p"), str(tmp_path / "f"), 12_000, False)
    assert await file_worker.run(task) == Written(12_000, 12_000)
    assert len((tmp_path / "p").read_text().splitlines()) == 12_001


async def test_a_refusal_says_the_same_from_either(file_worker: FileWorker, contacts_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="Its columns are: 'phone'") as caught:
        await file_worker.run(ValidateCsv(str(contacts_csv), "number"))
    assert caught.value.field == "phone_column"
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"phone_numbers": [0] * 250_001}))
    with pytest.raises(TooLarge, match="250,000"):
        await file_worker.run(ConvertJson(str(body), str(tmp_path / "out.csv")))


async def test_the_event_loop_goes_on_while_a_process_works(contacts_csv: Path) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await FileWorker(small_file_bytes=0).run(ValidateCsv(str(contacts_csv), "phone"))
    other.cancel()
    assert turns > 100


async def test_one_process_runs_at_a_time(contacts_csv: Path) -> None:
    file_worker, most = FileWorker(small_file_bytes=0), 0

    def count(_rows: int) -> None:
        nonlocal most
        most = max(most, len(children()))

    task = ValidateCsv(str(contacts_csv), "phone")
    assert await asyncio.gather(*(file_worker.run(task, count) for _ in range(3))) == [Counts(12_000, 1)] * 3
    assert most == 1


async def test_a_cancelled_caller_leaves_no_process(tmp_path: Path) -> None:
    endless = tmp_path / "endless.csv"
    os.mkfifo(endless)
    work = asyncio.create_task(FileWorker(small_file_bytes=-1).run(ValidateCsv(str(endless), "phone")))
    await eventually(children, what="the process runs")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert children() == []


async def test_a_process_that_is_killed_is_no_refusal_of_the_file(tmp_path: Path) -> None:
    endless = tmp_path / "endless.csv"
    os.mkfifo(endless)
    work = asyncio.create_task(FileWorker(small_file_bytes=-1).run(ValidateCsv(str(endless), "phone")))
    for child in await eventually(children, what="the process runs"):
        child.kill()
    with pytest.raises(Unavailable):
        await work


def test_the_process_gets_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDOFF_SECRET_KEYS", "x" * 32)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("HARMLESS", "x")
    kept = aside_module._environment()
    assert "HARMLESS" in kept
    assert not [name for name in kept if name.startswith(("SENDOFF_", "AWS_"))]
