"""Certificates for receivers, from an authority that exists for one test run."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """Signs certificates; who is given `ca_file` trusts them."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server's TLS configuration with a certificate for `names` (host names or addresses)."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate(*names))
        return context

    def certificate(self, *names: str) -> Path:
        """A PEM file with private key and chain for `names`."""
        path = self._directory / f"{'-'.join(names).replace('*', 'any').replace(':', '_')}.pem"
        self._ca.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
        return path
