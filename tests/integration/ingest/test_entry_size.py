"""Entries of the event log stay within their bound, on a real log server."""

import pytest

from tests.contracts.log_server import LogServer
from viewcounter.config import get_config
from viewcounter.eventlog.codec import AcceptedEvent, unpack_entry
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.ingest.group_commit import append_group

EVENT_COUNT = 20_000


@pytest.fixture
def log(tmp_path):
    server = LogServer(tmp_path / "log")
    server.start()
    log = RedisEventLog(server.url, timeout_seconds=5.0)
    yield log
    log.close()
    server.kill()


def test_a_burst_for_one_video_becomes_entries_of_at_most_256_kib(log):
    events = [AcceptedEvent(number.to_bytes(16, "big"), "hot", 1, 2, 3) for number in range(EVENT_COUNT)]
    max_bytes = get_config().commit.entry_max_bytes
    result = append_group(log, [{0: events[:100], 1: events[:1]}, {0: events[100:]}], 1, max_bytes)
    entries = log.read(0, after=START, max_entries=1000)
    assert max_bytes == 256 * 1024
    assert len(entries) == 3
    assert max(len(entry.payload) for entry in entries) <= max_bytes
    assert result.failed == {}
    assert result.positions == {0: entries[-1].position, 1: log.barrier([1])[1]}
    ids = b"".join(unpack_entry(entry.payload).event_ids.tobytes() for entry in entries)
    assert ids == b"".join(event.event_id for event in events)
    assert log.read_unread({0: START, 1: START}).events == {0: EVENT_COUNT, 1: 1}
    assert log.read_unread({0: entries[0].position}).events == {0: EVENT_COUNT - len(unpack_entry(entries[0].payload))}
