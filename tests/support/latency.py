"""How long events took from being accepted to being received, and where such findings are written."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.support.processes import ROOT
from tests.support.publisher import Published
from tests.support.receipts import Receipt

FINDINGS = ROOT / ".chaos"


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from the answer to the publisher until the first request to the receiver; sorted."""

    seconds: list[float]

    @classmethod
    def of(cls, published: Published, receipts: Iterable[Receipt], *, leaving_out: Collection[str]) -> Latencies:
        """Those of the events that arrived, the given ones apart."""
        answered = published.accepted_at
        return cls(
            sorted(
                max(0.0, receipt.first_at - answered[receipt.event_id])
                for receipt in receipts
                if receipt.event_id in answered and receipt.event_id not in leaving_out
            )
        )

    def quantile(self, share: float) -> float:
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))]

    def __str__(self) -> str:
        p50, p99, slowest = (
            f"{seconds * 1000:.1f}" for seconds in (*map(self.quantile, (0.5, 0.99)), self.seconds[-1])
        )
        return f"p50 {p50} ms, p99 {p99} ms, slowest {slowest} ms of {len(self.seconds)}"


def note(subject: str, finding: str) -> None:
    """Add a line to what was found out about the subject, in `.chaos/`."""
    FINDINGS.mkdir(exist_ok=True)
    with (FINDINGS / f"{subject}.txt").open("a") as file:
        file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M} {finding}\n")
