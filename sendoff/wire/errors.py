"""How an exchange can fail, classified by what the caller can do about it.

`name` is stable: it is what attempts and dead letters record. `is_local` says that this host or its name server
failed, so that it is not charged to the endpoint. The text is for people and never says which address a name has.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from sendoff.policy.delivery.attempt_result import REJECTED_ADDRESS

Phase = Literal["resolve", "connect", "tls", "write", "headers"]


class WireError(Exception):
    """The exchange failed."""

    name: ClassVar[str] = "wire_error"
    is_local: ClassVar[bool] = False


class NameNotFound(WireError):
    """The host name does not exist, or has no address."""

    name = "name_not_found"


class NameLookupFailed(WireError):
    """The name servers of the host's domain do not answer, while other names are answered."""

    name = "name_lookup_failed"


class RefusedAddress(WireError):
    """The host has an address that nothing is sent to; `reason` is the name that the address policy gives it."""

    name = REJECTED_ADDRESS

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ConnectFailed(WireError):
    """No connection could be opened."""

    name = "connect_failed"


class TlsFailed(WireError):
    """No trusted encryption could be agreed on: certificate, host name or protocol."""

    name = "tls_failed"


class TimedOut(WireError):
    """The deadline of the whole exchange passed; `phase` says during what."""

    name = "timed_out"

    def __init__(self, phase: Phase) -> None:
        super().__init__(_TIMED_OUT[phase])
        self.phase: Phase = phase


class ConnectionLost(WireError):
    """The connection ended before the response did; `answered` says whether a part of one had come."""

    name = "connection_lost"

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class BadResponse(WireError):
    """What came back is not a valid HTTP/1.1 response, or is beyond every bound."""

    name = "bad_response"


class LocalFailure(WireError):
    """The request could not leave this machine: no route, no resolver, no file descriptor, no egress proxy."""

    name = "local_failure"
    is_local = True


class NameUnanswered(LocalFailure):
    """The resolver gave no answer for the host name, and none for any other name since."""


_TIMED_OUT: dict[Phase, str] = {
    "resolve": "The deadline passed while the host name was looked up.",
    "connect": "The deadline passed while the connection was opened.",
    "tls": "The deadline passed during the TLS handshake.",
    "write": "The deadline passed before the receiver had read the request.",
    "headers": "The deadline passed before the receiver answered.",
}
