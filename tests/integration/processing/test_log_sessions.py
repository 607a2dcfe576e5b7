"""A log server that comes back with older data, on a real server and a real shard: nothing is skipped in silence."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from clusterproxy.errors import NoTopology
from tests.contracts.log_server import LogServer
from tests.integration.processing.draining import make_drainer
from tests.unit.processing.builders import uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.confirmation import LogConfirmation
from viewcounter.eventlog.errors import EventLogUnavailable, LogClockSkewed, LogRestarted
from viewcounter.eventlog.interface import START, LogIdentity, Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.events.partition import get_partition
from viewcounter.ingest.log_writer import GuardedLog
from viewcounter.processing.errors import LogEndLost
from viewcounter.storage.log_sessions import READ_LOG_LOSSES, raise_log_term

VIDEO = "XpVt6Z1Gjjo"
NOW_US = time.time_ns() // 1000
LOG_ID = "cluster:1"


@pytest.fixture
def server(tmp_path):
    server = LogServer(tmp_path / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def connect(clean_cluster, server):
    """Makes gateways and workers: clients of the log that compare it with the shards before they append."""
    clients = []

    def build():
        confirm = LogConfirmation(lambda: clean_cluster, seconds=5.0, clock_skew_seconds=60.0)
        clients.append(RedisEventLog(server.url, timeout_seconds=2.0, get_log_id=lambda: LOG_ID, confirm=confirm))
        return clients[-1]

    build().open(LogIdentity(LOG_ID, 1))
    yield build
    for client in clients:
        client.close()


@pytest.fixture
def partition(clean_cluster):
    return get_partition(VIDEO, partition_count=clean_cluster.topology.partition_count)


def append(log, partition, *numbers):
    events = [AcceptedEvent(uuid4_of(number).bytes, VIDEO, 1, NOW_US, 1000) for number in numbers]
    result = log.append({partition: pack_entry(events, received_us=NOW_US)})
    assert not result.failed, result.failed
    return result.positions[partition]


def restart(server, *, with_copy=None):
    server.kill()
    if with_copy is not None:
        server.restore(with_copy)
    server.start()


def read_losses(cluster, partition):
    with cluster.transaction(partition) as connection:
        rows = connection.execute(READ_LOG_LOSSES.text, {"partitions": [partition]}).fetchall()
    return [(row["after_position"], row["through_position"], row["reason"]) for row in rows]


def test_a_restart_without_a_loss_is_no_loss(clean_cluster, server, connect, partition):
    gateway, worker = connect(), connect()
    append(gateway, partition, 1)
    drainer = make_drainer(clean_cluster, worker)
    assert drainer.drain([partition]).counted == 1
    append(gateway, partition, 2)
    restart(server)
    assert append(gateway, partition, 3) == Position(1, 2)
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 2
    assert read_losses(clean_cluster, partition) == []


def test_entries_that_an_older_copy_lacks_are_reported_by_a_gateway_that_knows_them(
    clean_cluster, server, connect, partition
):
    gateway = connect()
    applied = append(gateway, partition, 1)
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 1
    copy = server.copy()
    lost = append(gateway, partition, 2)
    restart(server, with_copy=copy)
    assert append(gateway, partition, 3) == Position(2, 1)
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 1
    assert read_losses(clean_cluster, partition) == [(str(applied), "2-0", "replaced")]
    assert applied < lost < Position(2, 0)


def test_an_older_copy_that_ends_before_what_was_applied_gets_another_term(clean_cluster, server, connect, partition):
    append(connect(), partition, 1)
    copy = server.copy()
    applied = append(connect(), partition, 2)
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 2
    restart(server, with_copy=copy)
    with pytest.raises(LogEndLost):
        make_drainer(clean_cluster, connect()).drain([partition])
    assert append(connect(), partition, 3) == Position(2, 2)  # behind what the copy held, which is appended again
    report = make_drainer(clean_cluster, connect()).drain([partition])
    assert (report.counted, report.duplicate) == (1, 1)
    assert read_losses(clean_cluster, partition) == [(str(applied), "2-0", "replaced")]


def test_a_batch_of_before_the_restart_moves_no_position_past_entries_of_after_it(
    clean_cluster, server, connect, partition
):
    """The same positions are given twice: to an entry that the copy lacks, and to one that came after the restart."""
    gateway, worker = connect(), connect()
    append(gateway, partition, 1)
    assert make_drainer(clean_cluster, worker).drain([partition]).counted == 1
    copy = server.copy()
    other = RedisEventLog(server.url, timeout_seconds=2.0)  # of a gateway that is gone when the copy comes back
    append(other, partition, 2)
    other.close()

    class RestoredWhileReading:
        """The worker has read, and flushes after the server was restored and entry 3 was appended."""

        def __init__(self):
            self.is_done = False

        def __getattr__(self, name):
            return getattr(worker, name)

        def read_many(self, after, *, max_entries):
            found = worker.read_many(after, max_entries=max_entries)
            if not self.is_done:
                self.is_done = True
                restart(server, with_copy=copy)
                assert append(gateway, partition, 3) == Position(1, 1)
            return found

    with suppress(LogRestarted):
        make_drainer(clean_cluster, RestoredWhileReading(), read_entries=100).drain([partition])
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 1  # entry 3


def test_an_entry_overtaken_on_a_restored_server_is_reported_by_its_gateway(clean_cluster, server, connect, partition):
    """The server holds as many events as the gateway knows, but one of them is another's."""
    client = connect()
    gateway = GuardedLog(lambda: client, attempts=1, append_seconds=5.0, breaker_open_seconds=1.0)
    first = append(gateway, partition, 1)
    copy = server.copy()
    lost = append(gateway, partition, 2)
    restart(server, with_copy=copy)
    assert append(connect(), partition, 3) == lost
    append(gateway, partition, 4)
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 3
    assert read_losses(clean_cluster, partition) == [(str(first), str(lost), "missing")]
    append(gateway, partition, 5)
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 1
    assert len(read_losses(clean_cluster, partition)) == 1


def test_an_entry_that_was_deleted_behind_our_back_is_reported(clean_cluster, server, connect, partition):
    client = connect()
    gateway = GuardedLog(lambda: client, attempts=1, append_seconds=5.0, breaker_open_seconds=1.0)
    first, lost = append(gateway, partition, 1), append(gateway, partition, 2)
    with Redis.from_url(server.url) as raw:
        assert raw.xdel(f"log:{{{partition}}}", str(lost)) == 1
    append(gateway, partition, 3)
    assert make_drainer(clean_cluster, connect(), read_entries=1).drain([partition]).counted == 2
    assert read_losses(clean_cluster, partition) == [(str(first), str(lost), "missing")]


def test_an_interrupted_beginning_of_a_term_is_gone_on_with(clean_cluster, server, connect, partition):
    append(connect(), partition, 1)
    with clean_cluster.transaction(partition) as connection:
        connection.execute("UPDATE partition_state SET log_term = 5, log_session = ''")
    assert append(connect(), partition, 2) == Position(6, 1)
    assert make_drainer(clean_cluster, connect()).drain([partition]).counted == 2
    assert read_losses(clean_cluster, partition) == [("1-0", "6-0", "replaced")]


@pytest.mark.parametrize("ahead", [-75, 75])
def test_a_process_whose_own_clock_is_wrong_appends_nothing(clean_cluster, ahead):
    log = MemoryEventLog()
    log.open(LogIdentity(LOG_ID, 1))

    def build(seconds):
        now = lambda: datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: E731
        return LogConfirmation(lambda: clean_cluster, seconds=5.0, clock_skew_seconds=60.0, now=now)

    where = "ahead of" if ahead > 0 else "behind"
    with pytest.raises(LogClockSkewed, match=f"7[45] s {where} those of the log server and the shards"):
        build(ahead)(log)
    build(ahead * 0.6)(log)


@pytest.mark.parametrize("ahead", [-864_000, 864_000])
def test_a_log_server_whose_clock_is_wrong_is_used(clean_cluster, ahead):
    log = MemoryEventLog(clock=lambda: time.time() + ahead)
    log.open(LogIdentity(LOG_ID, 1))
    confirm = LogConfirmation(lambda: clean_cluster, seconds=5.0, clock_skew_seconds=60.0)
    confirm(log)
    assert not confirm.is_due()
    assert log.read_floors([0]) == {0: START}


def test_a_clock_that_was_set_is_noticed_at_the_next_append(clean_cluster):
    offset = timedelta()
    log = MemoryEventLog()
    log.open(LogIdentity(LOG_ID, 1))
    confirm = LogConfirmation(
        lambda: clean_cluster, seconds=5.0, clock_skew_seconds=60.0, now=lambda: datetime.now(UTC) + offset
    )
    confirm(log)
    assert not confirm.is_due()
    offset = timedelta(minutes=5)
    assert confirm.is_due()
    with pytest.raises(LogClockSkewed):
        confirm(log)


class Unheard:
    """A cluster whose sources of the topology do not answer."""

    def __init__(self, cluster, seconds=60.0):
        self._cluster, self.unheard_seconds = cluster, seconds

    def __getattr__(self, name):
        return getattr(self._cluster, name)


def raise_terms(cluster, partition, term):
    with cluster.transaction(partition) as connection:
        raise_log_term(connection, range(cluster.topology.partition_count), term=term)


def read_log_term(cluster, partition):
    with cluster.transaction(partition) as connection:
        row = connection.execute("SELECT log_term FROM partition_state WHERE partition = %s", [partition]).fetchone()
    return row["log_term"]


def test_a_gateway_with_an_old_topology_does_not_append_to_a_replaced_log(clean_cluster, server, connect, partition):
    raise_terms(clean_cluster, partition, 2)
    events = [AcceptedEvent(uuid4_of(1).bytes, VIDEO, 1, NOW_US, 1000)]
    confirm = LogConfirmation(lambda: Unheard(clean_cluster), seconds=5.0, clock_skew_seconds=60.0)
    log = RedisEventLog(server.url, timeout_seconds=2.0, get_log_id=lambda: LOG_ID, confirm=confirm)
    error = log.append({partition: pack_entry(events, received_us=NOW_US)}).failed[partition]
    log.close()
    assert "the shards know term 2 of the log, this server is at term 1" in str(error)
    assert log.read_identity() == LogIdentity(LOG_ID, 1)
    assert read_log_term(clean_cluster, partition) == 2
    assert append(connect(), partition, 2) == Position(3, 1)  # one that has heard of every publication goes on


def test_a_gateway_that_hears_nothing_asks_the_shards_for_the_term(clean_cluster, server, connect, partition):
    confirm = LogConfirmation(
        lambda: Unheard(clean_cluster, 0.2), seconds=5.0, clock_skew_seconds=60.0, unheard_seconds=0.1
    )
    log = RedisEventLog(server.url, timeout_seconds=2.0, get_log_id=lambda: LOG_ID, confirm=confirm)
    append(log, partition, 1)
    raise_terms(clean_cluster, partition, 2)
    time.sleep(0.15)
    events = [AcceptedEvent(uuid4_of(2).bytes, VIDEO, 1, NOW_US, 1000)]
    error = log.append({partition: pack_entry(events, received_us=NOW_US)}).failed[partition]
    log.close()
    assert isinstance(error, EventLogUnavailable)
    assert "may have been replaced" in str(error)


def test_a_log_that_cannot_be_compared_is_unavailable(clean_cluster):
    log = MemoryEventLog()
    log.open(LogIdentity(LOG_ID, 1))

    class WithoutTopology:
        @property
        def topology(self):
            raise NoTopology("none yet")

        def scatter(self, *_arguments, **_options):
            raise NoTopology("none yet")

    confirm = LogConfirmation(WithoutTopology, seconds=1.0, clock_skew_seconds=60.0)
    with pytest.raises(EventLogUnavailable, match="cannot be compared with the shards: none yet"):
        confirm(log)


def test_of_two_processes_that_find_a_loss_together_one_begins_a_term(clean_cluster, partition):
    """The other one has begun it between this one's comparison and its own attempt."""

    class Overtaken(MemoryEventLog):
        is_overtaken = False

        def barrier(self, partitions):
            ends = super().barrier(partitions)
            if not self.is_overtaken:
                self.is_overtaken = True
                build()(self)
            return ends

    def build():
        return LogConfirmation(lambda: clean_cluster, seconds=5.0, clock_skew_seconds=60.0)

    log = Overtaken()
    log.open(LogIdentity(LOG_ID, 1))
    with clean_cluster.transaction(partition) as connection:
        connection.execute("UPDATE partition_state SET position = '1-60000' WHERE partition = %s", [partition])
    build()(log)
    assert log.read_identity() == LogIdentity(LOG_ID, 2)
    assert [entry.position for entry in log.read(partition, after=START, max_entries=9)] == [Position(2, 0)]
