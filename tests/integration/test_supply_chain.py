"""What we build on and ship in: pinned by hash, audited honestly, run as nobody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT
from tools.audit_dependencies import NOT_AUDITED, VULNERABLE, Report, first, verdict

LOCKS = ["run.txt", "dev.txt", "docs.txt"]


def entry(name: str, *advisories: str, skipped: bool = False) -> dict[str, Any]:
    if skipped:
        return {"name": name, "skip_reason": "Dependency not found"}
    return {"name": name, "version": "1.0", "vulns": [{"id": one, "fix_versions": ["1.1"]} for one in advisories]}


@pytest.mark.parametrize(
    ("entries", "always", "when_reachable"),
    [
        ([entry("a"), entry("b")], 0, 0),
        ([entry("a"), entry("b", "CVE-1")], VULNERABLE, VULNERABLE),
        ([entry("a", skipped=True), entry("b", "CVE-1")], VULNERABLE, VULNERABLE),
        ([entry("a"), entry("b", skipped=True)], NOT_AUDITED, 0),
        ([entry("a", skipped=True), entry("b", skipped=True)], NOT_AUDITED, 0),
        ([], NOT_AUDITED, 0),
    ],
)
def test_an_audit_without_a_service_is_never_reported_as_clean(
    entries: list[dict[str, Any]], always: int, when_reachable: int
) -> None:
    report = Report.of({"dependencies": entries})
    assert verdict(report, when_reachable=False)[0] == always
    code, expected = verdict(report, when_reachable=True)
    assert code == when_reachable
    assert ("none is known to be vulnerable" in expected) == (always == 0)
    assert ("CVE-1" in expected) == (always == VULNERABLE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_pinned_by_version_and_hash_and_names_no_registry(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    requirements = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    assert len(requirements) > 20
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
    assert not re.search(r"https?://|--(extra-)?index.url|--trusted.host", text)


def test_the_first_requirements_of_a_lock_are_whole() -> None:
    text = (ROOT / "requirements" / "run.txt").read_text()
    few = first(text, 3)
    assert text.startswith(few)
    assert few.count("==") == 3
    assert text[len(few)].isalnum()


def dockerfile() -> list[str]:
    """The instructions, each on one line."""
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def test_the_image_runs_as_a_user_without_rights_on_what_it_runs() -> None:
    lines = dockerfile()
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users, "the image must not run as root"
    user, _, group = users[-1].partition(":")
    assert user.isdigit()
    assert (int(user), int(group)) > (0, 0)
    last = max(number for number, line in enumerate(lines) if line.startswith("USER"))
    assert not any(line.startswith(("RUN", "COPY", "ADD")) for line in lines[last:])
    assert not any("--chown" in line or line.startswith("ADD") for line in lines)


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    lines = dockerfile()
    installs = [command for line in lines for command in re.findall(r"\bpip\b[^&]* install[^&]*", line)]
    assert installs
    for command in installs:
        assert command.split(" install ")[1].split() == [
            "--no-cache-dir",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-r",
            "requirements/run.txt",
        ], command
    # Or the environment would hold the pip and setuptools that the base image happens to bring along.
    assert all("--without-pip" in line for line in lines if "-m venv" in line)
    assert not any(re.search(r"\b(apt|apt-get|apk|curl|wget|ARG|--build-arg)\b", line) for line in lines)
    assert lines[0].startswith("FROM python:3.11-slim")
    # A registry's host would stand in front of the image's name or in an option of pip's.
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"https?://|index.url|trusted.host|FROM [^ ]*\.[^ ]*/", text)


def test_the_image_contains_no_secrets() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    allowed = {line.removeprefix("!") for line in ignored[1:] if line.startswith("!")}
    copied = {
        part
        for line in dockerfile()
        if line.startswith("COPY") and "--from" not in line
        for part in line.split()[1:-1]
        if not part.startswith("--")
    }
    assert {Path(part).parts[0] for part in copied} <= {Path(part).parts[0] for part in allowed}


def test_every_action_of_the_threat_model_is_written_down_on_a_page() -> None:
    lines = (ROOT / "SECURITY.md").read_text().splitlines()
    assert len(lines) <= 150
    text = "\n".join(lines)
    for topic in ("Report", "Trust", "SSRF", "secret", "tenant", "audit", "does not protect"):
        assert topic.lower() in text.lower(), topic
