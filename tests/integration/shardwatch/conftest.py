"""A shard proxy process for the servers, with short budgets."""

import pytest

from devtools.localcluster.applications import ShardProxy
from devtools.localcluster.waiting import Waiter
from viewcounter.shardwatch.models import Kill

BUDGETS = {
    "VIEWCOUNTER_REAPER_FOREIGN_QUERY_SECONDS": "1",
    "VIEWCOUNTER_SHARDPROXY_METRICS_SECONDS": "0.5",
    "VIEWCOUNTER_SHARDPROXY_ANSWER_SECONDS": "2",
}


@pytest.fixture
def kills(servers, django_db_blocker):
    """The table, empty."""
    with django_db_blocker.unblock():
        Kill.objects.all().delete()
        yield Kill.objects
        Kill.objects.all().delete()


@pytest.fixture
def shard_proxy(servers, kills):
    process = ShardProxy(
        name="shardproxy",
        state=servers.state,
        waiter=Waiter(),
        ready_seconds=60.0,
        environment=servers.environment | BUDGETS,
    )
    process.start()
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()
