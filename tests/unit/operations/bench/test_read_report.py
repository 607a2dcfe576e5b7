from dataclasses import replace

import pytest

from viewcounter.operations.bench.read_report import Place, Reading, ReadRun, Way, describe_reads
from viewcounter.operations.bench.report import Series

RUN = ReadRun(
    requests_per_second=500.0,
    p50_ms=2.0,
    p99_ms=9.0,
    answered_count=1000,
    gateway_us=800.0,
    shards_us=200.0,
    generator_share=0.1,
)
SMALL, LARGE, NARROW = Place(1000, 2), Place(10_000, 2), Place(10_000, 1)


def read(place, way, **changed):
    return Reading(place, "counts", "counts of a video", way, replace(RUN, **changed))


READINGS = [
    read(SMALL, Way.FRESH, p50_ms=1.0),
    read(LARGE, Way.FRESH),
    read(LARGE, Way.FRESH, p50_ms=3.0),
    read(LARGE, Way.FRESH, p50_ms=4.0),
    read(LARGE, Way.KEPT, requests_per_second=7000.0, gateway_us=130.0),
    read(NARROW, Way.FRESH, p50_ms=5.0),
]


def describe(readings):
    return describe_reads(readings, name="read", title="all of them")


def test_what_is_kept_and_what_is_fresh_stand_beside_each_other():
    table = describe(READINGS).tables[0]
    assert table.title == "Reads from 10,000 events on 2 shards"
    assert table.rows == (("counts of a video", "7,000", "9.0", "130", "500", "3.0 (2.0..4.0)", "9.0", "800 + 200"),)


def test_fresh_ones_in_closed_loops_have_a_column_where_they_were_measured():
    table = describe([*READINGS, read(LARGE, Way.FRESH_CLOSED, requests_per_second=900.0)]).tables[0]
    assert table.columns[-1] == "fresh, most a second"
    assert table.rows[0][-1] == "900"


def test_growth_is_told_by_events_and_by_shards_and_drawn():
    report = describe(READINGS)
    by_events, by_shards = report.tables[1:]
    assert by_events.columns == ("", "1,000 events", "10,000 events")
    assert by_events.rows == (("counts of a video", "1.0 / 9.0", "3.0 (2.0..4.0) / 9.0"),)
    assert by_shards.columns == ("", "1 shard", "2 shards")
    assert by_shards.rows == (("counts of a video", "5.0 / 9.0", "3.0 (2.0..4.0) / 9.0"),)
    assert [plot.series for plot in report.plots] == [
        (Series("counts of a video", ((1000.0, 1.0), (10_000.0, 3.0))),),
        (Series("counts of a video", ((1.0, 5.0), (2.0, 3.0))),),
    ]


def test_without_other_places_there_is_no_growth_to_tell():
    report = describe([each for each in READINGS if each.place == LARGE])
    assert len(report.tables) == 1
    assert report.plots == ()


def test_nothing_kept_is_no_report():
    with pytest.raises(ValueError, match="no reading of a kept answer"):
        describe(READINGS[:3])
