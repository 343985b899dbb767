"""The set that remembers which numbers were seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sendoff.uploads.files.number_set import NumberSet

# Close to each other and around the places where the split into 32 bits and the rest changes.
NUMBERS = st.builds(
    lambda base, offset: f"+{base + offset}",
    st.sampled_from([12_000_000_000, 12_884_901_888, 17_179_869_184, 19_999_999_990]),
    st.integers(-5, 5),
)


@given(st.lists(NUMBERS | st.integers(12_000_000_000, 19_999_999_999).map(lambda n: f"+{n}"), max_size=200))
def test_new_and_seen_numbers_are_distinguished_as_by_a_set(numbers: list[str]) -> None:
    ours, reference = NumberSet(len(set(numbers))), set[str]()
    for number in numbers:
        assert ours.add(number) == (number not in reference)
        reference.add(number)


def test_local_numbers_are_remembered_too() -> None:
    ours = NumberSet(2)
    assert [ours.add("+13101234"), ours.add("+13101234"), ours.add("+13101235")] == [True, False, True]
