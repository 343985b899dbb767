"""The state machines: their arrows are complete, and the diagrams of ARCHITECTURE.md show them."""

from __future__ import annotations

import pytest

from sendoff.policy.states import (
    ANSWER_GONE,
    ENDPOINT,
    MACHINES,
    SWITCH_OFF,
    DeliveryState,
    EndpointState,
    StateMachine,
)
from tools.state_diagrams import PAGE, blocks, draw_into


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_with_an_arrow_is_reached_from_the_creation(machine: StateMachine) -> None:
    reached: set[str | None] = {None}
    for _ in machine.states:
        reached |= {arrow.target for arrow in machine.arrows if arrow.source in reached}
    named = {arrow.source for arrow in machine.arrows} | {arrow.target for arrow in machine.arrows}
    assert named == reached


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_only_arrows_are_allowed(machine: StateMachine) -> None:
    arrows = {(arrow.source, arrow.target) for arrow in machine.arrows}
    for source in (None, *machine.states):
        for target in machine.states:
            assert machine.allows(source, target) == ((source, target) in arrows)


def test_a_change_without_an_arrow_raises() -> None:
    SWITCH_OFF.check(EndpointState.ACTIVE, EndpointState.PAUSED)
    with pytest.raises(ValueError, match="switch off leads from no gone to paused"):
        SWITCH_OFF.check(EndpointState.GONE, EndpointState.PAUSED)
    with pytest.raises(ValueError, match="answer 410 leads from deleted to 0 states"):
        ANSWER_GONE.target(EndpointState.DELETED)
    assert not any(ENDPOINT.allows(EndpointState.DELETED, state) for state in EndpointState)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_each_arrow_belongs_to_one_trigger(machine: StateMachine) -> None:
    """Two functions may lead from one state to another, but not for the same cause."""
    assert len(set(machine.arrows)) == len(machine.arrows)


def test_a_diagram_has_an_arrow_for_each_change_and_an_end_for_each_final_state() -> None:
    diagram = ENDPOINT.mermaid()
    assert "[*] --> active: registered" in diagram
    assert "active --> disabled: too many failures in a row, disabled by an operator" in diagram
    assert "deleted --> [*]" in diagram
    assert f"{DeliveryState.IN_FLIGHT} --> {DeliveryState.DELIVERED}: 2xx" in blocks()


@pytest.mark.skipif(not PAGE.exists(), reason="ARCHITECTURE.md is not written yet")
def test_architecture_shows_the_arrows_as_they_are() -> None:
    page = PAGE.read_text()
    assert draw_into(page) == page, "run `python -m tools.state_diagrams`"
    if "<!-- states:" in page:
        assert all(f"<!-- states: {machine.name} -->" in page for machine in MACHINES)
