"""The benchmark's own instruments: they must not be wrong by themselves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson
import pytest

from bench.measurement.accounting import ProcessTable
from bench.options import parse_options
from bench.plan import LoadPlan, read_answers
from bench.processes.load_generator import run_plan
from bench.processes.receiver import EVENT_ID_LENGTH, Log, Receiver, read_arrivals
from bench.processes.requests import many_events, one_event
from bench.table import percentile
from tests.support.polling import eventually

_ID = "evt_" + "0123456789abcdef01234567"
REQUEST = f"POST /hook HTTP/1.1\r\nX-OptimalDial-Event-Id: {_ID}\r\nContent-Length: 5\r\n\r\nhello".encode()


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data


@pytest.mark.parametrize("size", [1, 7, len(REQUEST), 3 * len(REQUEST)])
def test_the_receiver_answers_and_logs_each_request_however_the_bytes_are_cut(size: int, tmp_path: Path) -> None:
    log, wire = Log(), Wire()
    connection = Receiver(log)
    connection.connection_made(wire)
    stream = REQUEST * 3
    for start in range(0, len(stream), size):
        connection.data_received(stream[start : start + size])
    log.dump(tmp_path / "receipts")
    assert wire.written.count(b"HTTP/1.1 200 OK") == 3
    assert [event_id for event_id, _ in read_arrivals(tmp_path / "receipts")] == [_ID.encode()] * 3


@pytest.mark.parametrize("rate", [0.0, 2_000.0])
async def test_the_load_generator_sends_as_many_requests_as_planned_and_notes_each_answer(
    rate: float, tmp_path: Path
) -> None:
    received = connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received, connections
        connections += 1
        while await reader.read(65_536):
            received += 1
            body = orjson.dumps({"id": _ID, "type": "upload.completed", "deliveries": 1})
            writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()
        await writer.wait_closed()
        connections -= 1

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    plan = LoadPlan(
        host="127.0.0.1",
        port=port,
        heads=["POST /a HTTP/1.1\r\n\r\n", "POST /b HTTP/1.1\r\n\r\n"],
        bodies=[""],
        expect=202,
        connections=4,
        seconds=30,
        most=50,
        rate=rate,
        answers=str(tmp_path / "answers"),
    )
    outcome = await run_plan(plan)
    answers = read_answers(tmp_path / "answers")
    server.close()
    await eventually(lambda: connections == 0, what="all connections closed")
    assert (outcome.answered, outcome.refused, received) == (50, 0, 50)
    assert len(answers) == 50
    if rate:
        due = sorted(found.sent for found in answers)
        assert due[-1] - due[0] == pytest.approx(49 / rate)
    assert all(found.event_id == _ID.encode() and found.answered >= found.sent for found in answers)


def test_a_published_event_carries_exactly_the_bytes_of_data_that_were_asked_for() -> None:
    assert len(orjson.dumps(orjson.loads(one_event(1024))["data"])) == 1024
    assert len(orjson.loads(many_events(1024, 100))["events"]) == 100


def test_an_event_id_has_the_length_that_is_logged() -> None:
    assert len(_ID) == EVENT_ID_LENGTH


def test_a_process_is_accounted_for() -> None:
    table = ProcessTable()
    assert table.cpu_seconds([os.getpid()]) > 0
    assert table.peak_memory([os.getpid()]) > 1
    assert table.cpu_seconds([2**30]) == 0


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0


def test_an_unknown_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--only", "single,nonsense"])
    assert "nonsense is none of" in capsys.readouterr().err
