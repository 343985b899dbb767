"""The settings, read from the environment with the prefix `SENDOFF_` and validated at start, all errors at once.

Durations are written as seconds; `RETRY_SCHEDULE` also takes `s`, `m` and `h` (`1m,5m,30m,2h,12h`). A variable that is
set to nothing counts as not set, since compose and Kubernetes hand over unset variables that way.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sendoff.clock import parse_duration
from sendoff.errors import BadSettings
from sendoff.server_urls.database import check_database_url
from sendoff.server_urls.redis import parse_redis_url
from sendoff.server_urls.smtp import is_mail_address, parse_smtp_url

Network = IPv4Network | IPv6Network

_SHORTEST_SECRET_KEY = 32
# Asymmetric ones alone: with a symmetric one a public key could be taken for the secret.
_OAUTH_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


# Nothing that could end the directive or add another one to the header of the pages.
_ORIGIN = re.compile(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?")
_CELL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")

OTHER_VARIABLES = (
    "SENDOFF_CHECKOUT",  # the source tree that tools work on
    "SENDOFF_DATA",
    "SENDOFF_KEY",
    "SENDOFF_PROFILE",
    "SENDOFF_READY_FD",
    "SENDOFF_SEAL_KEY",
    "SENDOFF_URL",
    "SENDOFF_WEBHOOK_SECRET",
)
"""Variables with the prefix that are not settings: options of the command line, and what processes pass each other.

Any other name with the prefix stops the process at start, so add each new one here."""

_TEST_PREFIXES = ("SENDOFF_TEST_", "SENDOFF_FUZZ_")
# Kubernetes sets these in every container of a namespace with a Service whose name begins with `sendoff`.
_SERVICE_LINK = re.compile(
    r"SENDOFF_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

FORMER_NAMES = {
    f"SENDOFF_HOUSE_{name}": f"dialect_{name.lower()}"
    for name in ("HEADER_PREFIX", "USER_AGENT", "SIGNATURE_HEADER", "SIGNATURE_SCHEME", "ENVELOPE", "API_VERSION")
}
"""Former names of variables, and the fields that they set. They count until the next minor version."""


LONGEST_ENDPOINT_TIMEOUT_SECONDS = 30
"""Seconds that an owner may let an attempt take at most. Longer, and receivers that hang hold places for longer."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _readable(url: str) -> str:
    """The URL as it is. Raises ValueError, without the part of it that was taken for a port: it may be a password."""
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(
            "holds a host or a port that cannot be read; percent-encode what is special in user name and password"
        ) from None
    return url


def _in_data_directory(name: str) -> str:
    """The path of `name` where `sendoff up` puts it, as these URLs take it: from the root."""
    return quote(str(Path(".sendoff", name).absolute()))


class Settings(BaseSettings):
    """Every setting with its default. Names in the environment carry the prefix `SENDOFF_`."""

    model_config = SettingsConfigDict(env_prefix="SENDOFF_", extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: str = Field(
        "sqlite+aiosqlite:///.sendoff/sendoff.db",
        repr=False,
        description="The database, which holds everything but uploads: `sqlite:///PATH` or `postgresql://…` as libpq "
        "reads it, with several hosts if need be; docs/how-to/connect.md.",
    )
    database_prepared_statements: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether PostgreSQL keeps statements under names: `off` costs four round trips for one, and is "
        "needed behind a pooler of transactions; `auto` is `off` behind any pooler, such as PgBouncer.",
    )
    database_connection_seconds: float = Field(
        1_800,
        ge=1,
        le=86_400,
        description="How long a connection to PostgreSQL is used before a new one takes its place, in seconds.",
    )
    cells: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description="Other installations, as `name=https://address` with commas between: this API then routes each "
        "request to the one of its organization, and opens no database; docs/how-to/cells.md.",
    )
    redis_url: str = Field(
        default_factory=lambda: f"unix://{_in_data_directory('valkey.sock')}",
        repr=False,
        description="Redis or Valkey, for the job queue and shared rate limits: `redis://`, `rediss://` or `unix://`, "
        "`redis+sentinel://` and `rediss+sentinel://` for a master behind Sentinel, `redis+cluster://` and "
        "`rediss+cluster://` for a cluster; docs/how-to/connect.md.",
    )
    secret_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description="Keys that encrypt endpoint secrets, comma-separated, newest first, 32 characters or more each.",
    )
    secret_overlap_seconds: float = Field(
        86_400,
        ge=0,
        le=30 * 86_400,
        description="How long after the rotation of an endpoint's secret the one before signs as well.",
    )
    retry_schedule: Annotated[list[float], NoDecode] = Field(
        [60.0, 300.0, 1800.0, 7200.0, 43200.0],
        description="Waits between attempts, such as `1m,5m,30m,2h,12h`; one attempt more than there are waits. "
        "`none`: a single attempt.",
    )
    attempt_timeout_seconds: float = Field(
        10, gt=0, le=120, description="The longest that one attempt may take, from dialing to the last byte read."
    )
    ping_timeout_seconds: float = Field(
        5, gt=0, le=60, description="The longest that a receiver may take to answer the ping at registration."
    )
    lease_seconds: float = Field(
        20, gt=0, description="How long a worker owns the deliveries it claimed; more than an attempt can take."
    )
    endpoint_max_in_flight: int = Field(
        20,
        ge=1,
        le=10_000,
        description="The most requests that may be under way to one endpoint, from all workers together; beside them "
        "as many that have hung for more than two seconds while the endpoint answered others.",
    )
    target_endpoint_shares: int = Field(
        10,
        ge=1,
        le=1_000,
        description="The most requests that all workers together have under way from one organization to one host and "
        "port, in multiples of `ENDPOINT_MAX_IN_FLIGHT`: 10 times 20 are 200 by default. Endpoints of the organization "
        "at that host share them; what finds no place waits in the database.",
    )
    worker_max_in_flight: int = Field(
        1_000,
        ge=1,
        le=50_000,
        description="The most requests that may be under way from one worker process, and as many again to receivers "
        "that take longer than two seconds.",
    )
    max_endpoints_per_organization: int = Field(
        500,
        ge=1,
        le=100_000,
        description="The most endpoints that an organization may have, subscriptions included. Every event is matched "
        "against all of them, and an event for all of them makes as many deliveries.",
    )
    disable_after_failures: int = Field(
        20, ge=1, description="Consecutive failed attempts after which an endpoint is disabled."
    )
    disable_after_seconds: float = Field(
        0,
        ge=0,
        le=30 * 86_400,
        description="How long these failures must have lasted as well, in seconds: with 0, a burst of events during an "
        "outage of a second disables an endpoint before its first retry. Recommended: 3600.",
    )
    warn_after_failures: int | None = Field(
        None, ge=1, description="Consecutive failed attempts after which a subscription is `failing`; default: half."
    )
    alert_group_seconds: float = Field(
        300,
        ge=0,
        le=86_400,
        description="How long alerts to people (e-mail, Slack) are kept together after the first of their type, in "
        "seconds: a storm makes one message in this time. With 0 each makes its own.",
    )
    alert_dead_letters_per_hour: int | None = Field(
        100,
        ge=1,
        description="Deliveries that may die within an hour before alert endpoints get an alert, at most one an hour; "
        "unset, it is not watched.",
    )
    alert_allow_networks: Annotated[list[Network], NoDecode] = Field(
        default_factory=list,
        description="CIDRs of internal receivers that operators may name as alert endpoints, e.g. `10.1.0.0/16`; "
        "customers' endpoints cannot reach them.",
    )
    alert_allow_http: bool = Field(
        default=False, description="Let alert endpoints be plain http, for receivers in `ALERT_ALLOW_NETWORKS`."
    )
    smtp_url: str | None = Field(
        None,
        repr=False,
        description="The mail server that alerts by e-mail go through: `smtp://USER:PASSWORD@HOST:587` with STARTTLS, "
        "`smtps://…:465` with TLS from the first byte, or `smtp://HOST:25?starttls=off` unencrypted.",
    )
    smtp_from: str | None = Field(
        None, description="The sender of alerts by e-mail, such as `alerts@example.com`; needed with `SMTP_URL`."
    )
    brand: str = Field(
        "OptimalDial",
        description="The product's name, as the headers of its webhooks carry it: `X-OptimalDial-Signature`. Choose it "
        "before the first customer: after a change, receivers that verify the old names refuse every request, unless "
        "`DIALECT_HEADER_PREFIX` keeps those.",
    )
    dialect_header_prefix: str | None = Field(
        None, description="What the names of those headers begin with; default: `X-`, the brand and a hyphen."
    )
    dialect_user_agent: str | None = Field(
        None, description="Their `User-Agent`; default: the brand and `-Webhooks/1.0`."
    )
    dialect_signature_header: str | None = Field(
        None, description="The header with the signature; default: the prefix and `Signature`."
    )
    dialect_signature_scheme: Literal["stripe", "slack"] = Field(
        "stripe",
        description="`stripe`: `t=<unix>,v1=<hex>` of `{t}.{body}`; `slack`: `v0=<hex>` of `v0:{t}:{body}`.",
    )
    dialect_envelope: Literal["optimaldial", "dialbird", "standard"] = Field(
        "optimaldial", description="Whose envelope events come in; the pages of the dialects show them."
    )
    dialect_api_version: str = Field("2026-04-23", description="What envelopes carry as `api_version`.")
    client_rate_limit: int = Field(
        600, ge=1, description="Requests a minute that a business's client may make to the Dialbird surface."
    )
    anonymous_rate_limit: int = Field(
        6_000, ge=1, description="Requests a minute that one IP address may make without a valid key, and to `/health`."
    )
    oauth_jwks: str | None = Field(
        None,
        description="The keys that OAuth access tokens are checked with: a file or an `https://` URL of a JWKS.",
    )
    oauth_issuer: str | None = Field(None, description="The `iss` that access tokens must carry.")
    oauth_audience: str | None = Field(None, description="The `aud` that access tokens must carry.")
    oauth_algorithms: Annotated[list[str], NoDecode] = Field(
        ["RS256", "ES256", "EdDSA"],
        description=f"The signatures that access tokens may carry, comma-separated: {', '.join(_OAUTH_ALGORITHMS)}.",
    )
    oauth_business_claim: str = Field(
        "business_id", min_length=1, description="The claim of an access token that holds the organization's id."
    )
    retention_days: int = Field(
        30, ge=1, le=36_500, description="How long delivered events and ended replays are kept, in days."
    )
    dead_letter_retention_days: int = Field(
        90, ge=1, le=36_500, description="How long dead letters are kept, with their deliveries, in days."
    )
    audit_retention_days: int = Field(
        730, ge=1, le=36_500, description="How long entries of the audit log are kept, in days."
    )
    shutdown_grace_seconds: float = Field(
        15, ge=0, description="How long a stopping worker waits for requests under way."
    )
    dangerously_allow_networks: Annotated[list[Network], NoDecode] = Field(
        default_factory=list,
        description="CIDRs that the address guard lets through although they are not public, e.g. `127.0.0.0/8`.",
    )
    dangerously_allow_http: bool = Field(default=False, description="Accept plain http endpoints.")
    egress_proxy_url: str | None = Field(
        None,
        repr=False,
        description="An HTTP proxy (CONNECT) that all deliveries go through, e.g. `http://proxy:3128`.",
    )
    ca_file: Path | None = Field(
        None, description="PEM file of certificate authorities trusted in addition to the system's own."
    )
    storage_url: str = Field(
        default_factory=lambda: f"file://{_in_data_directory('uploads')}",
        description="Where uploads are kept: `file:///PATH` or `s3://BUCKET/PREFIX`.",
    )
    public_url: str | None = Field(
        None,
        description="The base of links to downloads and to the portal, e.g. `https://api.example.com`; default: where "
        "the API listens. Needed when that is not loopback and uploads are kept in a folder.",
    )
    upload_retention_days: int = Field(
        30,
        ge=1,
        le=36_500,
        description="How long the files of a completed upload are kept, in days; those of a cancelled or failed one "
        "are deleted at once.",
    )
    upload_quota_bytes: int = Field(
        10 * 1024**3,
        ge=1,
        description="What the files of one organization's uploads may take, results included; 409 beyond it.",
    )
    storage_min_free_bytes: int = Field(
        1024**3,
        ge=0,
        description="What uploads leave free on the disk of a folder that they are kept in; 503 beyond it.",
    )
    unfinished_upload_bytes: int = Field(
        4 * 1024**3,
        ge=1024**2,
        description="What an API process keeps in the temporary folder of uploads that are being received and checked; "
        "503 beyond it. One organization may take a quarter of it, and no more than is left free; 429 beyond that.",
    )
    download_link_seconds: int = Field(900, ge=1, le=86_400, description="How long a signed download link works.")
    read_rate_limit: int = Field(
        6_000,
        ge=1,
        description="Requests a minute with which one organization may read from one API process; 429 beyond it.",
    )
    keep_alive_seconds: float = Field(
        75,
        gt=0,
        le=3_600,
        description="How long the API keeps an idle connection open; more than a load balancer in front of it does.",
    )
    body_timeout_seconds: float = Field(
        900,
        gt=0,
        le=86_400,
        description="How long a client may take to send the body of a request; 408 beyond it. After ten seconds it "
        "must have sent 1 KiB a second on average as well.",
    )
    write_timeout_seconds: float = Field(
        30,
        gt=0,
        le=3_600,
        description="How long a client may leave a response unread before the API closes the connection.",
    )
    max_connections: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Connections that an API process keeps open, fewer where the process may open fewer files. At the "
        "limit the one that has waited longest for its client is closed; 503 when all are being served.",
    )
    max_connections_per_address: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="The same for one client address (of IPv6 the /64); does not apply to trusted proxies.",
    )
    trusted_proxies: Annotated[list[Network], NoDecode] = Field(
        default_factory=list,
        description="CIDRs of the proxies in front of the API, e.g. `10.0.0.0/8`. Only their `X-Forwarded-For`, "
        "`Forwarded` and `X-Forwarded-Proto` are believed. They must set one of the first two on every request.",
    )
    body_limit_bytes: int = Field(
        262_144, ge=1024, description="The largest request body outside uploads and batches of events."
    )
    drain_seconds: float = Field(
        0,
        ge=0,
        le=300,
        description="How long the API goes on accepting requests after SIGTERM, while `/ready` says 503 `draining`: "
        "longer than the proxies in front of it take to notice, in seconds.",
    )
    dashboard: Literal["on", "readonly", "off"] = Field(
        "on",
        description="The operators' pages under `/dashboard`, for keys with the scope `operator` or `operator:read`: "
        "`readonly` shows everything and does nothing, `off` answers 404.",
    )
    portal: Literal["on", "off"] = Field(
        "on",
        description="The customers' pages under `/portal`, which a link of `POST /api/v1/portal-links` opens; `off` "
        "answers 404.",
    )
    portal_name: str | None = Field(
        None, min_length=1, max_length=60, description="The product's name on the customers' pages; default: the brand."
    )
    portal_logo: Path | None = Field(
        None,
        description="PNG or SVG file of at most 256 KiB, shown beside the name. Of an SVG only shapes, text and "
        "gradients are shown.",
    )
    portal_accent: str | None = Field(
        None,
        pattern=r"^#[0-9A-Fa-f]{6}$",
        description="Colour of links and buttons, as `#1a56b0`. Each colour scheme gets the nearest shade that can be "
        "read (contrast 4.5).",
    )
    portal_scheme: Literal["auto", "light", "dark"] = Field(
        "auto",
        description="Colour scheme of the customers' pages, unless their link names one; `auto` is the browser's.",
    )
    portal_frame_ancestors: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Origins whose pages may show the customers' pages in a frame, e.g. `https://app.example.com`; "
        "default: none. The session's cookie is then `SameSite=None; Secure; Partitioned`.",
    )
    portal_refresh_url: str | None = Field(
        None,
        description="Where customers are sent when their session has ended, with the page that they wanted as "
        "`return`: a page of the product that makes a new link. Default: a page that says so.",
    )
    worker_metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="The port on which a worker serves `/metrics`, `/health` and `/ready`, when set.",
    )
    worker_metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="The address on which it does: `0.0.0.0` for a Prometheus on another host. There is no password.",
    )
    consume_from: SecretStr | None = Field(
        None,
        description="Where `sendoff consume` takes events from, unless --from says it: "
        "`amqp://…?queue=NAME`, `nats://…?stream=NAME` or `kafka://…?topic=NAME`.",
    )
    consume_organization: str | None = Field(
        None,
        min_length=1,
        description="The organization whose events its messages are, unless --org says it. Without one, each message "
        "names its own; where there is only one organization, none has to be named.",
    )
    consume_organization_header: str = Field(
        "Sendoff-Organization",
        min_length=1,
        description="The header in which a message names its organization, by its id or its external id.",
    )
    consume_batch: int = Field(
        500,
        ge=1,
        le=1_000,
        description="Messages that are accepted in one transaction at most. More are faster and hold up other writers "
        "of the database for longer; a process that is killed gets as many again, as duplicates.",
    )
    consume_metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="The port on which `sendoff consume` serves `/metrics`, `/health` and `/ready`, when set.",
    )
    consume_metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="The address on which it does: `0.0.0.0` for a Prometheus on another host. There is no password.",
    )
    log_format: Literal["console", "json"] = Field(
        "console",
        description="`console` for people, `json` for machines: then every line has process, host, pid and version.",
    )
    log_attempts: str = Field(
        "failed",
        pattern=r"(none|failed|all|sample:(0\.\d+|1(\.0+)?))",
        description="Which attempts get a log line: `failed`, `all`, `none`, or `sample:0.01` for the failed ones and "
        "one in a hundred of the others. A line takes about 0.5 KB, and a fifth of the time that a delivery takes.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="The least severe level logged. Requests refused with a 4xx are at `debug`; with a 5xx, a warning.",
    )

    @cached_property
    def redis_key_tag(self) -> str:
        """What the names of all keys in Redis end in: nothing, but for a cluster."""
        return parse_redis_url(self.redis_url).key_tag

    def redis_key(self, name: str) -> str:
        """A key of this name as this installation's Redis holds it."""
        return name + self.redis_key_tag

    @property
    def log_attempts_share(self) -> tuple[float, float]:
        """The shares of failed and of successful attempts that get a log line."""
        if self.log_attempts.startswith("sample:"):
            return 1.0, float(self.log_attempts.partition(":")[2])
        return {"none": (0.0, 0.0), "failed": (1.0, 0.0), "all": (1.0, 1.0)}[self.log_attempts]

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _split_secret_keys(cls, value: object) -> object:
        return _split(value)

    @field_validator("secret_keys")
    @classmethod
    def _long_enough(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for position, key in enumerate(keys, start=1):
            if len(key.get_secret_value()) < _SHORTEST_SECRET_KEY:
                raise ValueError(
                    f"key {position} has fewer than {_SHORTEST_SECRET_KEY} characters; "
                    "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                )
        return keys

    @field_validator("retry_schedule", mode="before")
    @classmethod
    def _parse_schedule(cls, value: object) -> object:
        if isinstance(value, str) and value.strip().lower() == "none":
            return []
        parts = _split(value)
        if not isinstance(parts, list):
            return parts
        if not parts:
            raise ValueError("holds no duration; write for example 1m,5m, or none for a single attempt")
        return [parse_duration(part) if isinstance(part, str) else part for part in parts]

    @field_validator("dangerously_allow_networks", "trusted_proxies", "alert_allow_networks", mode="before")
    @classmethod
    def _parse_networks(cls, value: object) -> object:
        parts = _split(value)
        if not isinstance(parts, list):
            return parts
        return [ip_network(part) if isinstance(part, str) else part for part in parts]

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        return check_database_url(value)

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: str) -> str:
        parse_redis_url(value)
        return value

    @field_validator("ca_file")
    @classmethod
    def _readable_authorities(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
        except ssl.SSLError:
            raise ValueError(f"{value} holds no certificate in PEM; name a file of certificates in PEM") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"{value} cannot be read ({reason}); name a file of certificates in PEM") from None
        return value

    @field_validator("smtp_url")
    @classmethod
    def _known_mail_server(cls, value: str | None) -> str | None:
        if value is not None:
            parse_smtp_url(value)
        return value

    @field_validator("smtp_from")
    @classmethod
    def _known_sender(cls, value: str | None) -> str | None:
        if value is not None and not is_mail_address(value):
            raise ValueError(f"{value!r} is not an e-mail address; write one like alerts@example.com")
        return value

    @field_validator("egress_proxy_url")
    @classmethod
    def _known_proxy(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(_readable(value))
        if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"} or parts.query:
            raise ValueError("must be written like http://proxy.example:3128")
        return value

    @field_validator("public_url")
    @classmethod
    def _known_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(_readable(value))
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or not value.isprintable():
            raise ValueError("must be written like https://api.example.com")
        return value.rstrip("/")

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        if not value.startswith(("file:///", "s3://")):
            raise ValueError("must start with file:/// or s3://")
        return value

    @field_validator("cells", mode="before")
    @classmethod
    def _split_cells(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        names = [name.strip() for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("names a cell twice")
        return {name.strip(): url.strip().rstrip("/") for name, _, url in pairs}

    @field_validator("cells")
    @classmethod
    def _known_cells(cls, cells: dict[str, str]) -> dict[str, str]:
        for name, url in cells.items():
            if not _CELL_NAME.fullmatch(name) or not _ORIGIN.fullmatch(url) or "*" in url:
                raise ValueError(
                    f"holds {f'{name}={url}'[:100]!r}; write each cell as name=https://address, without a path"
                )
        return cells

    @field_validator("portal_frame_ancestors", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return _split(value)

    @field_validator("portal_frame_ancestors")
    @classmethod
    def _known_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"holds {origin!r}; write origins like https://app.example.com, without a path")
        return origins

    @field_validator("portal_refresh_url")
    @classmethod
    def _known_refresh_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://localhost", "http://127.0.0.1")):
            raise ValueError("must start with https://")
        return value

    @field_validator("oauth_algorithms", mode="before")
    @classmethod
    def _split_algorithms(cls, value: object) -> object:
        return _split(value)

    @field_validator("oauth_algorithms")
    @classmethod
    def _known_algorithms(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in _OAUTH_ALGORITHMS]
        if unknown or not names:
            raise ValueError(f"must be some of {', '.join(_OAUTH_ALGORITHMS)}")
        return names

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = [*self._oauth_problems(), *self._lease_problems()]
        if self.smtp_url is not None and self.smtp_from is None:
            problems.append("SENDOFF_SMTP_URL needs SENDOFF_SMTP_FROM, the sender of the mails")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _oauth_problems(self) -> list[str]:
        problems = []
        if (self.oauth_jwks or "").startswith("http://") and not self.dangerously_allow_http:
            problems.append(
                "SENDOFF_OAUTH_JWKS must be a file or start with https://: over http the keys can be changed"
            )
        if self.oauth_jwks is not None and (self.oauth_issuer is None or self.oauth_audience is None):
            problems.append(
                "SENDOFF_OAUTH_JWKS needs SENDOFF_OAUTH_ISSUER and SENDOFF_OAUTH_AUDIENCE: "
                "without them a token that was issued for another service would be accepted"
            )
        return problems

    def _lease_problems(self) -> list[str]:
        if self.lease_seconds > self.attempt_timeout_seconds:
            return []
        return [
            f"SENDOFF_LEASE_SECONDS ({self.lease_seconds:g}) must be more than "
            f"SENDOFF_ATTEMPT_TIMEOUT_SECONDS ({self.attempt_timeout_seconds:g}): "
            "a lease that ends during an attempt sends it twice"
        ]

    def lease_for(self, timeout_seconds: float) -> float:
        """Seconds that a claim holds for an attempt of up to `timeout_seconds`: the attempt must end before it."""
        return self.lease_seconds + max(0.0, timeout_seconds - self.attempt_timeout_seconds)

    def dangers(self) -> list[str]:
        """The settings in use that must not be set in production, a sentence each."""
        found = []
        if self.dangerously_allow_networks:
            networks = ", ".join(str(network) for network in self.dangerously_allow_networks)
            found.append(f"SENDOFF_DANGEROUSLY_ALLOW_NETWORKS lets endpoints reach {networks}; unset it in production.")
        if self.dangerously_allow_http:
            found.append("SENDOFF_DANGEROUSLY_ALLOW_HTTP lets deliveries travel unencrypted; unset it in production.")
        return found


def load(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` (by field name) win over the environment.

    Raises BadSettings with one line for each setting that is wrong or unknown.
    """
    lines = _unknown_names(os.environ)
    try:
        settings = Settings(**{**_renamed(os.environ), **overrides})
    except ValidationError as error:
        lines += [_describe(problem) for problem in error.errors(include_input=False, include_url=False)]
        raise BadSettings("\n".join(lines)) from None
    if lines:
        raise BadSettings("\n".join(lines))
    return settings


def read_environment_file(path: Path) -> dict[str, str]:
    """The settings in a file of `SENDOFF_NAME=value` lines, by field. Raises BadSettings for any other line."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path} cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        field = name.strip().lower().removeprefix("sendoff_")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not separator or not name.upper().startswith("SENDOFF_") or field not in Settings.model_fields:
            raise BadSettings(f"{path}, line {number}: write settings as SENDOFF_DATABASE_URL=…, one in a line")
        found[field] = value.strip().strip("'\"")
    return found


def _renamed(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings that are given by their former names alone, by field."""
    return {
        field: environment[former]
        for former, field in FORMER_NAMES.items()
        if environment.get(former) and not environment.get(f"SENDOFF_{field.upper()}")
    }


def _unknown_names(environment: Mapping[str, str]) -> list[str]:
    """A line for each variable with the prefix that nothing reads. An empty one is taken for not set."""
    settings = [f"SENDOFF_{name.upper()}" for name in Settings.model_fields]
    known = {*settings, *FORMER_NAMES, *OTHER_VARIABLES}
    given = sorted(name for name, value in environment.items() if name.upper().startswith("SENDOFF_") and value)
    unknown = [
        name
        for name in given
        if name.upper() not in known
        and not name.upper().startswith(_TEST_PREFIXES)
        and not _SERVICE_LINK.fullmatch(name.upper())
    ]
    return [_describe_unknown(name, settings) for name in unknown]


def _describe_unknown(name: str, settings: list[str]) -> str:
    # Without the prefix, by which all names are alike.
    bare = [setting.removeprefix("SENDOFF_") for setting in settings]
    near = get_close_matches(name.upper().removeprefix("SENDOFF_"), bare, n=1, cutoff=0.6)
    remedy = f"did you mean SENDOFF_{near[0]}?" if near else "remove it; docs/reference/settings.md lists the settings."
    return f"{name}: there is no such setting; {remedy}"


def _describe(problem: Any) -> str:
    name = f"SENDOFF_{str(problem['loc'][0]).upper()}: " if problem["loc"] else ""
    return name + str(problem["msg"]).removeprefix("Value error, ")
