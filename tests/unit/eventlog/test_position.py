"""Positions compare as places in the log, not as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.eventlog.interface import Position

UNSIGNED = st.integers(0, 2**64 - 1)


@given(ms=UNSIGNED, seq=UNSIGNED)
def test_text_of_a_position_parses_back_to_it(ms: int, seq: int) -> None:
    assert Position.parse(str(Position(ms, seq))) == Position(ms, seq)


def test_later_positions_compare_greater_whatever_their_number_of_digits() -> None:
    assert Position.parse("9-9") < Position.parse("10-0") < Position.parse("10-10")


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-1", "1-b", "1--1", "٣-1", "1 -1", "-1-1"])
def test_text_that_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a log position"):
        Position.parse(text)
