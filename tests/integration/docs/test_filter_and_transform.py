"""The how-to about filters and transforms: its endpoints can be registered, and its expressions do what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sendoff.audit import Actor
from sendoff.clock import SystemClock
from sendoff.policy.endpoints.expressions import (
    Evaluated,
    EvaluationContext,
    ExpressionInput,
    Expressions,
    evaluate_expressions,
)
from sendoff.publishing.event_types import create_event_type
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver

PAGE = (Path(__file__).parents[3] / "docs/how-to/filter-and-transform.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of the page whose first line says `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


[EVENT] = [json.loads(block) for block in blocks("json event")]
[ARRIVES] = [json.loads(block) for block in blocks("json arrives")]


@pytest.mark.parametrize("expression", blocks("cel"))
def test_each_filter_is_true_for_the_pages_event(expression: str) -> None:
    data = json.dumps(EVENT["data"]).encode()
    source = ExpressionInput("evt_1", EVENT["type"], SystemClock().now(), data)
    assert evaluate_expressions(Expressions(filter=expression), EvaluationContext(source)) == Evaluated()


async def test_each_endpoint_can_be_registered_and_gets_the_event(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    await create_event_type(sqlite_api.app.context, Actor("cli:test"), name=EVENT["type"], data_schema=None)
    paths = []
    for number, block in enumerate(blocks("json")):
        paths.append(f"/{number}")
        await sqlite_api.register(**{**json.loads(block), "url": receiver.url(paths[-1])})
    assert (await sqlite_api.publish(EVENT["data"], type=EVENT["type"]))["deliveries"] == len(paths) == 3
    await sqlite_api.app.work()
    arrived = [json.loads(receiver.requests(path)[-1].body)["data"] for path in paths]
    assert arrived == [EVENT["data"], EVENT["data"], ARRIVES]
