"""Since when raw events are complete."""

from datetime import UTC, datetime

import pytest

from viewcounter.storage.raw import get_complete_from, get_raw_start

DAY = datetime(2026, 1, 31, tzinfo=UTC)
LATER = datetime(2026, 2, 2, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_the_oldest_day_says_from_when_on_events_are_kept():
    assert get_raw_start("raw_event_20260131", raw_since=EPOCH) == DAY
    assert get_raw_start(None, raw_since=LATER) is None


def test_a_partition_that_came_later_does_not_claim_the_shards_older_days():
    assert get_raw_start("raw_event_20260131", raw_since=LATER) == LATER


@pytest.mark.parametrize(("future_seconds", "hour"), [(0, 0), (1, 1), (300, 1), (3600, 1), (3601, 2)])
def test_an_hour_is_complete_if_all_days_of_its_events_are_there(future_seconds, hour):
    assert get_complete_from(DAY, future_seconds=future_seconds) == DAY.replace(hour=hour)
