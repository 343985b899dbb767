"""Which connection is closed when too many are open."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from api.http.server.connections import MOST_REFUSED, ConnectionLimiter


class Connection:
    def __init__(self) -> None:
        self.is_open = True

    def evict(self) -> None:
        self.is_open = False


def opened(limiter: ConnectionLimiter, count: int, address: str = "192.0.2.1") -> list[Connection]:
    connections = [Connection() for _ in range(count)]
    for connection in connections:
        assert limiter.admit(connection, address)
    return connections


def test_the_longest_waiting_request_is_evicted_before_idle_connections() -> None:
    limiter = ConnectionLimiter(per_address=3)
    idle, first, second = opened(limiter, 3)
    limiter.await_next_request(idle)
    opened(limiter, 1)
    assert (idle.is_open, first.is_open, second.is_open) == (True, False, True)


def test_idle_connections_are_closed_when_all_others_are_in_use() -> None:
    limiter = ConnectionLimiter(per_address=3)
    served, idle, other = opened(limiter, 3)
    limiter.serve(served)
    limiter.serve(other)
    limiter.await_next_request(idle)
    [new] = opened(limiter, 1)
    assert (served.is_open, idle.is_open, other.is_open) == (True, False, True)
    limiter.serve(new)
    assert not limiter.admit(Connection(), "192.0.2.1")
    assert limiter.admit(Connection(), "192.0.2.2")


def test_each_new_connection_finds_another_to_close_before_the_first_reports_its_end() -> None:
    limiter = ConnectionLimiter(per_address=5)
    old = opened(limiter, 5)
    opened(limiter, 4)
    assert [connection.is_open for connection in old] == [False] * 4 + [True]


def test_progress_renews_an_uploads_lease() -> None:
    limiter = ConnectionLimiter(total=2)
    upload, trickle = opened(limiter, 2)
    limiter.await_request(upload)
    opened(limiter, 1)
    assert (upload.is_open, trickle.is_open) == (True, False)


def test_proxies_carry_many_clients_and_count_in_all_alone() -> None:
    limiter = ConnectionLimiter(total=10, per_address=2, trusted_proxies=[ip_network("10.0.0.0/8")])
    through = opened(limiter, 9, "10.0.0.1")
    assert all(connection.is_open for connection in through)
    opened(limiter, 2, "192.0.2.1")
    assert [connection.is_open for connection in through] == [False] + [True] * 8


def test_a_bounded_number_of_refused_connections_linger() -> None:
    limiter = ConnectionLimiter()
    refused = [Connection() for _ in range(MOST_REFUSED)]
    assert all(limiter.refuse(connection) for connection in refused)
    assert not limiter.refuse(Connection())
    limiter.remove(refused[0])
    assert limiter.refuse(Connection())


def test_the_responses_that_have_waited_longest_are_cut_off_when_too_much_is_unread() -> None:
    limiter = ConnectionLimiter(unread_bytes=100)
    first, second, third = opened(limiter, 3)
    limiter.response_waits(first, 40)
    limiter.response_waits(second, 40)
    limiter.response_read(first)
    limiter.response_waits(third, 50)
    assert all(connection.is_open for connection in (first, second, third))
    limiter.response_waits(first, 20)
    assert (first.is_open, second.is_open, third.is_open) == (True, False, True)


STEPS = st.lists(st.tuples(st.sampled_from(["remove", "serve", "wait", "idle", "unread"]), st.integers(0, 30)))


def take(limiter: ConnectionLimiter, step: str, connection: Connection, size: int) -> None:
    match step:
        case "remove":
            connection.is_open = False
            limiter.remove(connection)
        case "serve":
            limiter.serve(connection)
        case "wait":
            limiter.await_request(connection)
        case "idle":
            limiter.await_next_request(connection)
        case "unread":
            limiter.response_waits(connection, size)


@given(st.lists(st.tuples(st.integers(0, 3), STEPS), max_size=30))
def test_never_more_are_open_than_the_limits_allow(receipts: list[tuple[int, list[tuple[str, int]]]]) -> None:
    limiter = ConnectionLimiter(total=6, per_address=3, unread_bytes=100)
    known: list[tuple[Connection, int]] = []
    for address, steps in receipts:
        new = Connection()
        if limiter.admit(new, f"192.0.2.{address}"):
            known.append((new, address))
        open_ones = [address for connection, address in known if connection.is_open]
        assert len(open_ones) <= 6
        assert all(open_ones.count(address) <= 3 for address in open_ones)
        for step, number in steps:
            connection = known[number % len(known)][0] if known else new
            if connection.is_open and known:
                take(limiter, step, connection, number)
    for connection, _ in known:
        limiter.remove(connection)
    assert not limiter._counts
    assert not limiter._all_idle
    assert not limiter._all_unfinished
    assert limiter._unread_bytes == 0
