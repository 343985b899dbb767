"""Real traffic is as described: uneven, slow, found by names of its own; its results have a section of their own."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median

import pytest

from bench.processes.receiver import ANSWER, Log
from bench.report import write_results
from bench.traffic.receiver import SlowReceiver
from bench.traffic.resolver import NameServer, use_resolver
from bench.traffic.shape import (
    DOMAIN,
    FASTEST_SECONDS,
    LARGEST_BYTES,
    SLOWEST_SECONDS,
    SMALLEST_BYTES,
    answer_seconds,
    in_turn,
    power_law,
)
from tests.integration.bench.test_bench import REQUEST, Wire

KEYS = [f"key-{number}" for number in range(100)]


def test_the_first_endpoint_gets_twice_as_many_events_as_the_second() -> None:
    heads, _ = power_law(KEYS, 1)
    of_key = Counter(head.split("Bearer ")[1].split("\r\n")[0] for head in heads)
    assert of_key["key-0"] / of_key["key-1"] == pytest.approx(2, rel=0.3)
    assert len(of_key) > 90


def test_each_request_announces_the_length_of_its_body() -> None:
    heads, bodies = in_turn(KEYS, 1)
    assert len(heads) == len(bodies) == len(KEYS)
    assert all(f"Content-Length: {len(body)}\r\n" in head for head, body in zip(heads, bodies, strict=True))
    assert SMALLEST_BYTES < min(map(len, bodies)) < max(map(len, bodies)) < LARGEST_BYTES + 100


def test_answers_take_as_long_as_they_are_said_to() -> None:
    drawn = [answer_seconds(Random(number)) for number in range(2_000)]  # noqa: S311
    assert FASTEST_SECONDS <= min(drawn) <= max(drawn) <= SLOWEST_SECONDS
    assert median(drawn) == pytest.approx(0.08, rel=0.2)


async def test_the_receivers_names_are_found_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: "elsewhere")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    use_resolver(transport.get_extra_info("sockname")[1])
    [found] = await asyncio.to_thread(socket.getaddrinfo, f"r7.{DOMAIN}", None)
    transport.close()
    assert found[4][0] == "127.0.0.1"
    assert socket.getaddrinfo("example.com", None) == "elsewhere"  # type: ignore[comparison-overlap]


async def test_a_receiver_answers_pings_at_once_and_is_slow_when_a_scenario_has_begun() -> None:
    log, wire = Log(), Wire()
    receiver = SlowReceiver(log, Random(1))  # noqa: S311
    receiver.connection_made(wire)
    receiver.data_received(REQUEST)
    assert wire.written == ANSWER
    assert log.connections == 1
    log.clear()
    receiver.data_received(REQUEST)
    assert wire.written == ANSWER


def test_both_parts_of_the_results_are_written_without_the_other(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("# Old\n")
    write_results(path, traffic="## Traffic")
    write_results(path, results="# New")
    assert path.read_text().startswith("# New\n")
    assert path.read_text().endswith("## Traffic\n")
