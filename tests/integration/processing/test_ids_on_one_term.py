"""Ten days of events whose positions say nothing of time: ids are kept as long as a repeat may come, and no longer."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.integration.processing.lifetime import Lifetime
from tests.unit.processing.builders import uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent
from viewcounter.events.partition import get_partition
from viewcounter.storage.raw_days import ensure_raw_days

PARTITION = 3
DAY = timedelta(days=1)
KEEP = {"ids": 8 * DAY, "minutes": 9 * DAY, "hours": 9 * DAY}
ACCEPTED = 7 * DAY
BEGAN = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0) - 11 * DAY


@pytest.fixture
def lifetime(clean_cluster, shard_connection):
    days = [d for n in range(13) for d in ensure_raw_days(shard_connection, today=(BEGAN + n * DAY).date())]
    lifetime = Lifetime(clean_cluster, shard_connection)
    yield lifetime
    lifetime.close()
    for day in days:
        shard_connection.execute(f"DROP TABLE IF EXISTS raw_event_{day:%Y%m%d}")


def find_video(cluster):
    count = cluster.topology.partition_count
    return next(v for v in map(str, range(1000)) if get_partition(v, partition_count=count) == PARTITION)


def make_v7(number, at):
    """Of a clock that shows `at`."""
    return UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | number)


def make_events(video, number, at):
    """One with a right id, one with a random one, and two with ids of clocks that are years off."""
    ids = (
        make_v7(number, at),
        uuid4_of(number),
        make_v7(number, at - 3000 * DAY),
        make_v7(number, at + 3000 * DAY),
    )
    occurred_us = int(at.timestamp() * 1_000_000)
    return [AcceptedEvent(event_id.bytes, video, 1, occurred_us, 1000) for event_id in ids]


def test_ten_days_on_one_term_count_each_event_once_and_forget_the_ids_of_old_ones(lifetime, shard_connection):
    video = find_video(lifetime.cluster)
    lifetime.begin(BEGAN, videos_of_channel=[])
    sent = []
    for day in range(11):
        lifetime.now = BEGAN + day * DAY
        sent.append(make_events(video, day, lifetime.now))
        lifetime.append(sent[-1])
        for events in sent[-int(ACCEPTED / DAY) :]:
            lifetime.append([event._replace() for event in events])  # sent again, as late as it is accepted
        lifetime.drain(worker=day % 2, flush_max_events=5, read_entries=2)
        lifetime.roll(transactions=100)
        lifetime.retain(**KEEP, transactions=100)
        lifetime.check_tables()
    state = lifetime.get_state()
    assert state["position"].startswith("1-")
    assert state["admits_since"] > BEGAN + DAY
    [total] = shard_connection.execute("SELECT sum(count)::int AS n FROM event_total").fetchall()
    assert total["n"] == 11 * 4
    [ids] = shard_connection.execute("SELECT sum(octet_length(ids)) / 16 AS n FROM event_ids").fetchall()
    assert 8 * 4 <= ids["n"] <= 10 * 4
