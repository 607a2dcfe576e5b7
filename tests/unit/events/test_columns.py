import time
from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.processing.builders import MINUTE_US, Row, build_columns
from viewcounter.events.columns import Columns, concat_columns

rows = st.builds(
    Row,
    event=st.integers(0, 2**40),
    video=st.sampled_from("abc"),
    minute=st.integers(0, 100),
    type_id=st.just(1),
    value=st.just(1),
    viewer=st.integers(-(2**63), 2**63 - 1),
)


def as_tuples(columns: Columns):
    return [
        (bytes(i), columns.videos[v], o, viewer)
        for i, v, o, viewer in zip(
            columns.event_ids,
            columns.video_index.tolist(),
            columns.occurred_us.tolist(),
            columns.viewers.tolist(),
            strict=True,
        )
    ]


@given(st.lists(st.lists(rows, min_size=1, max_size=5), min_size=1, max_size=4))
def test_concatenation_keeps_every_row_in_order_over_one_list_of_distinct_videos(batches):
    parts = [build_columns(batch) for batch in batches]
    joined = concat_columns(parts)
    assert as_tuples(joined) == [row for part in parts for row in as_tuples(part)]
    assert len(set(joined.videos)) == len(joined.videos)


def test_a_version_7_id_is_stored_under_its_own_minute():
    ms = int(time.time() * 1000)
    version_7 = UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | 5)
    columns = build_columns([Row(1, minute=9), Row(2, minute=9)])
    columns.event_ids.setflags(write=True)
    columns.event_ids[0] = version_7.bytes
    assert columns.id_minutes().tolist() == [ms // 60_000, 9]
    assert columns.minutes().tolist() == [9, 9]


def test_content_digests_differ_by_each_of_video_type_time_value_and_viewer():
    base = Row(1, "a", 1, 1, 1)
    variants = [
        base,
        base._replace(video="b"),
        base._replace(minute=2),
        base._replace(type_id=2),
        base._replace(value=2),
        base._replace(viewer=7),
        base._replace(viewer=-7),
    ]
    digests = build_columns(variants).content_digests()
    assert len(set(digests.tolist())) == len(variants)
    again = build_columns([base._replace(event=99)]).content_digests()
    assert again[0] == digests[0]


@given(st.lists(rows, min_size=1, max_size=5))
def test_the_content_of_an_event_is_the_same_whatever_stands_beside_it(batch):
    """A retry comes in another batch, and must be known again there."""
    batch = [*batch, Row(1)]
    alone = [int(build_columns([row]).content_digests()[0]) for row in batch]
    assert build_columns(batch).content_digests().tolist() == alone


def test_minutes_round_towards_the_past():
    columns = build_columns([Row(1)])
    early = Columns(**{name: getattr(columns, name) for name in columns.__slots__} | {"occurred_us": np.array([-1])})
    assert early.minutes().tolist() == [-1]
    assert MINUTE_US == 60_000_000
