"""A COMMIT that waits for a missing standby: the error of its caller, and whether it is committed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from shardproxy.errors import OutcomeUnknown
from shardproxy.instance import InstanceProxy
from shardproxy.query import QueryClass
from tests.integration.shardproxy.limits import SETTINGS, soon
from tests.pace import limit
from tests.waiting import wait_until


@pytest.fixture
def proxy(shard_servers):
    proxy = InstanceProxy(shard_servers.get_instance("shard1a"), SETTINGS)
    yield proxy
    proxy.close()


@pytest.fixture
def nobody_confirms(shard_servers):
    set_standbys(shard_servers, "SET synchronous_standby_names = 'nobody'", shown="nobody")
    yield
    set_standbys(shard_servers, "RESET synchronous_standby_names", shown="")


def set_standbys(shard_servers, change, *, shown):
    shard_servers.run_as_superuser("shard1a", f"ALTER SYSTEM {change}", "SELECT pg_reload_conf()")
    wait_until(lambda: query(shard_servers, "SHOW synchronous_standby_names") == shown)


def query(shard_servers, statement):
    with shard_servers.cluster.database("shard1a").connect(user="postgres") as connection:
        return connection.execute(statement).fetchone()[0]


def count_waiting(shard_servers):
    return query(shard_servers, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")


def insert(proxy, number, *, deadline_at=None, **options):
    deadline_at = soon() if deadline_at is None else deadline_at
    with proxy.transaction(QueryClass.FLUSH, deadline_at=deadline_at, **options) as connection:
        connection.execute("INSERT INTO probe VALUES (%s)", [number])


def test_one_that_need_not_wait_does_not(proxy, nobody_confirms, shard_servers):
    insert(proxy, 1, waits_for_standbys=False)
    assert shard_servers.list_rows("shard1a") == [1]


def test_a_commit_that_outlives_our_deadline_appears_when_the_server_gives_up(proxy, nobody_confirms, shard_servers):
    with pytest.raises(OutcomeUnknown, match="no answer before the deadline"):
        insert(proxy, 1, deadline_at=soon(1.5))
    assert count_waiting(shard_servers) == 1
    assert shard_servers.list_rows("shard1a") == []
    set_standbys(shard_servers, "RESET synchronous_standby_names", shown="")
    wait_until(lambda: shard_servers.list_rows("shard1a") == [1])


def test_a_cancelled_wait_is_no_success_though_the_server_says_commit(proxy, nobody_confirms, shard_servers):
    with ThreadPoolExecutor(1) as executor:
        inserting = executor.submit(insert, proxy, 1)
        wait_until(lambda: count_waiting(shard_servers) == 1)
        query(shard_servers, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        with pytest.raises(OutcomeUnknown, match="committed here, perhaps on no standby"):
            inserting.result(timeout=limit(20))
    assert shard_servers.list_rows("shard1a") == [1]
