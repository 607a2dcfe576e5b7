from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.processing.builders import MINUTE_US, MemoryIds, Row, build_columns
from viewcounter.processing.aggregation import aggregate, build_ledger
from viewcounter.processing.deduplication import deduplicate

rows = st.builds(
    Row,
    event=st.integers(0, 30),
    video=st.sampled_from(["b", "a", "é", "a0"]),
    minute=st.integers(0, 130),
    type_id=st.integers(1, 3),
    value=st.integers(0, 10**9),
    viewer=st.just(0),
)


def to_dict(aggregates, videos):
    keys = zip(
        (videos[i] for i in aggregates.video_index.tolist()),
        aggregates.type_ids.tolist(),
        aggregates.starts_us.tolist() if len(aggregates.starts_us) else [None] * len(aggregates),
        strict=True,
    )
    values = zip(
        *(a.tolist() for a in (aggregates.counts, aggregates.sums, aggregates.mins, aggregates.maxs)), strict=True
    )
    return list(zip(keys, values, strict=True))


@given(st.lists(rows, max_size=40))
def test_aggregates_equal_a_loop_over_the_events_and_keys_are_sorted(batch):
    columns = build_columns(batch)
    minutes, totals = defaultdict(list), defaultdict(list)
    for row in batch:
        minutes[row.video, row.type_id, row.minute * MINUTE_US].append(row.value)
        totals[row.video, row.type_id, None].append(row.value)
    result = aggregate(columns)
    for expected, actual in ((minutes, result.minutes), (totals, result.totals)):
        in_order = sorted(expected, key=lambda key: (key[0].encode(), *[k for k in key[1:] if k is not None]))
        assert to_dict(actual, columns.videos) == [
            (key, (len(v), sum(v), min(v), max(v))) for key in in_order for v in [expected[key]]
        ]


@given(st.lists(rows, min_size=1, max_size=40))
def test_ledger_lines_account_for_every_event_of_their_hour(batch):
    columns = build_columns(batch)
    verdict = deduplicate(columns, MemoryIds())
    lines = {line.hour_us // (60 * MINUTE_US): line for line in build_ledger(columns, verdict)}
    hours = [row.minute // 60 for row in batch]
    assert {hour: line.received for hour, line in lines.items()} == {h: hours.count(h) for h in set(hours)}
    assert sum(line.counted for line in lines.values()) == int(verdict.new.sum())
    digests = [int(d) for d in columns.id_digests()]
    for hour, line in lines.items():
        counted = [d for d, h, new in zip(digests, hours, verdict.new, strict=True) if h == hour and new]
        assert line.digest == sum(counted) % 2**64


def test_id_digests_are_pinned_because_ledgers_keep_their_sums():
    assert build_columns([Row(1), Row(2)]).id_digests().astype(np.uint64).tolist() == [PINNED_1, PINNED_2]


PINNED_1 = 48476142541674104
PINNED_2 = 14524377968388909511
