"""A packed entry says exactly what was put in, or nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.eventlog.codec import AcceptedEvent, UnreadableEntry, pack_entry, unpack_entry

INT64 = st.integers(-(2**63), 2**63 - 1)
events = st.builds(
    AcceptedEvent,
    event_id=st.binary(min_size=16, max_size=16),
    video_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10),
    type_id=st.integers(0, 2**16 - 1),
    occurred_us=INT64,
    value=INT64,
)
SAMPLE = pack_entry(
    [AcceptedEvent(bytes(range(16)), "v", 1, 2, 3), AcceptedEvent(b"\0" * 16, "w", 4, 5, 6)], received_us=7
)


@given(batch=st.lists(events, min_size=1, max_size=30), received_us=INT64)
def test_unpacking_gives_back_every_field_of_every_event_in_order(batch: list[AcceptedEvent], received_us: int) -> None:
    columns = unpack_entry(pack_entry(batch, received_us=received_us))
    raw_ids = columns.event_ids.tobytes()
    unpacked = [
        AcceptedEvent(
            raw_ids[16 * row : 16 * row + 16],
            columns.videos[columns.video_index[row]],
            int(columns.type_ids[row]),
            int(columns.occurred_us[row]),
            int(columns.values[row]),
        )
        for row in range(len(columns))
    ]
    assert unpacked == batch
    assert np.array_equal(columns.received_us, np.full(len(batch), received_us))


@given(position=st.integers(0, len(SAMPLE) - 1), flipped=st.integers(1, 255))
def test_any_changed_byte_makes_the_entry_unreadable(position: int, flipped: int) -> None:
    damaged = bytearray(SAMPLE)
    damaged[position] ^= flipped
    with pytest.raises(UnreadableEntry):
        unpack_entry(bytes(damaged))


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_any_cut_makes_the_entry_unreadable(length: int) -> None:
    with pytest.raises(UnreadableEntry):
        unpack_entry(SAMPLE[:length])


@given(payload=st.binary(max_size=200))
def test_arbitrary_bytes_are_unreadable(payload: bytes) -> None:
    with pytest.raises(UnreadableEntry):
        unpack_entry(payload)
