"""A page for each dialect, from the code that speaks it. To write: `python -m tests.integration.docs.dialect_pages`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.dialbird.dependencies import MEANINGS as DIALBIRD_MEANINGS
from api.openapi.operations import MEANINGS as OPTIMALDIAL_MEANINGS
from sendoff.dialects.base import Dialect
from sendoff.dialects.registry import Dialects
from sendoff.policy.endpoints.matching import DIALBIRD_TYPES, OPTIMALDIAL_TYPES
from sendoff.settings import Settings
from sendoff.verify import TOLERANCE_SECONDS, Problem
from tests.integration.docs.vectors import ATTEMPT, EVENT, NOW, SECRETS, event_for, vectors_of

FOLDER = Path(__file__).parents[3] / "docs" / "reference" / "dialects"

_VALUES = {
    "application/json": "`application/json`",
    "application/cloudevents+json": "`application/cloudevents+json`",
    EVENT.event_id: "the event's id; the same for all its deliveries and attempts",
    ATTEMPT.delivery_id: "one per event and endpoint; the same for all its attempts",
    str(ATTEMPT.attempt): "1, 2, 3 …",
    str(NOW): "when this attempt was signed, in Unix seconds",
}
"""What a header holds, by its value in the example."""

_PROBLEMS = {
    Problem.MISSING_HEADER: "a header that the dialect has is not there",
    Problem.MALFORMED_HEADER: "a header is there, but not in the dialect's form",
    Problem.NO_SIGNATURE_MATCHES: "another secret signed it, or the body is not the bytes that were sent",
    Problem.TOO_OLD: f"signed more than {TOLERANCE_SECONDS} seconds ago: an old request sent again, or a fast clock",
    Problem.TOO_NEW: f"signed more than {TOLERANCE_SECONDS} seconds ahead: a slow clock",
    Problem.MALFORMED_BODY: "signed, but no JSON object",
}


@dataclass(frozen=True)
class Page:
    """What a page tells beyond what can be read off the dialect itself."""

    dialect: str
    title: str
    introduction: str
    secret: str
    signature: str
    settings: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    errors: Mapping[int, str] | None = None


_STANDARD_RENDERING = (
    "[Standard Webhooks 1.0](https://www.standardwebhooks.com). Any of its libraries verifies what we send. Endpoints "
    'that speak it are made with `"dialect": "{name}"` on `POST /api/v1/webhooks`.'
)
_TIMESTAMPED = (
    "`t=<unix>,v1=<hex>`: HMAC-SHA256 of `{t}.{raw body}`. While a secret is being rotated there is a `v1=` for each."
)
_SIGNED_TEXT = "`webhook-id`, a dot, `webhook-timestamp`, a dot, and the raw body"

PAGES = (
    Page(
        "optimaldial",
        "OptimalDial, the default dialect",
        "What an installation's own product speaks, and what `POST /api/v1/webhooks` makes by default. Its name is "
        "`default`; the brand, here `optimaldial`, is another name for it. With `SENDOFF_BRAND=Acme` every "
        "`X-OptimalDial-` below is `X-Acme-`, and the user agent `Acme-Webhooks/1.0`.\n\n"
        "Choose the brand before the first customer. When it changes later, receivers of this dialect refuse every "
        "request (`missing_header`) until they know the new names, unless "
        "`SENDOFF_DIALECT_HEADER_PREFIX=X-OptimalDial-` keeps the old ones. Of Standard Webhooks and CloudEvents the "
        "user agent changes, of CloudEvents also `source`; receivers verify them as before. Dialbird does not change.",
        "we make 64 hexadecimal digits; one of your own has 32 to 64 printable ASCII characters without spaces. The "
        "key is these characters themselves, not what they decode to.",
        _TIMESTAMPED,
        settings=tuple(name for name in Settings.model_fields if name == "brand" or name.startswith("dialect_")),
        types=OPTIMALDIAL_TYPES,
        errors={status: meaning for status, (meaning, _) in OPTIMALDIAL_MEANINGS.items()},
    ),
    Page(
        "dialbird",
        "Dialbird",
        "REST Hooks: one subscription for each event type and URL, made with `POST /api/v1/subscriptions`. There is no "
        "ping. An organization is a business here.",
        "`whsec_` and 64 hexadecimal digits. The key is all of these characters, the prefix too.",
        _TIMESTAMPED,
        types=DIALBIRD_TYPES,
        errors=DIALBIRD_MEANINGS,
    ),
    Page(
        "standard",
        "Standard Webhooks, symmetric",
        _STANDARD_RENDERING.format(name="standard"),
        "`whsec_` and base64, of 24 to 64 bytes if it is one of your own. The key is what the base64 decodes to.",
        f"`v1,<base64>`: HMAC-SHA256 of {_SIGNED_TEXT}. While a secret is being rotated there are two, separated by a "
        "space.",
    ),
    Page(
        "standard-v1a",
        "Standard Webhooks, asymmetric",
        _STANDARD_RENDERING.format(name="standard-v1a"),
        "An ed25519 key of the installation, which is never shown. Its public half, `whpk_` and base64, is in the "
        "response to `POST /api/v1/webhooks` and at `GET /api/v1/webhooks/{id}/public-key`.",
        f"`v1a,<base64>`: ed25519 over {_SIGNED_TEXT}. While the key is being rotated there are two, separated by a "
        "space.",
    ),
    Page(
        "cloudevents",
        "CloudEvents",
        "[CloudEvents 1.0](https://cloudevents.io) in the structured JSON form, signed like Standard Webhooks, whose "
        'libraries verify it. Endpoints that speak it are made with `"dialect": "cloudevents"` on '
        "`POST /api/v1/webhooks`. `id` is the event's id, `source` the organization, as a URN of the brand, and `time` "
        "its `occurred_at`. How to publish CloudEvents: [Publish events](../../how-to/publish.md#cloudevents).",
        "`whsec_` and base64, of 24 to 64 bytes if it is one of your own. The key is what the base64 decodes to.",
        f"`v1,<base64>`: HMAC-SHA256 of {_SIGNED_TEXT}. While a secret is being rotated there are two, separated by a "
        "space.",
    ),
)


def render(page: Page) -> str:
    """The page's text."""
    dialect = Dialects().get(page.dialect)
    parts = [
        f"# {page.title}\n\n{page.introduction}",
        f"## Headers\n\n{_headers(dialect, page.dialect)}",
        f"## Secret and signature\n\n- Secret: {page.secret}\n- Signature: {page.signature}",
        f"## Example\n\n{_example(page.dialect)}",
        f"## Why a request must not be believed\n\n{_table(('problem', 'when'), _PROBLEMS.items())}",
    ]
    if page.types:
        parts.append("## Built-in event types\n\n" + "\n".join(f"- `{name}`" for name in page.types))
    if page.settings:
        parts.append(f"## Settings\n\n{_settings(page.settings)}")
    if page.errors:
        rows = [(str(status), meaning) for status, meaning in sorted(page.errors.items())]
        parts.append(f"## Errors of its API\n\n{_table(('status', 'when'), rows, code=False)}")
    return "\n\n".join(parts) + "\n"


def render_index() -> str:
    """The page that lists them."""
    lines = [f"- [{page.title}]({page.dialect}.md)" for page in PAGES]
    return (
        "# Dialects\n\nWhat each contract's deliveries look like on the wire. To check them, see "
        "[Receive webhooks](../../how-to/receive.md); to speak another, [Add a dialect](../../how-to/add-a-dialect.md)."
        "\n\n" + "\n".join(lines) + "\n"
    )


def pages() -> dict[Path, str]:
    """Every page and its text."""
    return {FOLDER / "index.md": render_index()} | {FOLDER / f"{page.dialect}.md": render(page) for page in PAGES}


def _headers(dialect: Dialect, name: str) -> str:
    event = event_for(name)
    headers = dialect.headers(event, ATTEMPT, dialect.body(event), [SECRETS[name][0]])
    meanings = _VALUES | {event.type: "the event's type"}
    rows = [
        (header, meanings.get(value, f"`{value}`" if header == "User-Agent" else "see below"))
        for header, value in headers
    ]
    return _table(("header", "value"), rows)


def _example(name: str) -> str:
    vector = next(vectors_of(name))
    head = "\n".join(f"{header}: {value}" for header, value in vector.headers.items())
    known = "public key" if vector.secrets[0].startswith("whpk_") else "secret"
    return (
        f"Signed at {vector.now}; the {known} is `{vector.secrets[0]}`. It is the first of this dialect's "
        f"[test vectors](../../vectors.json).\n\n"
        f"```http\nPOST /hooks HTTP/1.1\nHost: receiver.example\n{head}\n\n{vector.body}\n```"
    )


def _settings(names: Iterable[str]) -> str:
    rows = [(f"SENDOFF_{name.upper()}", Settings.model_fields[name].description or "") for name in names]
    return _table(("setting", "what it does"), rows)


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]], *, code: bool = True) -> str:
    lines = [f"| `{left}` | {right} |" if code else f"| {left} | {right} |" for left, right in rows]
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *lines])


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        path.write_text(text)
