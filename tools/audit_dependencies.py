"""Ask a vulnerability service about every locked dependency, and say honestly when none could be asked.

    python tools/audit_dependencies.py requirements/dev.txt [--when-reachable]

pip-audit reports "no known vulnerabilities" also when its service knew nothing about a single package, as behind a
mirror that serves files alone. Here that is exit code 2; with `--when-reachable` it is 0 and a sentence.
Exit code 1 means that there are vulnerabilities.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VULNERABLE, NOT_AUDITED = 1, 2
_PATIENCE_SECONDS = 600
_PROBED = 5


@dataclass(frozen=True)
class Report:
    """What pip-audit said about each dependency; all empty when its service could not be reached at all."""

    audited: Sequence[str] = ()
    skipped: Sequence[str] = ()
    vulnerabilities: Sequence[str] = ()

    @classmethod
    def of(cls, document: Any) -> Report:
        """From pip-audit's JSON."""
        dependencies = document["dependencies"]
        return cls(
            audited=[one["name"] for one in dependencies if "vulns" in one],
            skipped=[one["name"] for one in dependencies if "vulns" not in one],
            vulnerabilities=[
                f"{one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
                for one in dependencies
                for found in one.get("vulns", ())
            ],
        )


def verdict(report: Report, *, when_reachable: bool) -> tuple[int, str]:
    """The exit code and the report."""
    if report.vulnerabilities:
        return VULNERABLE, "Vulnerable dependencies:\n" + "\n".join(report.vulnerabilities)
    if not report.audited:
        message = "Dependencies NOT audited: no vulnerability service could be reached that knows any of them."
        return (0 if when_reachable else NOT_AUDITED), message
    if report.skipped:
        message = f"{len(report.audited)} dependencies audited, but not {', '.join(report.skipped)}."
        return (0 if when_reachable else NOT_AUDITED), message
    return 0, f"{len(report.audited)} dependencies audited, none is known to be vulnerable."


def audit(requirements: str) -> Report:
    """Ask about every requirement of the text, in the lock file's form."""
    with tempfile.TemporaryDirectory() as directory:
        asked = Path(directory) / "requirements.txt"
        asked.write_text(requirements)
        options = ["--requirement", str(asked), "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        command = [sys.executable, "-m", "pip_audit", *options, "--timeout", "10", "--format", "json"]
        done = subprocess.run(  # noqa: S603 - fixed
            command, check=False, capture_output=True, text=True, timeout=_PATIENCE_SECONDS
        )
    try:
        return Report.of(json.loads(done.stdout))
    except ValueError:  # it gave up in the middle, with a trace instead of a report
        return Report()


def first(requirements: str, count: int) -> str:
    """The first few requirements of a lock file, with their hashes."""
    lines = requirements.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if line[0] not in " #\n"]
    return "".join(lines[: starts[count]]) if len(starts) > count else requirements


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask a vulnerability service about every locked dependency.")
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--when-reachable", action="store_true", help="succeed when no service can be asked")
    options = parser.parse_args()
    requirements = options.requirements.read_text()
    report = audit(first(requirements, _PROBED))
    if report.audited:
        report = audit(requirements)
    code, message = verdict(report, when_reachable=options.when_reachable)
    sys.stdout.write(f"{message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
