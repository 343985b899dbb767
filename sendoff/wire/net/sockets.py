"""Plain connected sockets, to the first of several addresses that accepts."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest

from sendoff.policy.endpoints.addresses import Address
from sendoff.wire.errors import ConnectFailed, LocalFailure, WireError

_STAGGER_SECONDS = 0.25  # RFC 8305: how long one address has before the next is tried in parallel
_MOST_ADDRESSES = 6

# Bytes of an answer that the kernel buffers. The default grows to megabytes for each connection; less than 16 KiB slows
# down ordinary answers.
_RECEIVE_BUFFER_BYTES = 16_384

# The request did not get off this machine. EHOSTUNREACH is not among them: that is the receiver's router speaking.
_LOCAL = {
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EACCES,
    errno.EPERM,
}


async def open_first(addresses: Sequence[Address], port: int) -> socket.socket:
    """A socket connected to one of `addresses`, tried in turn with a short lead each; raises WireError."""
    candidates = _interleave(addresses)[:_MOST_ADDRESSES]
    if len(candidates) > 1:
        return await _race(candidates, port)
    try:
        return await open_socket(candidates[0], port)
    except OSError as error:
        raise connect_failure([error]) from None


async def open_socket(address: Address, port: int) -> socket.socket:
    """A non-blocking socket connected to `address`; raises OSError."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's own spelling
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def connect_failure(errors: Sequence[OSError]) -> WireError:
    """The error for all failed addresses: LocalFailure only if no attempt left this machine."""
    theirs = [error for error in errors if error.errno not in _LOCAL]
    if theirs:
        return ConnectFailed(f"No connection could be opened: {_describe(theirs[-1])}.")
    return LocalFailure(f"No connection could be opened from here: {_describe(errors[-1])}.")


async def _race(addresses: Sequence[Address], port: int) -> socket.socket:
    queue = list(reversed(addresses))
    attempts: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    try:
        while queue or attempts:
            if queue:
                attempts.add(asyncio.create_task(open_socket(queue.pop(), port)))
            lead = _STAGGER_SECONDS if queue else None
            done, _ = await asyncio.wait(attempts, timeout=lead, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                attempts.remove(attempt)
                try:
                    return attempt.result()
                except OSError as error:
                    failures.append(error)
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_unused)
    raise connect_failure(failures)


def _close_unused(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


def _interleave(addresses: Sequence[Address]) -> list[Address]:
    first = addresses[0].version
    same = [address for address in addresses if address.version == first]
    other = [address for address in addresses if address.version != first]
    pairs = chain.from_iterable(zip_longest(same, other))
    return [address for address in pairs if address is not None]


def _describe(error: OSError) -> str:
    # Never str(error): asyncio writes the address into it.
    return os.strerror(error.errno).lower() if error.errno else "no reason given"
