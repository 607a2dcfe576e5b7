"""Work on a partition's rows by a process that has not heard that the partition left its shard, or came back, changes
nothing."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pprint import pformat
from typing import Any

import pytest

from clusterproxy.proxy import ClusterProxy
from configservice.models import Move
from configservice.topology.published_snapshot import PublishedSnapshot
from shardproxy.errors import ShardProxyError
from tests.integration.moves.frozen import find_changes, read_everything
from tests.integration.moves.moving import Crash, Moving
from tests.integration.processing.counted import PARTITION
from tests.integration.processing.draining import make_drainer
from viewcounter.catalogue.changes import VideoEntry, put_video
from viewcounter.catalogue.models import Video
from viewcounter.catalogue.sync import sync_catalogue
from viewcounter.cluster import ControlDatabaseSource
from viewcounter.config import get_config
from viewcounter.deadletters.replay import DeadLetterId, ReplayRules, discard_dead_letters, replay_dead_letters
from viewcounter.deadletters.stopped import resume
from viewcounter.maintenance.models import RecountJob
from viewcounter.maintenance.recount_jobs import create_partition_recount, run_recount
from viewcounter.maintenance.retention import drop_old_raw_days, find_old_raw_days_of, retain_partition
from viewcounter.maintenance.rollup import roll_partition
from viewcounter.maintenance.settings import CLOCK_MARGIN, RollupSettings
from viewcounter.maintenance.sketching import sketch_partition
from viewcounter.processing.errors import DrainError
from viewcounter.storage.errors import StorageError
from viewcounter.storage.id_pieces import merge_id_pieces
from viewcounter.storage.partitions import advance_watermarks
from viewcounter.storage.raw_days import make_raw_days

SOURCE, TARGET = "shard2", "shard1"
AT_ONCE = timedelta(0)
REFUSALS = (DrainError, StorageError, ShardProxyError)


class FirstOnly:
    """A topology source that always returns its first topology."""

    place = "the past"
    is_open = False

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        return ControlDatabaseSource().fetch(None) if held is None else None


@pytest.fixture
def unaware(moving: Moving, tmp_path):
    """The cluster of a process that has received no topology since the first."""
    config = get_config()
    cluster = ClusterProxy(
        topology_sources=[FirstOnly()], settings=config.cluster, pool=config.pool, state_dir=tmp_path
    )
    assert cluster.topology.get_shard_of(PARTITION).name == SOURCE
    yield cluster
    cluster.close()


class Switching:
    """The cluster of a process that receives a newer topology after this many transactions."""

    def __init__(self, before: ClusterProxy, after: ClusterProxy, *, transactions: int) -> None:
        self._before = before
        self._after = after
        self._left = transactions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._before if self._left > 0 else self._after, name)

    def transaction(self, *arguments: Any, **options: Any) -> Any:
        current = self._before if self._left > 0 else self._after
        self._left -= 1
        return current.transaction(*arguments, **options)


class HappensLast:
    """The cluster as a process has it to which something happens before its last transaction on a shard, of so many."""

    def __init__(self, cluster: ClusterProxy, shard_id: int, *, transactions: int, happens: Callable[[], None]) -> None:
        self._cluster = cluster
        self._shard_id = shard_id
        self._left = transactions
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def shard_transaction(self, shard_id: int, **options: Any) -> Any:
        if shard_id == self._shard_id:
            self._left -= 1
            if self._left == 0:
                self._happens()
        return self._cluster.shard_transaction(shard_id, **options)


# -- the work ------------------------------------------------------------------------------------------


def roll(moving: Moving, cluster: ClusterProxy) -> None:
    roll_partition(cluster, PARTITION, settings=RollupSettings(grace_seconds=0.0, budget_seconds=30.0, marks_max=1000))


def retain(moving: Moving, cluster: ClusterProxy) -> None:
    policy = replace(
        get_config().retention,
        ids_seconds=3600,
        minutes_seconds=3600,
        hours_seconds=3600,
        resolved_seconds=0,
        future_seconds=-int(CLOCK_MARGIN.total_seconds()),  # no guard
    )
    assert policy.guard == AT_ONCE
    retain_partition(cluster, PARTITION, policy=policy)


def sketch(moving: Moving, cluster: ClusterProxy) -> None:
    sketch_partition(cluster, PARTITION, settings=get_config().sketch)


def recount(moving: Moving, cluster: ClusterProxy) -> None:
    job = create_partition_recount(PARTITION, apply=True, actor="ada")
    run_recount(cluster, job.pk, settings=get_config().recount, budget_seconds=None)


def merge(moving: Moving, cluster: ClusterProxy) -> None:
    epoch = cluster.topology.assignments[PARTITION].epoch
    starts = moving.on(SOURCE, "SELECT DISTINCT minute FROM event_ids WHERE partition = %(p)s")
    minutes = [int(row["minute"].timestamp()) // 60 for row in starts]
    with cluster.transaction(PARTITION) as connection:
        merge_id_pieces(connection, PARTITION, minutes, epoch=epoch, small_ids=1000)


def find_letters(moving: Moving, cluster: ClusterProxy) -> list[DeadLetterId]:
    shard = cluster.topology.get_shard_of(PARTITION)
    rows = moving.on(
        shard.name, "SELECT id FROM dead_letter WHERE partition = %(p)s AND state = 'new' ORDER BY id LIMIT 1"
    )
    return [DeadLetterId(shard.id, row["id"]) for row in rows]


def discard(moving: Moving, cluster: ClusterProxy) -> None:
    discard_dead_letters(cluster, find_letters(moving, cluster), actor="ada")


def replay(moving: Moving, cluster: ClusterProxy) -> None:
    rules = ReplayRules(cluster.topology, datetime.now(UTC), get_config().accept.past_seconds)
    replay_dead_letters(cluster, moving.counted.log, find_letters(moving, cluster), actor="ada", rules=rules)


def copy_catalogue(moving: Moving, cluster: ClusterProxy) -> None:
    sync_catalogue(cluster, batch=1000)


def publish_watermark(moving: Moving, cluster: ClusterProxy) -> None:
    shard = cluster.topology.get_shard_of(PARTITION)
    position, epoch = moving.get_state(shard.name)["position"], cluster.topology.assignments[PARTITION].epoch
    with cluster.shard_transaction(shard.id) as connection:
        advance_watermarks(connection, {PARTITION: position}, epochs={PARTITION: epoch}, read_at=datetime.now(UTC))


def drain(moving: Moving, cluster: ClusterProxy) -> None:
    make_drainer(cluster, moving.counted.log, flush_max_events=1000).drain([PARTITION])


WORK: list[Callable[[Moving, ClusterProxy], None]] = [
    publish_watermark,
    discard,
    replay,
    copy_catalogue,
    merge,
    recount,
    roll,
    sketch,
    drain,
    retain,
]


@pytest.fixture
def busy(moving: Moving):
    """A partition with work for each maintenance task."""
    RecountJob.objects.all().delete()
    Video.objects.all().delete()
    for number in range(20):  # the copies of `moving` have higher revisions than an empty catalogue
        put_video(VideoEntry(moving.counted.videos[0], f"Title {number}"))
    moving.live()
    moving.on(SOURCE, "UPDATE dead_letter SET event_type_id = 1")
    moving.on(SOURCE, "UPDATE event_total SET count = count + 1 WHERE partition = %(p)s")
    moving.on(SOURCE, "DELETE FROM event_sketch WHERE partition = %(p)s AND video_id = 'video-0'")
    yield moving
    RecountJob.objects.all().delete()
    Video.objects.all().delete()


def go_on_until(moving: Moving, move: Move, state: str) -> None:
    def stop(reached: Move) -> None:
        if reached.state == state:
            raise Crash

    with suppress(Crash):
        moving.run(move, on_step=stop)


def do_all(moving: Moving, cluster: ClusterProxy) -> dict[str, list[str]]:
    """The changes of each task, by its name."""
    changes = {}
    moving.come()
    for work in WORK:
        before = read_everything(moving)
        end = moving.counted.log.read_tails([PARTITION])
        with suppress(*REFUSALS):
            work(moving, cluster)
        found = find_changes(before, read_everything(moving))
        if moving.counted.log.read_tails([PARTITION]).positions != end.positions:
            found.append("appended to the log")
        if found:
            changes[work.__name__] = found
    return changes


def test_each_kind_of_work_changes_something_where_its_partition_is(busy: Moving):
    assert list(do_all(busy, busy.cluster)) == [work.__name__ for work in WORK]


@pytest.mark.parametrize("state", ["released", "done"])
def test_work_by_an_old_topology_changes_nothing_when_the_partition_has_left(busy: Moving, unaware, state):
    go_on_until(busy, busy.plan(), state)
    changes = do_all(busy, unaware)
    assert not changes, pformat(changes)


def test_work_by_an_old_topology_changes_nothing_when_the_partition_has_come_back(busy: Moving, unaware):
    busy.run(busy.plan())
    busy.run(busy.plan(to=SOURCE))
    changes = do_all(busy, unaware)
    assert not changes, pformat(changes)


def test_a_recount_that_looks_at_what_a_partition_left_behind_is_not_done(busy: Moving, unaware):
    busy.run(busy.plan())
    with suppress(*REFUSALS):
        recount(busy, unaware)
    [job] = RecountJob.objects.all()
    assert (job.state, job.error[:5]) == ("running", "waits")
    run_recount(busy.cluster, job.pk, settings=get_config().recount, budget_seconds=None)
    job.refresh_from_db()
    assert (job.state, job.difference_counts) == ("done", {"total": 10})


def test_sketches_are_still_due_when_what_they_are_made_of_was_read_from_remains(busy: Moving, unaware):
    """Of remains the raw events go first: nothing can be made of them, and the worker goes on at the partition's new
    place."""
    go_on_until(busy, busy.plan(), "released")
    busy.on(SOURCE, "DELETE FROM raw_event WHERE partition = %(p)s")
    due = "SELECT tier, start FROM sketch_due WHERE partition = %(p)s ORDER BY start"
    before = busy.on(TARGET, due)
    with suppress(*REFUSALS):
        sketch(busy, Switching(unaware, busy.cluster, transactions=1))
    assert busy.on(TARGET, due) == before != []


def test_a_day_of_raw_events_is_not_dropped_when_a_partition_has_come_that_needs_it(busy: Moving):
    """Between finding the day and dropping it."""
    old = (datetime.now(UTC) - timedelta(days=40)).date()
    busy.on(TARGET, "UPDATE partition_state SET watermark = now(), admits_since = now() - interval '7 days'")
    target = next(shard for shard in busy.cluster.topology.shards if shard.name == TARGET)
    with busy.cluster.shard_transaction(target.id) as connection:
        make_raw_days(connection, [old])
    policy = get_config().retention
    assert find_old_raw_days_of(busy.cluster, target, policy=policy) == [f"raw_event_{old:%Y%m%d}"]

    def come() -> None:
        busy.on(TARGET, "INSERT INTO partition_state (partition, epoch, state) VALUES (%(p)s, 2, 'incoming')")

    drop_old_raw_days(HappensLast(busy.cluster, target.id, transactions=3, happens=come), policy=policy)
    busy.on(TARGET, "DELETE FROM partition_state WHERE partition = %(p)s")
    assert find_old_raw_days_of(busy.cluster, target, policy=policy) == [f"raw_event_{old:%Y%m%d}"]
    drop_old_raw_days(busy.cluster, policy=policy)
    assert find_old_raw_days_of(busy.cluster, target, policy=policy) == []


def test_an_operator_who_lets_a_partition_go_on_by_an_old_topology_is_refused(busy: Moving, unaware):
    busy.run(busy.plan())
    busy.run(busy.plan(to=SOURCE))
    busy.on(SOURCE, "UPDATE partition_state SET state = 'stopped', stop_reason = 'another' WHERE partition = %(p)s")
    assert not resume(unaware, PARTITION, actor="ada")
    assert busy.get_state(SOURCE)["state"] == "stopped"
    assert resume(busy.cluster, PARTITION, actor="ada")
