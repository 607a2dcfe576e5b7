"""Records of kills wait for the control database in bounded number, and are stored once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, OperationalError

from runtime.metrics import REGISTRY
from tests.integration.shardwatch.terminated_session import NOW, TERMINATED
from tests.waiting import wait_until
from viewcounter.shardwatch.kills import KillFilter, KillStore, build_row, list_kills, remove_old_kills, write_kills
from viewcounter.shardwatch.settings import KillRecordSettings


def number(n):
    return replace(TERMINATED, pid=n, at=NOW + timedelta(seconds=n))


def count_dropped():
    return REGISTRY.get_sample_value("viewcounter_kills_dropped_total")


class Database:
    """Down until it is started; `refuses`: pids of rows that it always refuses."""

    def __init__(self, *, refuses=()):
        self.is_up = False
        self.refuses = set(refuses)

    def write(self, rows):
        if not self.is_up:
            raise OperationalError("down")
        if self.refuses & {row.pid for row in rows}:
            raise DataError("no")
        write_kills(rows)


@pytest.fixture
def open_store(kills):
    stores = []

    def open_one(database, *, max_waiting=100):
        stores.append(KillStore(KillRecordSettings(max_waiting, 1e9), write=database.write))
        stores[-1].start()
        return stores[-1]

    yield open_one
    for store in stores:
        store.stop(timeout_seconds=10)


def list_pids(kills):
    return list(kills.order_by("pid").values_list("pid", flat=True))


def test_the_newest_kills_wait_while_the_database_is_down(open_store, kills):
    database = Database()
    store, before = open_store(database, max_waiting=3), count_dropped()
    for n in range(1, 6):
        store.put(number(n), shard="shard1")
    assert (store.waiting_count, count_dropped() - before) == (3, 2)
    database.is_up = True
    wait_until(lambda: store.waiting_count == 0)
    assert list_pids(kills) == [3, 4, 5]


def test_rows_that_no_database_takes_do_not_hold_up_those_behind_them(open_store, kills):
    database = Database(refuses=[1])
    store = open_store(database)
    store.put(number(1), shard="shard1")
    database.is_up = True
    wait_until(lambda: store.waiting_count == 0)
    store.put(number(2), shard="shard1")
    wait_until(lambda: store.waiting_count == 0)
    assert list_pids(kills) == [2]


def test_what_waits_at_the_end_is_written_if_the_database_answers(kills):
    database = Database()
    database.is_up = True
    store = KillStore(KillRecordSettings(10, 1e9), write=database.write)
    for n in range(3):
        store.put(number(n), shard="shard1")
    store.start()
    store.stop(timeout_seconds=20)
    assert list_pids(kills) == [0, 1, 2]


def test_a_kill_that_two_shard_proxies_saw_is_one_row(open_store, kills):
    database = Database()
    database.is_up = True
    for _ in range(2):
        store = open_store(database)
        store.put(TERMINATED, shard="shard1")
        store.put(replace(TERMINATED, action="terminate"), shard="shard1")
        wait_until(lambda store=store: store.waiting_count == 0)
    assert sorted(kills.values_list("action", flat=True)) == ["cancel", "terminate"]


def test_pages_hold_every_kill_once_newest_first(open_store, kills):
    database = Database()
    database.is_up = True
    store = open_store(database)
    for n in range(7):
        store.put(replace(number(n), at=NOW + timedelta(seconds=n // 2)), shard="shard1")
    wait_until(lambda: store.waiting_count == 0)
    seen, place = [], None
    while True:
        page = list_kills(KillFilter(), before=place, limit=2)
        seen += [(kill.at, kill.pk) for kill in page.kills]
        place = page.next_key
        if place is None:
            break
    assert len(set(seen)) == 7 and seen == sorted(seen, reverse=True)


def test_old_kills_are_removed(kills):
    now = datetime.now(UTC)
    write_kills(
        [build_row(replace(TERMINATED, pid=n, at=now - timedelta(days=n)), shard="shard1") for n in (1, 29, 31, 40)]
    )
    assert remove_old_kills(30 * 86400) == 2
    assert list_pids(kills) == [1, 29]
