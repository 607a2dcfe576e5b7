"""PostgreSQL's binary formats, byte for byte as its documentation describes them."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.processing.builders import Row, build_columns, uuid4_of
from viewcounter.storage import binary

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=5)


@given(values=texts, data=st.data())
def test_texts_at_places_are_the_array_of_these_texts(values, data):
    index = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=10))
    chosen = binary.texts_at([(values, np.array(index, dtype=np.int64))])
    assert chosen == binary.texts([values[i] for i in index])


def test_a_text_array_is_laid_out_with_dimensions_element_type_and_lengths():
    assert binary.texts(["é", ""]).data == struct.pack(">iiiii", 1, 0, 25, 2, 1) + b"\0\0\0\2\xc3\xa9" + b"\0\0\0\0"
    assert binary.texts([]).data == struct.pack(">iii", 0, 0, 25)


rows = st.builds(
    Row,
    event=st.integers(0, 2**40),
    video=st.sampled_from(["a", "bc", "dé", "x" * 20]),
    minute=st.integers(0, 10**6),
    type_id=st.integers(1, 2**15 - 1),
    value=st.integers(-(2**63), 2**63 - 1),
    viewer=st.just(0) | st.integers(-(2**63), 2**63 - 1),
)


def lay_out(row, *, partition):
    """One row of `copy_raw_events`, field by field."""
    fields = [
        struct.pack(">h", partition),
        struct.pack(">h", row.type_id),
        struct.pack(">q", -binary.POSTGRES_EPOCH_US),
        struct.pack(">q", row.minute * 60_000_000 - binary.POSTGRES_EPOCH_US),
        struct.pack(">q", row.value),
        struct.pack(">q", row.viewer),
        uuid4_of(row.event).bytes,
        row.video.encode(),
    ]
    return struct.pack(">h", len(fields)) + b"".join(struct.pack(">i", len(field)) + field for field in fields)


@given(batch=st.lists(rows, max_size=20), partition=st.integers(0, 2**15 - 1))
def test_copy_rows_hold_every_field_of_every_event(batch, partition):
    stream = binary.copy_rows([(build_columns(batch), partition)])
    by_length = sorted(batch, key=lambda row: len(row.video.encode()))  # stable: order is kept among equal lengths
    body = b"".join(lay_out(row, partition=partition) for row in by_length)
    assert stream == b"PGCOPY\n\xff\r\n\0" + bytes(8) + body + b"\xff\xff"
