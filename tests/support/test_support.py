"""The tests' own instruments work: what they do not notice, no test notices."""

from __future__ import annotations

import asyncio
import base64
import hmac
import shutil
import ssl
import time
from pathlib import Path

import asyncpg
import httpx
import pytest
import redis.asyncio

from tests.support import watchdog
from tests.support.exchange import Reply
from tests.support.polling import eventually
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.receiver import Receiver
from tests.support.receiver_process import ReceiverProcess
from tests.support.tls import Authority
from tests.support.valkey import ValkeyServer
from tests.support.watchdog import watched


async def test_a_receiver_records_the_exact_request_and_answers_200(receiver: Receiver) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(receiver.url("/hook?a=1"), content=b"\x00\xff{}", headers={"X-One": "1"})
    assert answer.status_code == 200
    [request] = await receiver.wait_for(1, "/hook")
    assert (request.method, request.path, request.body) == ("POST", "/hook?a=1", b"\x00\xff{}")
    assert request.header("x-one") == "1"
    assert abs(request.arrived_at - time.time()) < 60


async def test_a_receiver_answers_as_programmed_and_stays_with_the_last_answer(receiver: Receiver) -> None:
    receiver.program("/hook", 500, Reply(status=429, headers=(("Retry-After", "7"),), body="slow"), 204)
    async with httpx.AsyncClient() as client:
        answers = [await client.post(receiver.url("/hook")) for _ in range(4)]
        other = await client.post(receiver.url("/other"))
    assert [answer.status_code for answer in answers] == [500, 429, 204, 204]
    assert (answers[1].headers["Retry-After"], answers[1].text) == ("7", "slow")
    assert other.status_code == 200
    assert {request.connection for request in receiver.requests()} == {1}
    receiver.forget()
    assert receiver.requests() == []


@pytest.mark.parametrize(
    ("signature", "status"),
    [
        # printf '1777034096.{}' | openssl dgst -sha256 -hmac secret
        ("t=1777034096,v1=92e763de0469a62562080e11f344aaa4003ddc9436b3cfa6453beaeff40c01f1", 401),
        ("t=1777034096,v1=00", 401),
        ("v1=92e763de0469a62562080e11f344aaa4003ddc9436b3cfa6453beaeff40c01f1", 401),
        ("", 401),
    ],
)
async def test_a_receiver_refuses_what_is_not_signed_or_no_longer_fresh(
    receiver: Receiver, signature: str, status: int
) -> None:
    receiver.trust("/hook", "optimaldial", "secret")
    async with httpx.AsyncClient() as client:
        answer = await client.post(receiver.url("/hook"), content=b"{}", headers={"X-OptimalDial-Signature": signature})
    assert answer.status_code == status
    assert receiver.refused == receiver.requests("/hook")


@pytest.mark.parametrize("dialect", ["optimaldial", "dialbird", "standard"])
async def test_a_receiver_accepts_what_is_signed_now(receiver: Receiver, dialect: str) -> None:
    secret = "whsec_c2VjcmV0"
    now = str(int(time.time()))
    marks = {
        "X-OptimalDial-Signature": _library_hmac(b"whsec_c2VjcmV0", now.encode() + b".{}"),
        "X-Dialbird-Signature": _library_hmac(b"whsec_c2VjcmV0", now.encode() + b".{}"),
    }
    headers = {name: f"t={now},v1={mark.hex()}" for name, mark in marks.items()}
    standard = base64.b64encode(_library_hmac(b"secret", b"evt_1." + now.encode() + b".{}")).decode()
    headers |= {"webhook-id": "evt_1", "webhook-timestamp": now, "webhook-signature": f"v1,{standard}"}
    receiver.trust("/hook", dialect, secret)
    async with httpx.AsyncClient() as client:
        answer = await client.post(receiver.url("/hook"), content=b"{}", headers=headers)
    assert (answer.status_code, receiver.refused) == (200, [])


def _library_hmac(key: bytes, message: bytes) -> bytes:
    # The standard library's: the reference is not only compared with what it is to judge.
    return hmac.new(key, message, "sha256").digest()


@pytest.mark.parametrize("ending", [Reply(close=True), Reply(reset=True), Reply(close=True, delay=0.05)])
async def test_a_receiver_can_hang_up_instead_of_answering(receiver: Receiver, ending: Reply) -> None:
    receiver.program("/hook", ending)
    async with httpx.AsyncClient() as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post(receiver.url("/hook"))
    assert len(receiver.requests("/hook")) == 1


async def test_a_receiver_can_hang_or_trickle(receiver: Receiver) -> None:
    receiver.program("/hang", Reply(hang=True))
    receiver.program("/trickle", Reply(body="abc", trickle=0.01))
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(receiver.url("/hang"), timeout=httpx.Timeout(30, read=0.2))
        answer = await client.post(receiver.url("/trickle"))
    assert answer.text == "abc"


async def test_a_receiver_holds_answers_until_they_are_released(receiver: Receiver) -> None:
    receiver.program("/hook", Reply(status=201, held=True), Reply(status=202, held=True))
    async with httpx.AsyncClient() as client:
        asking = [asyncio.create_task(client.post(receiver.url("/hook"))) for _ in range(2)]
        await receiver.wait_for(2, "/hook")
        assert receiver.answered["/hook"] == 0
        receiver.release()
        assert {(await task).status_code for task in asking} == {201, 202}


async def test_malformed_http_is_answered_400(receiver: Receiver) -> None:
    reader, writer = await asyncio.open_connection(receiver.host, receiver.port)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()


async def test_a_tls_receiver_is_trusted_through_the_authority_alone(
    tls_receiver: Receiver, authority: Authority
) -> None:
    trusting = ssl.create_default_context(cafile=authority.ca_file)
    async with httpx.AsyncClient(verify=trusting) as client:
        assert (await client.post(tls_receiver.url("/", host="localhost"))).status_code == 200
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.post(tls_receiver.url("/"))


def test_a_receiver_process_is_programmed_and_queried_from_the_test(authority: Authority) -> None:
    with ReceiverProcess() as receiver, httpx.Client() as client:
        receiver.program("/hook", 500, Reply(status=201, headers=(("X-A", "b"),)))
        answers = [client.post(receiver.url("/hook"), content=b"\xff", headers={"X-Id": "7"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [500, 201]
        assert answers[1].headers["X-A"] == "b"
        assert [request.body for request in receiver.requests("/hook")] == [b"\xff", b"\xff"]
        assert len(receiver.requests(since=1)) == 1
        assert receiver.counts("x-id") == {"7": 2}
        receiver.trust("/hook", "optimaldial", "secret")
        assert client.post(receiver.url("/hook")).status_code == 401
        assert len(receiver.refused) == 1
        receiver.forget()
        assert receiver.requests() == []
    with ReceiverProcess(certificate=authority.certificate("127.0.0.1")) as receiver:
        assert receiver.requests() == []


async def test_a_valkey_is_empty_at_the_start_of_a_test(valkey_url: str) -> None:
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        assert await client.dbsize() == 0
        await client.set("left", "over")


test_a_valkey_is_empty_at_the_start_of_another_test = test_a_valkey_is_empty_at_the_start_of_a_test


async def test_a_valkey_can_be_killed_and_restarted_at_the_same_address(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, port=free_port(), appendonly=True)
    server.start()
    try:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.set("a", "b")
            await client.execute_command("CONFIG", "SET", "appendfsync", "always")
            await client.set("c", "d")
        server.kill()
        server.start()
        async with redis.asyncio.Redis.from_url(server.url) as client:
            assert await client.get("c") == b"d"
    finally:
        server.stop()


async def test_a_postgres_database_is_migrated_and_empty(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        assert await connection.fetchval("SELECT count(*) FROM events") == 0
        await connection.execute(
            "INSERT INTO organizations (id, name, created_at) VALUES (gen_random_uuid(), 'x', now())"
        )
        assert await connection.fetchval("SELECT count(*) FROM organizations") == 1
    finally:
        await connection.close()


test_another_postgres_database_is_migrated_and_empty = test_a_postgres_database_is_migrated_and_empty


async def test_a_database_of_either_kind_can_be_used_through_the_store(database_url: str) -> None:
    from sendoff.store.engine.database import Database

    database = Database.open(database_url)
    try:
        await database.ping()
        await database.check_schema()
    finally:
        await database.close()


def test_a_postgres_can_be_killed_and_restarted_at_the_same_address(servers_directory: Path) -> None:
    home = servers_directory / "another"
    server = PostgresServer(home)
    server.create()
    try:
        server.start()
        server.create_database("kept")
        server.kill()
        server.start()
        assert server.execute("SELECT current_database()", database="kept") == "kept"
    finally:
        server.stop()
        shutil.rmtree(home)


async def test_eventually_gives_the_first_true_value_and_fails_at_its_deadline() -> None:
    values = iter([0, None, "found"])
    assert await eventually(lambda: next(values)) == "found"

    async def never() -> bool:
        return False

    with pytest.raises(AssertionError, match=r"not within 0\.05 s: a miracle"):
        await eventually(never, within=0.05, what="a miracle")


async def test_the_watchdog_fails_a_test_that_blocks_the_loop_and_names_the_culprit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "NOTICED_SECONDS", 0.2)
    monkeypatch.setattr(watchdog, "FORBIDDEN_SECONDS", 0.4)
    reports: list[tuple[float, str]] = []

    async def blocks() -> None:
        await asyncio.sleep(0)
        time.sleep(1.5)  # noqa: ASYNC251 - the very thing to be noticed

    with pytest.raises(AssertionError, match=r"stood still for \d+\.\d s(.|\n)*time\.sleep"):
        await _in_a_loop_of_its_own(watched(blocks, lambda seconds, culprit: reports.append((seconds, culprit)))())
    assert len(reports) == 1


async def _in_a_loop_of_its_own(coroutine) -> None:  # type: ignore[no-untyped-def]
    await asyncio.to_thread(asyncio.run, coroutine)


async def test_the_watchdog_lets_a_test_be_that_waits_properly() -> None:
    reports: list[float] = []

    async def waits() -> str:
        await asyncio.sleep(0.7)
        return "done"

    assert await watched(waits, lambda seconds, _: reports.append(seconds))() == "done"
    assert reports == []
