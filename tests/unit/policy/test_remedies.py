"""Every way that a delivery can fail has words for its owner."""

from __future__ import annotations

import pytest

from sendoff.policy.delivery.attempt_result import NOT_PREPARED, REJECTED_ADDRESS, classify_response
from sendoff.policy.remedies import advise_on_attempt
from sendoff.policy.states import DeadLetterReason
from sendoff.wire.errors import WireError
from tests.support.app_fixture import START


def subclasses(kind: type[WireError]) -> set[type[WireError]]:
    return {kind, *(inner for one in kind.__subclasses__() for inner in subclasses(one))}


def test_every_error_of_the_wire_has_words_of_its_own() -> None:
    unknown = advise_on_attempt("something else", None)
    names = {kind.name for kind in subclasses(WireError)} - {"wire_error"} | {NOT_PREPARED, REJECTED_ADDRESS}
    assert [name for name in names if advise_on_attempt(name, None) == unknown] == []


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 418, 429, 500, 503, 599, 999])
def test_every_status_has_words_and_a_remedy(status: int) -> None:
    advice = advise_on_attempt(classify_response(status, (), START).name, status)
    assert advice.meaning
    assert advice.remedy


@pytest.mark.parametrize("reason", DeadLetterReason)
def test_every_reason_of_a_dead_letter_has_words_and_a_remedy(reason: DeadLetterReason) -> None:
    assert reason.meaning.endswith(".")
    assert reason.remedy.endswith(".")
    assert len(reason.label) <= 40
