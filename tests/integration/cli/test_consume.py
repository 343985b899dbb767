"""`sendoff consume` and `sendoff rejected-messages` as their users see them, without a broker."""

from __future__ import annotations

import pytest

from tests.integration.cli.conftest import Install


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        ((), 2, "say where events come from"),
        (("--from", "redis://h?queue=q"), 1, "The source must be amqp://"),
        (("--from", "kafka://h?topik=t"), 1, "topik"),
        (("--from", "nats://h?stream=s", "--org", "nobody"), 1, "There is no organization 'nobody'"),
    ],
)
def test_an_unusable_source_is_refused_with_a_sentence(
    install: Install, arguments: tuple[str, ...], code: int, what: str
) -> None:
    installation = install({})
    installation.json("migrate")
    refused = installation.run("consume", *arguments)
    assert (refused.returncode, what in refused.stderr) == (code, True), refused.stderr
    assert "Traceback" not in refused.stderr


def test_rejected_messages_are_listed_and_found(install: Install) -> None:
    installation = install({})
    installation.json("migrate")
    assert installation.json("rejected-messages", "list") == {"data": [], "next_cursor": None}
    missing = installation.run("rejected-messages", "show", "nothing")
    assert (missing.returncode, "There is no rejected message 'nothing'" in missing.stderr) == (1, True)
