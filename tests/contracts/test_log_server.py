"""What only the server of an event log can break: deaths, freezes, lost data, memory, clocks."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contracts.log_entries import append_all, pack, read_payloads
from tests.contracts.log_server import LogServer
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.eventlog.errors import (
    EventLogError,
    EventLogFull,
    EventLogUnavailable,
    LogBehind,
    LogLost,
    LogRestarted,
    LogUnsafe,
    PositionTrimmed,
)
from viewcounter.eventlog.interface import START, TERM_AFTER_CLOCK, EventLog, LogIdentity, LogSession, Position
from viewcounter.eventlog.redis_streams import RedisEventLog

TIMEOUT_SECONDS = 0.5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LogServer]:
    server = LogServer(tmp_path / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server_log(server: LogServer) -> Iterator[RedisEventLog]:
    streams = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS)
    streams.open(LogIdentity("cluster:1", 1))
    yield streams
    streams.close()


def test_killed_log_server_keeps_every_acknowledged_entry(server: LogServer, server_log: RedisEventLog) -> None:
    acknowledged: list[bytes] = []
    killed = threading.Event()

    def append_until_killed() -> None:
        number = 0
        while not killed.is_set():
            payload = b"%d" % number
            if server_log.append({0: payload}).positions:
                acknowledged.append(payload)
            number += 1

    writer = threading.Thread(target=append_until_killed)
    writer.start()
    wait_until(lambda: len(acknowledged) >= 200, what="200 entries to be acknowledged")
    server.kill()
    killed.set()
    writer.join()
    server.start()
    with pytest.raises(LogRestarted):
        read_payloads_of_all(server_log)
    kept = read_payloads_of_all(server_log)
    assert kept[: len(acknowledged)] == acknowledged
    assert server_log.append({0: b"after"}).positions[0] > START


def read_payloads_of_all(log: EventLog) -> list[bytes]:
    return [entry.payload for entry in log.read(0, after=START, max_entries=1_000_000)]


def test_trim_floor_survives_the_death_of_the_log_server(server: LogServer, server_log: RedisEventLog) -> None:
    positions = append_all(server_log, 0, [b"a", b"b", b"c"])
    server_log.trim(0, through=positions[1])
    server.kill()
    server.start()
    with pytest.raises(LogRestarted):
        server_log.read_tails([0])
    with pytest.raises(PositionTrimmed):
        server_log.read(0, after=positions[0], max_entries=10)
    assert read_payloads(server_log, 0, after=positions[1]) == [b"c"]


def test_frozen_log_server_is_an_error_for_append_and_read(server: LogServer, server_log: RedisEventLog) -> None:
    server_log.append({0: b"before"})
    server.pause()
    try:
        result = server_log.append({0: b"a", 1: b"b"})
        with pytest.raises(EventLogError):
            server_log.read(0, after=START, max_entries=1)
    finally:
        server.resume()
    assert result.positions == {}
    assert set(result.failed) == {0, 1}
    assert server_log.append({0: b"after"}).failed == {}


def test_log_server_that_is_down_is_an_error_for_every_call(server: LogServer, server_log: RedisEventLog) -> None:
    server.kill()
    assert set(server_log.append({0: b"a"}).failed) == {0}
    for call in (
        lambda: server_log.read(0, after=START, max_entries=1),
        lambda: server_log.read_tails([0]),
        lambda: server_log.read_many({0: START, 1: START}, max_entries=1),
        lambda: server_log.wait({0: START}, timeout_seconds=limit(60)),
        lambda: server_log.barrier([0]),
        lambda: server_log.trim(0, through=Position(1, 1)),
        server_log.check,
    ):
        with pytest.raises(EventLogError):
            call()


@pytest.mark.parametrize("freezes_while_blocked", [True, False], ids=["blocked", "before"])
def test_wait_on_a_frozen_server_ends_as_an_error(
    server: LogServer, server_log: RedisEventLog, freezes_while_blocked: bool
) -> None:
    with ThreadPoolExecutor() as threads:
        if not freezes_while_blocked:
            server.pause()
        waiting = threads.submit(server_log.wait, {0: START}, timeout_seconds=limit(60))
        if freezes_while_blocked:
            wait_until(lambda: count_blocked(server) == 1, what="the wait to block")
            server.pause()
        try:
            error = waiting.exception(timeout=limit(30))
        finally:
            server.resume()
    assert isinstance(error, EventLogUnavailable)
    last = append_all(server_log, 0, [b"after"])[-1]
    assert server_log.wait({0: START}, timeout_seconds=limit(60)) is True
    assert server_log.barrier([0]) == {0: last}


def test_wait_that_blocks_is_ended_by_an_append_and_holds_up_no_other_call(
    server: LogServer, server_log: RedisEventLog
) -> None:
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(server_log.wait, {p: START, 9: START}, timeout_seconds=limit(60)) for p in range(3)]
        wait_until(lambda: count_blocked(server) == 3, what="three waits to block")
        assert server_log.append({5: b"other"}).failed == {}
        assert read_payloads(server_log, 5) == [b"other"]
        assert count_blocked(server) == 3
        server_log.append({9: b"a"})
        assert [wait.result(timeout=limit(30)) for wait in waiting] == [True] * 3


def test_wait_whose_log_was_emptied_ends_and_the_barrier_says_that_it_is_lost(server: LogServer) -> None:
    streams = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS, get_log_id=lambda: "cluster:1")
    try:
        streams.open(LogIdentity("cluster:1", 1))
        position = append_all(streams, 0, [pack(1)])[0]
        with ThreadPoolExecutor() as threads, server.connect() as client:
            waiting = threads.submit(streams.wait, {0: position}, timeout_seconds=2 * TIMEOUT_SECONDS)
            wait_until(lambda: count_blocked(server) == 1, what="the wait to block")
            client.flushall()
            assert waiting.result(timeout=limit(30)) is False
        with pytest.raises(LogLost):
            streams.barrier([0])
    finally:
        streams.close()


def count_blocked(server: LogServer) -> int:
    with server.connect() as client:
        return int(client.info("clients")["blocked_clients"])


def test_full_log_server_refuses_appends_but_is_read_and_trimmed(server: LogServer, server_log: RedisEventLog) -> None:
    last = append_all(server_log, 0, [b"a" * 1000, b"b" * 1000])[-1]
    with server.connect() as client:
        client.config_set("maxmemory", "1mb")
    result = server_log.append({0: b"c", 1: b"d"})
    assert result.positions == {}
    assert {type(error) for error in result.failed.values()} == {EventLogFull}
    assert len(read_payloads(server_log, 0)) == 2
    assert server_log.read_tails([0, 1]).positions == {0: last, 1: START}
    assert server_log.trim(0, through=last) == 2
    assert server_log.open(LogIdentity("cluster:1", 2), lost={0: START}) is True
    with server.connect() as client:
        client.config_set("maxmemory", "0")
    assert server_log.append({0: b"c"}).failed == {}


def test_log_server_without_append_only_file_acknowledges_nothing(tmp_path: Path) -> None:
    server = LogServer(tmp_path / "log", options=("--appendonly", "no"))
    server.start()
    streams = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS)
    try:
        assert set(streams.append({0: b"a"}).failed) == {0}
        with pytest.raises(EventLogError):
            streams.check()
    finally:
        streams.close()
        server.kill()


def test_a_server_that_lost_its_data_takes_and_gives_nothing_until_it_is_named_again(server: LogServer) -> None:
    streams = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS, get_log_id=lambda: "cluster:1")
    try:
        assert streams.read_identity() is None
        assert {type(e) for e in streams.append({0: pack(1), 1: pack(1)}).failed.values()} == {LogLost}
        streams.open(LogIdentity("cluster:1", 1))
        streams.check()
        position = append_all(streams, 0, [pack(1)])[0]
        server.kill()
        server.start()
        assert append_all(streams, 0, [pack(1)])[0] > position
        server.kill()
        server.empty()
        server.start()
        assert {type(e) for e in streams.append({0: pack(1), 1: pack(1)}).failed.values()} == {LogLost}
        for call in (
            lambda: streams.read(0, after=START, max_entries=1),
            lambda: streams.read_many({0: START}, max_entries=1),
            lambda: streams.read_tails([0]),
            lambda: streams.barrier([0]),
            lambda: streams.read_unread({0: START}),
            lambda: streams.trim(0, through=position),
            streams.check,
        ):
            with pytest.raises(LogLost, match="holds no log"):
                call()
        with server.connect() as client:
            assert client.keys("*") == []
        streams.open(LogIdentity("cluster:2", 1))
        with pytest.raises(LogLost, match="holds another log, cluster:2"):
            streams.check()
        assert {type(e) for e in streams.append({0: pack(1)}).failed.values()} == {LogLost}
    finally:
        streams.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_may_evict_entries_takes_nothing(tmp_path: Path, policy: str) -> None:
    server = LogServer(tmp_path / "log", options=("--maxmemory-policy", policy))
    server.start()
    streams = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS)
    try:
        assert {type(error) for error in streams.append({0: pack(1)}).failed.values()} == {LogUnsafe}
        with pytest.raises(LogUnsafe, match=policy):
            streams.check()
        assert streams.read_tails([0]).positions == {0: START}
        with server.connect() as client:
            client.config_set("maxmemory-policy", "noeviction")
        assert streams.append({0: pack(1)}).failed == {}
        with server.connect() as client:
            client.config_set("maxmemory-policy", policy)
        with pytest.raises(LogUnsafe):
            streams.check()
        assert {type(error) for error in streams.append({0: pack(1)}).failed.values()} == {LogUnsafe}
    finally:
        streams.close()
        server.kill()


def test_a_log_of_the_release_before_gets_terms_while_its_gateways_go_on(server: LogServer) -> None:
    """Both releases append until the last gateway is upgraded: positions only grow."""
    streams = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS, get_log_id=lambda: "cluster:1")
    try:
        with server.connect() as client:
            client.set("log-id", "cluster:1")
            assert streams.read_identity() == LogIdentity("cluster:1", 0)
            by_clock = append_all(streams, 0, [pack(1)])[0]
            assert abs(by_clock.term / 1000 - time.time()) < 60
            streams.open(LogIdentity("cluster:1", TERM_AFTER_CLOCK))
            positions = append_all(streams, 0, [pack(1)])
            older = client.xadd("log:{0}", {"e": pack(1), "b": 2})  # as the release before does
            client.incrby("log-count:{0}", 1)
            positions += [Position.parse(older.decode()), *append_all(streams, 0, [pack(1)])]
            first_of_older = client.xadd("log:{1}", {"e": pack(1), "b": 0})
            client.incrby("log-count:{1}", 1)
        assert positions == [Position(TERM_AFTER_CLOCK, number) for number in range(3)]
        assert append_all(streams, 1, [pack(1)])[0] > Position.parse(first_of_older.decode())
    finally:
        streams.close()


def test_one_damaged_stream_fails_alone(server: LogServer, server_log: RedisEventLog) -> None:
    with server.connect() as client:
        client.set("log:{1}", "not a stream")
    result = server_log.append({0: b"a", 1: b"b", 2: b"c"})
    assert set(result.positions) == {0, 2}
    assert set(result.failed) == {1}
    assert read_payloads(server_log, 2) == [b"c"]
    with server.connect() as client:
        client.delete("log:{1}")
    position = append_all(server_log, 1, [pack(4)])[0]
    assert server_log.read_unread({1: Position(position.term - 1, 0)}).events == {1: 4}


class Confirm:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.sessions: list[LogSession] = []
        self.behind: list[bool] = []
        self.due = False

    def __call__(self, log: EventLog, *, is_behind: bool) -> None:
        self.sessions.append(log.session)
        self.behind.append(is_behind)

    def is_due(self) -> bool:
        return self.due


def test_a_session_ends_with_the_run_of_the_server(server: LogServer, server_log: RedisEventLog) -> None:
    confirm = Confirm()
    gateway = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS, confirm=confirm)
    try:
        server_log.open(LogIdentity("cluster:1", 1))
        append_all(gateway, 0, [pack(1), pack(1)])
        first = gateway.session
        server.kill()
        server.start()
        assert append_all(gateway, 0, [pack(1)]) == [Position(1, 2)]
        assert first.identity == gateway.session.identity
        assert confirm.sessions == [first, gateway.session]
        assert first.text != gateway.session.text
        with server.connect() as client:
            client.script_flush()
        assert gateway.append({0: pack(1)}).failed == {}
        assert len(confirm.sessions) == 2
        confirm.due = True
        gateway.append({0: pack(1)})
        assert len(confirm.sessions) == 3
    finally:
        gateway.close()


def test_an_older_copy_of_the_log_takes_nothing_from_a_gateway_that_knows_more(server: LogServer) -> None:
    confirm = Confirm()
    gateway = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS, confirm=confirm)
    other = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS)
    try:
        gateway.open(LogIdentity("cluster:1", 1))
        append_all(gateway, 0, [pack(3)])
        copy = server.copy()
        append_all(gateway, 0, [pack(2)])
        server.kill()
        server.restore(copy)
        server.start()
        append_all(other, 0, [pack(1)])
        result = gateway.append({0: pack(1), 1: pack(1)})
        assert {type(error) for error in result.failed.values()} == {LogBehind}
        assert confirm.behind == [False, False, True]
        other.open(LogIdentity("cluster:1", 2), lost={0: START})
        assert gateway.append({0: pack(1)}).positions == {0: Position(2, 1)}
    finally:
        gateway.close()
        other.close()


def test_a_reader_that_began_before_the_log_was_created_goes_on_in_its_term(server: LogServer) -> None:
    log_id = [""]
    reader = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS, get_log_id=lambda: log_id[0])
    creator = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS)
    try:
        assert reader.session.identity.term == 0
        creator.open(LogIdentity("cluster:1", 1))
        log_id[0] = "cluster:1"
        for term in (1, 2):
            with pytest.raises(LogRestarted):
                reader.read_many({0: START}, max_entries=1)
            assert reader.session.identity == LogIdentity("cluster:1", term)
            assert reader.barrier([0]) == {0: START}
            creator.open(LogIdentity("cluster:1", term + 1))
    finally:
        reader.close()
        creator.close()


def test_threads_that_share_a_log_confirm_a_session_once(server: LogServer) -> None:
    class SlowConfirm(Confirm):
        def __call__(self, log: EventLog, *, is_behind: bool) -> None:
            super().__call__(log, is_behind=is_behind)
            time.sleep(0.1)

    confirm = SlowConfirm()
    gateway = RedisEventLog(server.url, timeout_seconds=TIMEOUT_SECONDS, confirm=confirm)
    try:
        gateway.open(LogIdentity("cluster:1", 1))
        with ThreadPoolExecutor(4) as threads:
            checks = [threads.submit(gateway.check) for _ in range(3)]
            assert gateway.append({0: pack(1)}).failed == {}
            assert [check.result() for check in checks] == [None] * 3
        assert len(confirm.sessions) == 1
    finally:
        gateway.close()
