"""Mutual TLS with a real nginx: it lets those in whose certificate its authority has signed, and nobody else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import START
from tests.support.debian import find_program
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import start, stop
from tests.support.tls import Authority

pytestmark = pytest.mark.chaos

_CONFIGURATION = """
daemon off;
master_process off;
pid {home}/pid;
error_log {home}/error.log;
events {{ }}
http {{
    log_format who '$ssl_client_verify $ssl_protocol $ssl_client_s_dn $status';
    access_log {home}/access.log who;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        ssl_client_certificate {home}/clients.pem;
        ssl_verify_client on;
        ssl_protocols {protocol};
        location / {{ return 200 "ok"; }}
    }}
}}
"""


@dataclass
class Nginx:
    """A server that demands a client certificate of `clients`."""

    url: str
    clients: trustme.CA
    home: Path

    def seen(self) -> list[str]:
        """A line for each request: whether the certificate was good, the protocol, its subject, the status."""
        return (self.home / "access.log").read_text().splitlines()


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def nginx(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[Nginx]:
    program = find_program("nginx", package="nginx-light")
    if program is None:
        pytest.skip("nginx is not installed; `apt-get install nginx-light` does it on Debian")
    port, clients = free_port(), trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            home=tmp_path, port=port, certificate=authority.certificate("127.0.0.1"), protocol=request.param
        )
    )
    process = start(
        [program, "-p", tmp_path, "-c", configuration, "-e", tmp_path / "error.log"], stderr=subprocess.DEVNULL
    )
    try:
        eventually_blocking((tmp_path / "access.log").exists, within=10, what="nginx")
        yield Nginx(f"https://127.0.0.1:{port}/hook", clients, tmp_path)
    finally:
        stop(process)


def pair(authority: trustme.CA) -> dict[str, str]:
    """A certificate, valid by the clocks of the test and of nginx, with its key."""
    since = min(datetime.now(UTC), START) - timedelta(days=1)
    leaf = authority.issue_cert("sendoff.example", common_name="sendoff.example", not_before=since)
    chain = "".join(one.bytes().decode() for one in leaf.cert_chain_pems)
    return {"type": "mtls", "certificate": chain, "private_key": leaf.private_key_pem.bytes().decode()}


async def test_nginx_admits_the_endpoints_certificate_and_no_other(
    nginx: Nginx, sqlite_url: str, valkey_url: str, authority: Authority
) -> None:
    async with open_api(sqlite_url, valkey_url, ca_file=authority.ca_file) as api:
        for auth in (None, pair(trustme.CA())):
            refused = await api.post("/api/v1/webhooks", {"url": nginx.url, "auth": auth})
            assert (refused.status_code, "400" in refused.text) == (400, True), refused.text
        webhook = await api.register(nginx.url, auth=pair(nginx.clients))
        await api.publish()
        await api.app.work()
        assert await deliveries(api) == ["delivered"]
        # A new certificate is used by the next request, whatever connections are kept.
        changed = await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"auth": pair(nginx.clients)})
        assert changed.status_code == 200, changed.text
        await api.publish()
        await api.app.work()
        assert await deliveries(api) == ["delivered", "delivered"]
    # Both refused pings, the one that was answered, two deliveries. It writes a line only after its answer is sent.
    eventually_blocking(lambda: len(nginx.seen()) >= 5, within=30, what=lambda: f"5 lines, got {nginx.seen()}")
    lines = nginx.seen()
    assert len(lines) == 5
    assert (lines[0].split()[0], lines[1].partition(":")[0]) == ("NONE", "FAILED")
    assert all(line.startswith("SUCCESS") and line.endswith("200") for line in lines[2:])
    assert all("CN=sendoff.example" in line for line in lines[2:])


async def deliveries(api: ApiFixture) -> list[str]:
    return [one["state"] for one in (await api.get("/operator/v1/deliveries")).json()["data"]]
