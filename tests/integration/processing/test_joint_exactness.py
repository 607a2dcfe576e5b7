"""Flushes of several partitions: whatever happens between any two statements, and if others hold, move or stop some of
the partitions meanwhile, every event counts once.

`--long` tries twenty times the examples.
"""

import random
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import connect_to_shard
from tests.integration.processing.joint import FAULTS, POISON, JointHistory, list_videos
from tests.tiers import scale_examples
from tests.unit.processing.builders import uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent

PLACES = range(4)
NOON = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
UNKNOWN_TYPE = 99
LOCK_SECONDS = 60.0


class Meanwhile(NamedTuple):
    """What others do before the `number`-th transaction of a drain; locks last until the next one."""

    number: int
    act: str
    places: frozenset[int]


randoms = st.integers(0, 2**32).map(random.Random)
some_places = st.frozensets(st.sampled_from(PLACES), min_size=1)
all_places = st.just(frozenset(PLACES))
faults = st.tuples(st.integers(1, 60), st.sampled_from(FAULTS))
meanwhiles = st.builds(
    Meanwhile, st.sampled_from([1, 1, 2, 3]), st.sampled_from(["drain", "drain", "lock", "stop"]), some_places
)
drains = st.tuples(
    st.one_of(all_places, all_places, some_places),
    st.integers(0, 1),  # worker
    st.sampled_from([5, 20, 100]),  # events a flush
    st.one_of(faults, st.none()),
    st.one_of(meanwhiles, meanwhiles, st.none()),
)
rounds = st.tuples(randoms, st.integers(2, 5), drains)


@pytest.fixture
def history(clean_cluster, shard_connection):
    topology = clean_cluster.topology
    own = topology.get_partitions_of(topology.get_shard_of(3).id)
    return JointHistory(clean_cluster, shard_connection, own[: len(PLACES)])


@pytest.fixture
def videos(history):
    partition_count = history.cluster.topology.partition_count
    return {p: list_videos(p, partition_count=partition_count, count=6) for p in history.partitions}


@settings(
    max_examples=scale_examples(10),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(lived=[(random.Random(5), 4, (frozenset(PLACES), 0, 100, None, Meanwhile(1, "drain", frozenset({0, 2}))))])
@example(lived=[(random.Random(6), 4, (frozenset(PLACES), 0, 100, None, Meanwhile(1, "lock", frozenset({1, 3}))))])
@given(lived=st.lists(rounds, min_size=3, max_size=8))
def test_joint_flushes_count_every_event_once_whatever_fails_or_interferes(history, videos, *, lived):
    history.begin()
    fresh = count(1000)
    for rng, commit_count, (places, worker, flush_max_events, fault, meanwhile) in lived:
        for _ in range(commit_count):
            history.append(build_commit(rng, videos, fresh))
        drain(history, places, meanwhile, worker=worker, flush_max_events=flush_max_events, fault=fault)
    history.finish()
    history.check()


def build_commit(rng, videos, fresh):
    """Of some partitions. Few ids, so that some come again, with the same content or another."""
    some = rng.sample(sorted(videos), rng.randint(2, len(videos)))
    return {p: [build_event(rng, videos[p], fresh) for _ in range(rng.randint(1, 8))] for p in some}


def build_event(rng, videos, fresh):
    number, video = rng.randrange(60), None
    if rng.random() < 0.01:
        number, video = next(fresh), POISON  # under an id of its own: a duplicate would be no dead letter
    of_number = random.Random(number)
    occurred_us = int((NOON + timedelta(minutes=of_number.randrange(90))).timestamp()) * 1_000_000
    video = video or of_number.choice(videos)
    type_id = rng.choice([1] * 30 + [6] * 30 + [UNKNOWN_TYPE])
    return AcceptedEvent(uuid4_of(number).bytes, video, type_id, occurred_us, rng.choice([0, 0, 0, 1000]), number)


def drain(history, places, meanwhile, **how):
    partitions = [history.partitions[place] for place in places]
    with ExitStack() as stack:
        acts = {} if meanwhile is None else plan_acts(history, meanwhile, stack, worker=how["worker"])
        history.drain(partitions, meanwhile=acts, **how)


def plan_acts(history, meanwhile, stack, *, worker):
    """What is locked or stopped is free again at the latest when the stack is closed."""
    partitions = [history.partitions[place] for place in meanwhile.places]
    match meanwhile.act:
        case "drain":
            return {meanwhile.number: partial(history.drain_beside, partitions, worker=1 - worker)}
        case "stop":
            stack.callback(history.set_state, partitions[0], "owned")
            return {meanwhile.number: partial(history.set_state, partitions[0], "stopped")}
    other = stack.enter_context(connect_to_shard(history.cluster))
    other.autocommit = False
    return {
        meanwhile.number: partial(history.lock_rows, other, partitions),
        meanwhile.number + 1: other.rollback,
    }


def test_locks_in_the_opposite_order_make_joint_flushes_neither_deadlock_nor_err(history, videos):
    history.begin()
    rng = random.Random(7)
    is_over = threading.Event()
    sqlstates, failures = [], []

    def work(worker):
        own = random.Random(worker)
        for _ in range(12):
            chosen = own.sample(history.partitions, own.randint(2, len(PLACES)))
            sqlstates.append(history.drain_beside(chosen, worker=worker, flush_max_events=20))

    def lock():
        with connect_to_shard(history.cluster) as connection:
            connection.autocommit = False
            try:
                while not is_over.is_set():
                    history.lock_rows(connection, rng.sample(history.partitions, 2))
                    connection.rollback()
            except psycopg.errors.DeadlockDetected as error:
                failures.append(error)

    fresh = count(1000)
    for _ in range(30):
        history.append(build_commit(rng, videos, fresh))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    locker = threading.Thread(target=lock)
    for thread in (*threads, locker):
        thread.start()
    for thread in threads:
        thread.join(LOCK_SECONDS)
    is_over.set()
    locker.join(LOCK_SECONDS)
    assert not any(thread.is_alive() for thread in (*threads, locker))
    assert failures == []
    assert "40P01" not in sqlstates
    history.finish()
    history.check()
