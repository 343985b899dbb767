"""Reading a response from bytes, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.wire.errors import BadResponse
from sendoff.wire.http.memory_budget import MemoryBudget
from sendoff.wire.http.reader import (
    KEPT_HEAD_BYTES,
    MOST_HEAD_BYTES,
    MOST_HEADERS,
    MOST_INTERIM_RESPONSES,
    ResponseReader,
)

CAP = 64
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

ANSWERS = [
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    CHUNKED + b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 5\r\n\r\nhello",
    HEAD + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
]


def read(*pieces: bytes) -> ResponseReader:
    reader = ResponseReader(CAP, MemoryBudget(1_000_000))
    for piece in pieces:
        if reader.feed(piece):
            break
    return reader


@given(st.sampled_from(ANSWERS), st.data())
def test_an_answer_reads_the_same_however_it_is_cut(answer: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1))))
    pieces = [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]

    reader = read(*pieces)

    assert reader.complete
    assert (reader.status, reader.body(), reader.truncated) == (200, b"hello", False)
    assert reader.headers() == read(answer).headers()
    assert reader.reusable == (b"close" not in answer)


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_response_that_is_cut_off_counts_once_its_head_is_in(answer: bytes) -> None:
    head_ends = answer.index(b"\r\n\r\n", answer.index(HEAD)) + 4
    for length in range(1, len(answer)):
        reader = read(answer[:length])
        assert not reader.complete
        assert reader.feed_eof() is (length >= head_ends)
        if length >= head_ends:
            assert (reader.status, reader.truncated, reader.reusable) == (200, True, False)
            assert b"hello".startswith(reader.body())


@pytest.mark.parametrize("status", [200, 202, 302, 404, 410, 429, 500, 503])
@pytest.mark.parametrize(
    "rest",
    [
        b"xyz\r\n",
        b"-1\r\n",
        b"ffffffffffffffffff\r\n",
        b"2\r\nokay\r\n0\r\n\r\n",
        b"2\nok\n0\n\n",
        b"2\r\nok0\r\n\r\n",
        b"2 \r\nok\r\n0\r\n\r\n",
        b"0\r\nTrailer without a colon\r\n\r\n",
        b"0\r\nX: a\r\n folded\r\n\r\n",
        b"0\r\nX: \x00\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * 20_000,
        b"0\r\nX: " + b"y" * 70_000,
    ],
)
@pytest.mark.parametrize("one_piece", [True, False])
def test_a_malformed_body_costs_the_connection_and_not_the_status(status: int, rest: bytes, one_piece: bool) -> None:
    head = b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n" % status

    reader = read(head + rest) if one_piece else read(head, rest)

    assert reader.feed_eof()
    assert (reader.status, reader.truncated, reader.reusable) == (status, True, False)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_refused(data: bytes) -> None:
    for start in (b"", HEAD, CHUNKED, b"HTTP/1.1 "):
        reader = ResponseReader(CAP, MemoryBudget(1_000_000))
        try:
            if start + data:
                reader.feed(start + data)
        except BadResponse:
            continue
        assert len(reader.body()) <= CAP


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nabc",
    ],
)
def test_an_answer_without_a_status_line_is_refused(answer: bytes) -> None:
    with pytest.raises(BadResponse):
        read(answer)


@pytest.mark.parametrize("status", [200, 202, 404, 410, 503])
@pytest.mark.parametrize(
    "rest",
    [
        b"\nContent-Length: 0\n\n",
        b"\r\nNo colon\r\n\r\n",
        b"\r\nSpace : before colon\r\n\r\n",
        b"\r\nX: a\r\n folded\r\n\r\n",
        b"\r\nX: \x00\r\n\r\n",
        b"\r\nX: a\rb\r\n\r\n",
        b"\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"\r\nContent-Length: 2, 2\r\n\r\nok",
        b"\r\nContent-Length: -2\r\n\r\nok",
        b"\r\nContent-Length: +2\r\n\r\nok",
        b"\r\nContent-Length: 0x2\r\n\r\nok",
        b"\r\nContent-Length: 99999999999999999999999999\r\n\r\nok",
        b"\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("one_piece", [True, False])
def test_a_malformed_head_costs_the_connection_and_not_the_status(status: int, rest: bytes, one_piece: bool) -> None:
    answer = b"HTTP/1.1 %d Any reason" % status + rest

    reader = read(answer) if one_piece else read(*(answer[at : at + 1] for at in range(len(answer))))

    assert (reader.complete, reader.status, reader.truncated, reader.reusable) == (True, status, True, False)
    assert reader.body() == b""


@pytest.mark.parametrize("second", [b"HTTP/1.x 200 OK\r\n", b"HTTP/9.9 200 OK\r\n", b"HTTP/1.1 2000 OK\r\n"])
def test_a_malformed_status_line_is_not_read_as_the_status_before_it(second: bytes) -> None:
    reader = read(HEAD + b"Content-Length: 0\r\n\r\n")
    reader.begin("POST")
    with pytest.raises(BadResponse):
        reader.feed(second)


def test_a_malformed_head_after_an_interim_answer_counts_with_the_final_status_alone() -> None:
    with pytest.raises(BadResponse):
        read(b"HTTP/1.1 103 Early Hints\r\nX: a\r\n folded\r\n\r\n")
    assert read(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"X: a\r\n folded\r\n\r\n").status == 200


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"\r\nall of it",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\nall of it",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\nall of it",
        b"HTTP/1.0 200 OK\r\n\r\nall of it",
    ],
)
def test_a_body_without_a_length_ends_with_the_stream_and_the_connection(answer: bytes) -> None:
    reader = read(answer)

    assert not reader.complete
    assert reader.feed_eof()
    assert (reader.body(), reader.reusable) == (b"all of it", False)


@pytest.mark.parametrize("rest", [b"H", b"HTTP/1.1 500 Oops\r\n", b"x", b"0\r\n\r\n"])
def test_bytes_after_a_complete_answer_spoil_the_connection_and_not_the_answer(rest: bytes) -> None:
    for answer in ANSWERS:
        reader = read(answer + rest)
        assert (reader.status, reader.body(), reader.reusable) == (200, b"hello", False)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_that_has_no_body_takes_none(status: bytes) -> None:
    reader = read(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")

    assert reader.complete
    assert (reader.body(), reader.reusable) == (b"", False)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8),
    ],
)
def test_a_receiver_of_http_2_alone_is_named_as_such(frame: bytes) -> None:
    for data in (frame, memoryview(bytearray(frame))):
        reader = ResponseReader(CAP, MemoryBudget(1_000_000))
        with pytest.raises(BadResponse, match=r"HTTP/2 only; enable HTTP/1\.1"):
            reader.feed(data)


def test_headers_beyond_the_cap_are_refused_in_one_piece_and_in_many() -> None:
    line = b"X-Filler: " + b"x" * 1_000 + b"\r\n"
    with pytest.raises(BadResponse, match="larger"):
        read(HEAD + line * 70)
    with pytest.raises(BadResponse, match="larger"):
        read(HEAD, *([line] * 70))
    with pytest.raises(BadResponse, match="larger"):
        read(HEAD, b"X: ", *([b"x" * 1_000] * 70))
    with pytest.raises(BadResponse, match="larger"):
        read(HEAD + b"X: " + b"x" * MOST_HEAD_BYTES + b"\r\n\r\n")
    with pytest.raises(BadResponse, match="larger"):
        read(b"HTTP/1.1 200 ", *([b"x" * 1_000] * 70))


def test_too_many_headers_are_refused() -> None:
    fits = HEAD + b"X: y\r\n" * (MOST_HEADERS - 1) + b"Content-Length: 0\r\n\r\n"

    assert read(fits).complete
    with pytest.raises(BadResponse, match="more than"):
        read(HEAD + b"X: y\r\n" * (MOST_HEADERS + 1) + b"\r\n")


def test_interim_answers_are_skipped_and_bounded() -> None:
    interim = b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n"
    answer = HEAD + b"Content-Length: 0\r\n\r\n"

    reader = read(interim * MOST_INTERIM_RESPONSES + answer)
    assert reader.complete
    assert reader.headers() == (("content-length", "0"),)
    with pytest.raises(BadResponse, match="interim"):
        read(interim * (MOST_INTERIM_RESPONSES + 1) + answer)


def test_a_body_is_kept_up_to_the_cap() -> None:
    for size, truncated in ((CAP - 1, False), (CAP, False), (CAP + 1, True), (10 * CAP, True)):
        body = bytes(range(256))[:size] + b"x" * (size - 256)
        for answer in (
            HEAD + b"Content-Length: %d\r\n\r\n" % size + body,
            CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body),
        ):
            reader = read(answer)
            assert reader.complete
            assert (reader.body(), reader.truncated) == (body[:CAP], truncated)
            assert reader.reusable is not truncated


@pytest.mark.parametrize(
    "filler",
    [
        b"1;" + b"x" * 1_000 + b"\r\na\r\n",  # chunk extensions
        b"0" * 1_000,  # a chunk size of zeros without end
        b"0\r\n" + b"X: y\r\n" * 200,  # trailers
    ],
)
def test_framing_without_end_is_bounded_too(filler: bytes) -> None:
    reader = ResponseReader(CAP, MemoryBudget(1_000_000))
    reader.feed(CHUNKED)
    try:
        for _ in range(1_000):
            if reader.feed(filler):
                break
    except BadResponse:
        return
    assert reader.complete
    assert (reader.status, reader.reusable) == (200, False)
    assert reader.received < 1_000_000


def test_leftovers_of_one_response_are_not_read_as_the_next() -> None:
    reader = read(b"HTTP/1.1 500 Oops\r\nX: y\r\nContent-Length: 3\r\n\r\nbad")
    reader.begin("POST")
    assert (reader.status, tuple(reader.headers()), reader.body(), reader.complete) == (0, (), b"", False)
    assert reader.feed(ANSWERS[0])
    assert (reader.status, tuple(reader.headers()), reader.body()) == (200, (("content-length", "5"),), b"hello")


def test_of_many_headers_the_first_are_remembered_and_those_that_steer_us() -> None:
    fillers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 400) for number in range(100))

    reader = read(HEAD + fillers + b"Retry-After: 7\r\nX-Last: 1\r\nContent-Length: 2\r\n\r\nok")

    assert (reader.complete, reader.body()) == (True, b"ok")
    names = [name for name, _ in reader.headers()]
    assert sum(len(name) + len(value) for name, value in reader.headers()) <= KEPT_HEAD_BYTES + 100
    assert names[0] == "x-0"
    assert names[-2:] == ["retry-after", "content-length"]


def test_an_unfinished_response_with_its_length_behind_many_headers_is_known_to_be_truncated() -> None:
    fillers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 400) for number in range(100))
    reader = read(HEAD + fillers + b"Content-Length: 5\r\n\r\nhe")
    assert reader.feed_eof()
    assert reader.truncated
