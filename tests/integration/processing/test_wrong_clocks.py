"""What a clock that is wrong must not do: delete, stop a partition, or promise what is not so."""

import io
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from tests.contracts.log_server import LogServer
from tests.integration.processing.draining import make_drainer
from tests.integration.processing.pulling import advance_idle
from tests.integration.processing.rolling import PARTITION
from tests.unit.processing.builders import uuid4_of
from viewcounter.config import get_config
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.events.partition import get_partition
from viewcounter.maintenance.retention import drop_old_raw_days, retain_partition
from viewcounter.storage.deletion_clock import (
    Uptime,
    accept_deletion_clock,
    advance_deletion_clock,
    read_deletion_clock,
)
from viewcounter.storage.raw_days import ensure_raw_days, list_raw_days

VIDEO = "XpVt6Z1Gjjo"
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
A_MOMENT = timedelta(seconds=5)
BEGAN_US = int(datetime.now(UTC).timestamp() * 1_000_000)


@pytest.fixture
def server(tmp_path):
    server = LogServer(tmp_path / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def log(server):
    log = RedisEventLog(server.url, timeout_seconds=2.0)
    yield log
    log.close()


def make_entry(*numbers):
    events = [AcceptedEvent(uuid4_of(number).bytes, VIDEO, 1, BEGAN_US, 1000) for number in numbers]
    return pack_entry(events, received_us=BEGAN_US)


def partition_of(cluster):
    return get_partition(VIDEO, partition_count=cluster.topology.partition_count)


def read_row(cluster, partition, statement="SELECT * FROM partition_state WHERE partition = %s"):
    with cluster.transaction(partition) as connection:
        return connection.execute(statement, [partition]).fetchone()


def test_one_position_ten_days_ahead_deletes_nothing_and_stops_nothing(clean_cluster, server, log):
    partition = partition_of(clean_cluster)
    drainer = make_drainer(clean_cluster, log)
    log.append({partition: make_entry(1, 2, 3)})
    assert drainer.drain([partition]).counted == 3
    ahead_ms = int((datetime.now(UTC) + 10 * DAY).timestamp() * 1000)
    with server.connect() as client:
        client.xadd(f"log:{{{partition}}}", {"e": make_entry(4), "b": 3}, id=f"{ahead_ms}-0")
        client.incrby(f"log-count:{{{partition}}}", 1)
    assert drainer.drain([partition]).counted == 1
    advance_idle(clean_cluster, log)
    retain_partition(clean_cluster, partition, policy=get_config().retention)
    row = read_row(clean_cluster, partition)
    now = datetime.now(UTC)
    assert now - MINUTE < row["watermark"] <= now + A_MOMENT
    assert row["admits_since"] < now - 7 * DAY
    ids = read_row(
        clean_cluster, partition, "SELECT sum(octet_length(ids)) / 16 AS n FROM event_ids WHERE partition = %s"
    )
    assert ids["n"] == 4
    for number in range(100, 160):
        log.append({partition: make_entry(number)})
    log.append({partition: make_entry(1, 2, 3)})  # sent again
    report = drainer.drain([partition])
    assert (report.counted, report.duplicate, report.dead_letter_count) == (60, 3, 0)
    assert read_row(clean_cluster, partition)["state"] == "owned"


def test_a_watermark_of_the_future_is_put_right_by_the_next_flush(clean_cluster, log):
    partition = partition_of(clean_cluster)
    with clean_cluster.transaction(partition) as connection:
        connection.execute("UPDATE partition_state SET watermark = now() + interval '10 days'")
    log.append({partition: make_entry(1)})
    make_drainer(clean_cluster, log).drain([partition])
    assert read_row(clean_cluster, partition)["watermark"] <= datetime.now(UTC) + A_MOMENT


def set_clock_ahead(connection, by):
    """As if the shard's clock had just been set ahead."""
    accept_deletion_clock(connection)
    connection.execute("UPDATE deletion_clock SET trusted_at = trusted_at - %s::interval", [by])


def read_behind(clock):
    """Rounded to a minute: a test takes a moment."""
    return timedelta(minutes=round(clock.behind_seconds / 60))


def test_deletion_follows_a_clock_no_faster_than_twice_what_a_machine_vouches_for(clean_cluster, shard_connection):
    advance_deletion_clock(shard_connection, Uptime("a", 1000.0))
    shard_connection.execute("UPDATE deletion_clock SET trusted_at = trusted_at - %s::interval", [20 * DAY])

    def advance(machine, seconds):
        return read_behind(advance_deletion_clock(shard_connection, Uptime(machine, seconds)))

    assert advance("a", 1000.0) == 20 * DAY
    assert advance("a", 1600.0) == 20 * DAY - 20 * MINUTE
    assert advance("new", 9e9) == 20 * DAY - 20 * MINUTE  # it vouches for nothing yet
    assert advance("new", 9e9 + 60) == 20 * DAY - 22 * MINUTE
    assert advance("a", 1600.0 + 5 * 86400) == 15 * DAY - HOUR - 20 * MINUTE  # an hour is what one call may gain
    assert advance("new", 9e9 + 30) == 15 * DAY - HOUR - 20 * MINUTE  # time never runs back
    assert read_behind(read_deletion_clock(shard_connection)) == 15 * DAY - HOUR - 20 * MINUTE
    assert read_behind(accept_deletion_clock(shard_connection)) == timedelta(0)
    assert advance("a", 1600.0 + 5 * 86400) == timedelta(0)


def test_deletion_counts_from_no_later_than_a_clock_that_was_set_back(clean_cluster, shard_connection):
    set_clock_ahead(shard_connection, -10 * DAY)
    clock = advance_deletion_clock(shard_connection, Uptime("a", 1.0))
    assert abs(clock.horizon - datetime.now(UTC)) < A_MOMENT
    assert read_behind(clock) == -10 * DAY


def test_a_shards_clock_that_jumps_deletes_nothing_by_age_until_it_is_accepted(clean_cluster, shard_connection):
    now = datetime.now(UTC)
    nine_days_ago = now - 9 * DAY
    shard_connection.execute(
        "INSERT INTO event_ids (partition, minute, position, ids, contents, stored_at)"
        " VALUES (%s, %s, '1-0', '', '', %s)",
        [PARTITION, nine_days_ago, nine_days_ago],
    )
    shard_connection.execute(
        "INSERT INTO dead_letter (partition, position, reason, detail, payload, state, created_at, resolved_at)"
        " VALUES (%s, '1-0', 'r', '', '', 'replayed', now() - interval '31 days', now() - interval '31 days')",
        [PARTITION],
    )
    with shard_connection.transaction():
        ensure_raw_days(shard_connection, today=date.today() - 12 * DAY)
    shard_connection.execute("UPDATE partition_state SET watermark = %s, rolled_through = %s", [now, now])
    days_before = list_raw_days(shard_connection)
    set_clock_ahead(shard_connection, 10 * DAY)
    policy = get_config().retention

    def retain():
        report = retain_partition(clean_cluster, PARTITION, policy=policy)
        for partition in range(clean_cluster.topology.partition_count):
            retain_partition(clean_cluster, partition, policy=policy)
        drop_old_raw_days(clean_cluster, policy=policy)
        return report.id_row_count, report.dead_letter_count

    assert [retain(), retain()] == [(0, 0), (0, 0)]
    assert list_raw_days(shard_connection) == days_before
    assert "ages count 240.0 hours behind its clock" in run("retention", "--partition", "3", "--accept-clock", "--yes")
    retain()
    assert shard_connection.execute("SELECT count(*) AS n FROM event_ids").fetchone()["n"] == 0
    assert shard_connection.execute("SELECT count(*) AS n FROM dead_letter").fetchone()["n"] == 0
    assert list_raw_days(shard_connection)[0] > days_before[0]


def test_a_clock_is_accepted_only_by_somebody_who_says_so(clean_cluster, shard_connection, monkeypatch):
    set_clock_ahead(shard_connection, 10 * DAY)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(CommandError, match="nothing was changed"):
        run("retention", "--all", "--accept-clock")
    assert read_behind(read_deletion_clock(shard_connection)) == 10 * DAY


def run(*arguments):
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()
