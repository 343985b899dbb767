"""The explanation of a pasted request's signature, as a task of the sandbox: it tries mistakes on hostile input."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sendoff.verify import SCHEMES, Explanation, Scheme, branded, explain


class BrandedScheme(msgspec.Struct, frozen=True):
    """How receivers verify the installation's own dialect."""

    brand: str
    scheme: str
    prefix: str
    signature_header: str

    def open(self) -> Scheme:
        return branded(self.brand, scheme=self.scheme, prefix=self.prefix, signature_header=self.signature_header)


class ExplainSignature(msgspec.Struct, frozen=True):
    """Why do `headers` and `body` verify, or not, for an endpoint of the dialect?

    `secrets` are those of the endpoint, `others` those of the organization's other endpoints, each by its label.
    """

    dialect: str
    own: BrandedScheme
    headers: dict[str, str]
    body: bytes
    secrets: dict[str, str]
    others: dict[str, str]
    tolerance: float
    now: float
    computed: str | None
    sent_body: bytes | None

    def run(self, _progress: Callable[[int], object]) -> Explanation:
        """The explanation."""
        schemes = {"default": self.own.open(), **{name: SCHEMES[name] for name in ("dialbird", "standard")}}
        return explain(
            schemes["default"] if self.dialect == "default" else SCHEMES[self.dialect],
            self.headers,
            self.body,
            self.secrets,
            self.tolerance,
            self.now,
            computed=self.computed,
            sent_body=self.sent_body,
            others=self.others,
            schemes=schemes,
        )
