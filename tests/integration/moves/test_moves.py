"""A partition moves: counts, reads and de-duplication are as without a move."""

import pytest

from configservice.models import Shard
from configservice.moves.records import plan_moves
from tests.integration.moves.moving import Moving
from tests.integration.processing.counted import PARTITION, Counted
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.storage.moved_tables import TABLES


def test_a_partition_moves_with_all_its_rows_while_events_come(moving: Moving):
    before = moving.count_rows("shard2")
    steps = []

    def record(move):
        steps.append(move.state)
        moving.live()

    move = moving.run(moving.plan(), on_step=record)
    assert (move.state, move.error, move.setbacks, move.attempts) == ("done", "", 0, 0)
    assert steps == [
        "planned", "copying", "catching_up", "verified", "held", "activated", "flipped", "released", "done",
    ]  # fmt: skip
    assert move.rows_copied >= sum(before.values())
    after = moving.count_rows("shard1")
    assert all(after[name] >= count for name, count in before.items())
    moving.assert_exact_on("shard1")
    [video] = moving.on("shard1", "SELECT DISTINCT channel_id, revision FROM video WHERE partition = %(p)s")
    assert video == {"channel_id": "science", "revision": 7}
    assert moving.on("shard1", "SELECT title FROM channel") == [{"title": "Science"}]
    assert moving.on("shard1", "SELECT revision FROM catalogue_cursor WHERE partition = %(p)s") == [{"revision": 9}]
    [states] = moving.on("shard1", "SELECT epoch FROM partition_state WHERE partition = %(p)s")
    assert states["epoch"] == 2


def test_a_partition_moves_back(moving: Moving):
    moving.run(moving.plan())
    moving.assert_exact_on("shard1")
    moving.live()
    move = moving.run(moving.plan(to="shard2"))
    assert (move.state, move.source_epoch, move.target_epoch) == ("done", 2, 3)
    moving.assert_exact_on("shard2")


def test_a_partition_without_any_event_moves(clean_cluster):
    moving = Moving(clean_cluster, Counted(clean_cluster, [], MemoryEventLog(), [], None))
    [move] = plan_moves({1: Shard.objects.get(name="shard1").id}, actor="test")
    assert moving.run(move).state == "done"
    clean_cluster.refresh_topology()
    assert clean_cluster.topology.get_shard_of(1).name == "shard1"


def test_every_logged_table_with_a_partition_moves(moving: Moving):
    """A new table with that column must be named in `moved_tables`, or its rows would stay behind."""
    found = moving.on(
        "shard1",
        "SELECT c.relname AS name FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace"
        " AND a.attname = 'partition' AND c.relpersistence = 'p'",
    )
    assert {row["name"] for row in found} == {table.name for table in TABLES} | {"partition_state"}


def test_the_owner_of_a_partition_stays_behind_when_it_moves_away_and_back(moving: Moving):
    statement = "SELECT owner FROM partition_state WHERE partition = %(p)s"
    moving.on("shard2", "UPDATE partition_state SET owner = 'a' WHERE partition = %(p)s")
    for shard in ("shard1", "shard2"):
        assert moving.run(moving.plan(to=shard)).state == "done"
        moving.cluster.refresh_topology()
        assert moving.on(shard, statement) == [{"owner": None}]


@pytest.mark.parametrize(
    "table",
    [table for table in TABLES if table.is_compared or table.name == "event_ids"],
    ids=lambda table: table.name,
)
def test_a_copy_that_differs_is_made_again(moving: Moving, table):
    """By one row less, in whichever table."""
    spoiled = []

    def spoil(move):
        if move.state == "catching_up" and not spoiled:
            spoiled.append(table.name)
            if table.name == "video":
                moving.on("shard1", "INSERT INTO video (video_id, partition) VALUES ('nobody', %(p)s)")
            else:
                moving.on(
                    "shard1",
                    f"DELETE FROM {table.name} WHERE ctid = (SELECT ctid FROM {table.name}"  # noqa: S608
                    " WHERE partition = %(p)s LIMIT 1)",
                )

    seen = []
    move = moving.run(moving.plan(), on_step=lambda m: (seen.append((m.state, m.error)), spoil(m)))
    assert (move.state, move.setbacks) == ("done", 1)
    [(_, error)] = [(state, error) for state, error in seen if error]
    assert table.name in error
    moving.assert_exact_on("shard1")
    assert PARTITION not in moving.cluster.topology.get_partitions_of(2)
