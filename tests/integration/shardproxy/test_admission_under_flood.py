"""A flood of reports on a real server: flushes and points go on while not one of the reports has ended."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shardproxy.errors import PoolExhausted, ShardProxyError
from shardproxy.instance import InstanceProxy
from shardproxy.query import Query, QueryClass
from shardproxy.settings import PoolSettings, QueryBudgets
from tests.integration.shardproxy.limits import ANY_FILE
from tests.pace import limit
from tests.waiting import wait_until

REPORT = Query("report", "SELECT pg_advisory_lock_shared(4711), pg_advisory_unlock_shared(4711)", QueryClass.REPORT)
POINT = Query("point", "SELECT 1 AS one", QueryClass.POINT)
HOLD = Query("hold", REPORT.text, QueryClass.POINT)
FLOOD = 40
SETTINGS = PoolSettings(
    password_refs=ANY_FILE,
    max_connections=4,
    flush_reserved=1,
    report_connections=2,
    query=QueryBudgets(report_seconds=60.0, point_seconds=60.0),
)


@pytest.fixture
def proxy(shard_servers):
    proxy = InstanceProxy(shard_servers.get_instance("shard1a"), SETTINGS)
    yield proxy
    proxy.close()
    proxy.close_probe()


@pytest.fixture
def gate(shard_servers):
    """What asks for REPORT or HOLD ends only when `open` is called."""
    with shard_servers.cluster.database("shard1a").connect() as connection:
        connection.autocommit = True
        connection.execute("SELECT pg_advisory_lock(4711)")

        class Gate:
            def open(self):
                connection.execute("SELECT pg_advisory_unlock_all()")

        yield Gate()


def soon():
    return time.monotonic() + 60


class Flood:
    """Threads that ask the same thing again and again until told to stop."""

    def __init__(self, proxy, query, threads):
        self.ended = 0
        self.shed = 0
        self._stop = threading.Event()
        self._executor = ThreadPoolExecutor(threads)
        self._futures = [self._executor.submit(self._run, proxy, query) for _ in range(threads)]

    def _run(self, proxy, query):
        while not self._stop.is_set():
            try:
                proxy.read(query, {}, deadline_at=soon())
                self.ended += 1
            except PoolExhausted:
                self.shed += 1
            except ShardProxyError:
                return

    def stop(self):
        self._stop.set()
        self._executor.shutdown()
        for future in self._futures:
            future.result()


def test_flushes_and_points_go_on_while_not_one_report_of_a_flood_has_ended(proxy, gate, shard_servers):
    flood = Flood(proxy, REPORT, FLOOD)
    try:
        wait_until(lambda: proxy.in_flight >= FLOOD // 2)
        for number in range(20):
            with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
                connection.execute("INSERT INTO probe VALUES (%s)", [number])
            assert proxy.read(POINT, {}, deadline_at=soon()) == [{"one": 1}]
        assert flood.ended == 0
    finally:
        gate.open()
        flood.stop()
    assert shard_servers.list_rows("shard1a") == list(range(20))


def test_a_point_that_finds_no_connection_is_told_so_and_a_flush_still_gets_its_own(proxy, gate, shard_servers):
    """All three connections for reads are held; the fourth is for flushes."""
    with ThreadPoolExecutor(3) as executor:
        held = [executor.submit(proxy.read, HOLD, {}, deadline_at=soon()) for _ in range(3)]
        try:
            wait_until(lambda: proxy.in_flight == 3)
            with pytest.raises(PoolExhausted, match="no connection became free in time"):
                proxy.read(POINT, {}, deadline_at=soon())
            with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
                connection.execute("INSERT INTO probe VALUES (1)")
            assert not any(future.done() for future in held)
        finally:
            gate.open()
        for future in held:
            future.result(timeout=limit(30))
    assert shard_servers.list_rows("shard1a") == [1]
    assert proxy.in_flight == 0
