"""Client certificates: what a receiver that demands mutual TLS is shown.

Python's ssl takes certificates from files alone. The private key is handed over in an anonymous file in memory where
the system has such files, so that it reaches no disk.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sendoff.wire.errors import TlsFailed

MOST_CONTEXTS = 100
"""TLS configurations that are kept for the next connection. Each takes up to a megabyte with the public authorities;
one that is not kept takes tens of milliseconds of a thread when it is needed again."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A chain of certificates, the own one first, and its private key, both in PEM."""

    certificate: str = field(repr=False)
    private_key: str = field(repr=False)


class CertifiedContexts:
    """TLS configurations that present a client certificate; each is a new one of `new_context` with it."""

    def __init__(self, new_context: Callable[[], ssl.SSLContext]) -> None:
        self._new_context = new_context
        self._kept: OrderedDict[ClientCertificate, ssl.SSLContext] = OrderedDict()

    async def present(self, certificate: ClientCertificate) -> ssl.SSLContext:
        """A configuration that presents the certificate. Raises TlsFailed for one that OpenSSL does not take."""
        context = self._kept.get(certificate)
        if context is None:
            context = self._kept[certificate] = await asyncio.to_thread(self._make, certificate)
            if len(self._kept) > MOST_CONTEXTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(certificate)
        return context

    def _make(self, certificate: ClientCertificate) -> ssl.SSLContext:
        context = self._new_context()
        try:
            load_certificate(context, certificate)
        except ssl.SSLError as error:
            reason = (error.reason or "no reason given").replace("_", " ").lower()
            raise TlsFailed(f"The client certificate of the endpoint cannot be used ({reason}); replace it.") from None
        return context


def load_certificate(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    """Let the context present the certificate. Raises ssl.SSLError for one that OpenSSL does not take."""
    with _file_of(f"{certificate.certificate.strip()}\n{certificate.private_key.strip()}\n") as path:
        context.load_cert_chain(path)


@contextmanager
def _file_of(text: str) -> Iterator[str]:
    """The name of a file that only this process can read, and that is gone afterwards."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):  # noqa: PTH112 - a question to the system
        with os.fdopen(os.memfd_create("client-certificate"), "wb") as file:
            file.write(text.encode())
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as named:
            named.write(text.encode())
            named.flush()
            yield named.name
