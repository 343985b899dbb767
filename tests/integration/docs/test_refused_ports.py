"""The how-to lists every port that an endpoint's URL may not have."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from sendoff.policy.endpoints.addresses import SERVICE_PORTS
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "how-to" / "send-to-an-endpoint.md"


def test_every_refused_port_is_on_the_page() -> None:
    table = "\n".join(f"| {name} | {_written(ports)} |" for name, ports in SERVICE_PORTS.items())
    assert f"| service | ports |\n|---|---|\n{table}\n\n" in PAGE.read_text()


def _written(ports: Iterable[int]) -> str:
    """Ports with commas between; three and more that follow each other as a range."""
    runs = [
        [port for _, port in run] for _, run in groupby(enumerate(sorted(ports)), key=lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
