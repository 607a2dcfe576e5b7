"""Marks of drains on a real server: at most one drain a partition, few of a sick shard; without marks all drain."""

import pytest
import redis

from configservice.topology.cache_keys import format_cache_key
from tests.waiting import wait_until
from viewcounter.config import get_config
from viewcounter.processing.drain_queue import DrainQueue
from viewcounter.processing.settings import ThrottlePolicy
from viewcounter.processing.shard_throttle import Health

CLUSTER_ID = "a-cluster"
ONE, TWO = 1, 2
PARTITIONS = {ONE: [1, 3, 5, 7], TWO: [0, 2, 4, 6]}
PAUSE = 1.5


def make_queue(url=None, *, process=1, lease_seconds=30, queued_seconds=30):
    return DrainQueue(
        url or get_config().cache.url.get_secret_value(),
        get_cluster_id=lambda: CLUSTER_ID,
        queued_seconds=queued_seconds,
        lease_seconds=lease_seconds,
        timeout_seconds=2.0,
        strain=ThrottlePolicy(
            pause_first_seconds=PAUSE,
            pause_max_seconds=PAUSE,
            pause_jitter=0.0,
            slow_flush_seconds=3.0,
            forget_seconds=60,
        ),
        slot=f"host:{process}",
    )


@pytest.fixture
def queue(servers):
    with redis.Redis.from_url(get_config().cache.url.get_secret_value()) as client:
        for key in client.scan_iter(format_cache_key(CLUSTER_ID, "drain:*")):
            client.delete(key)
    return make_queue()


def start(queue, partition, shard_id=ONE):
    return queue.start(partition, shard_id=shard_id, siblings=PARTITIONS[shard_id])


def test_a_partition_is_queued_once_until_its_drain_begins(queue):
    assert queue.claim({ONE: [1, 3], TWO: [2]}) == [1, 3, 2]
    assert queue.claim({ONE: [1, 3, 5]}) == [5]
    assert start(queue, 1)
    assert queue.claim({ONE: [1]}) == []
    queue.finish(1, shard_id=ONE, health=Health.WELL)
    assert queue.claim({ONE: [1]}) == [1]


def test_a_second_drain_of_a_partition_does_not_begin_while_the_first_lives(queue):
    assert start(queue, 1)
    assert not start(make_queue(process=2), 1)


def test_a_drain_that_died_is_replaced_when_its_lease_ends(queue):
    dying = make_queue(lease_seconds=1)
    assert start(dying, 1)
    assert not start(queue, 1)
    wait_until(lambda: start(queue, 1))


def test_a_queued_drain_that_got_lost_is_queued_again(queue):
    losing = make_queue(queued_seconds=1)
    assert losing.claim({ONE: [1]}) == [1]
    wait_until(lambda: losing.claim({ONE: [1]}) == [1])


def test_drains_of_a_shard_that_failed_pause_and_others_go_on(queue):
    assert start(queue, 1)
    queue.finish(1, shard_id=ONE, health=Health.FAILING)
    assert queue.claim({ONE: [1, 3], TWO: [2]}) == [2]
    assert not start(queue, 3)
    assert start(queue, 2, TWO)
    wait_until(lambda: queue.claim({ONE: [1, 3]}) == [1, 3])


def test_after_the_pause_one_drain_asks_the_shard_and_its_success_lets_all_begin(queue):
    queue.finish(1, shard_id=ONE, health=Health.FAILING)
    wait_until(lambda: start(queue, 1))
    assert not start(make_queue(process=2), 3)
    queue.finish(1, shard_id=ONE, health=Health.WELL)
    assert [start(queue, p) for p in (1, 3, 5)] == [True, True, True]


def test_a_drain_that_cannot_say_how_the_shard_is_changes_nothing(queue):
    queue.finish(1, shard_id=ONE, health=Health.FAILING)
    wait_until(lambda: start(queue, 1))
    queue.finish(1, shard_id=ONE, health=None)
    assert start(queue, 1)
    assert not start(queue, 3)


def test_a_slow_shard_leaves_one_process_of_the_fleet_to_the_others(queue):
    second, third = make_queue(process=2), make_queue(process=3)
    for one, partition in ((queue, 0), (second, 2), (third, 4)):
        assert start(one, partition, TWO)
        one.finish(partition, shard_id=TWO, health=Health.WELL)
    assert start(queue, 1)
    queue.finish(1, shard_id=ONE, health=Health.SLOW)
    assert start(queue, 1)
    assert start(second, 3)
    assert not start(third, 5)
    assert start(third, 0, TWO)
    second.finish(3, shard_id=ONE, health=Health.WELL)
    assert start(second, 5)


def test_without_the_server_everything_is_drained():
    queue = make_queue("redis://127.0.0.1:1/0")
    assert queue.claim({ONE: [1], TWO: [2]}) == [1, 2]
    assert start(queue, 1)
    queue.renew(1)
    queue.finish(1, shard_id=ONE, health=Health.FAILING)
