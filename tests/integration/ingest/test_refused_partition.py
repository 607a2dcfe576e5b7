"""One partition that a real log server refuses: the others go on, with a spool on a real disk."""

import pytest

from tests.contracts.log_server import LogServer
from tests.waiting import wait_until
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.ingest.log_writer import GuardedLog
from viewcounter.ingest.spool import Spool


@pytest.fixture
def server(tmp_path):
    server = LogServer(tmp_path / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def log(server):
    log = RedisEventLog(server.url, timeout_seconds=1.0)
    yield log
    log.close()


@pytest.fixture
def guarded(log, tmp_path):
    guarded = GuardedLog(
        lambda: log,
        attempts=1,
        append_seconds=1.0,
        breaker_open_seconds=0.01,
        open_spool=lambda: Spool(tmp_path / "spool", max_bytes=10**6),
    )
    yield guarded
    guarded.close()


def make_entry(number):
    return pack_entry([AcceptedEvent(number.to_bytes(16, "big"), "v", 1, 2, 3)], received_us=1)


def count_entries(log, *partitions):
    return [len(log.read(partition, after=START, max_entries=1000)) for partition in partitions]


def test_a_damaged_stream_delays_its_own_events_and_nothing_is_appended_twice(server, log, guarded, tmp_path):
    server.kill()
    for number in range(10):
        assert guarded.append({p: make_entry(10 * number + p) for p in (0, 1, 2)}).failed == {}
    server.start()
    with server.connect() as client:
        client.set("log:{1}", "not a stream")

        def drain():
            guarded.drain()
            return count_entries(log, 0, 2) == [10, 10]

        wait_until(drain, what="the other partitions' events in the log")
        for _ in range(10):
            guarded.drain()
        assert count_entries(log, 0, 2) == [10, 10]
        result = guarded.append({0: make_entry(200), 1: make_entry(201), 2: make_entry(202)})
        assert (set(result.positions), result.failed) == ({0, 2}, {})
        client.delete("log:{1}")
    wait_until(lambda: guarded.drain() or count_entries(log, 1) == [11], what="the refused events in the log")
    assert count_entries(log, 0, 2) == [11, 11]
    assert [path.name for path in (tmp_path / "spool").rglob("*") if path.is_file()] == ["lock"]
