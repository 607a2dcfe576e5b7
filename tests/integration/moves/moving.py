"""A partition with rows in every table that moves while events arrive, and the invariants of a finished move."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.utils import timezone

from clusterproxy.proxy import ClusterProxy
from configservice.models import Move, Shard
from configservice.moves.records import get_move, plan_moves
from configservice.moves.states import FINISHED
from tests.integration.processing.counted import PARTITION, Counted, count_events
from tests.integration.processing.draining import make_drainer
from tests.integration.processing.pulling import claim_partitions_of
from tests.pace import limit
from tests.unit.processing.builders import uuid4_of
from viewcounter.config import get_config
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.moves.mover import run_move
from viewcounter.moves.work import Tools
from viewcounter.storage.moved_tables import TABLES

ROWS = {
    "log_loss": (
        "INSERT INTO log_loss (partition, after_position, through_position, reason)"
        " VALUES (%(p)s, '0-7', '1-0', 'replaced')"
    ),
    "correction": (
        "INSERT INTO correction (partition, job_id, actor, tier, video_id, event_type_id, before, after)"
        " SELECT %(p)s, gen_random_uuid(), 'ada', 'total', 'v', 1, NULL, ARRAY[n, 2, 3, 4] FROM generate_series(1, 5) n"
    ),
    "event_day": (
        "INSERT INTO event_day SELECT partition, video_id, event_type_id, date_trunc('day', min(start), 'UTC'),"
        " sum(count), sum(sum), min(min), max(max), 60, ARRAY[0, 4], ARRAY[1, sum(count)], ARRAY[1, sum(sum)],"
        " ARRAY[min(min), 7], ARRAY[max(max), 7] FROM event_hour GROUP BY 1, 2, 3"
    ),
    "event_sketch": (
        "INSERT INTO event_sketch SELECT partition, 'hour', video_id, event_type_id, start, count, NULL,"
        " decode(repeat('00ff', 3000), 'hex') FROM event_hour WHERE partition = %(p)s"
    ),
    "sketch_due": (
        "INSERT INTO sketch_due (partition, tier, start) SELECT DISTINCT partition, 'hour', start FROM event_hour"
    ),
    "channel": "INSERT INTO channel VALUES ('science', 'Science', 7)",
    "video": "UPDATE video SET channel_id = 'science', title = 'T ' || video_id, revision = 7 WHERE partition = %(p)s",
    "catalogue_cursor": "INSERT INTO catalogue_cursor VALUES (%(p)s, 9)",
    "event_conflict": (
        "INSERT INTO event_conflict (partition, event_id, minute, position, first_content, video_id, event_type_id,"
        " occurred_at, value, received_at) SELECT %(p)s, gen_random_uuid(), now(), '1-0', n, 'v', 1, now(), n, now()"
        " FROM generate_series(1, 4) n"
    ),
}


class Crash(BaseException):
    """A killed mover: a BaseException, so that none of its handlers runs."""


@dataclass
class Moving:
    cluster: ClusterProxy
    counted: Counted
    seed: int = 10
    resent: int = 0
    dead: int = 0
    rolled_through: datetime = field(default=datetime(1970, 1, 1, tzinfo=UTC))

    @classmethod
    def fill(cls, cluster: ClusterProxy) -> Self:
        counted = count_events(cluster)
        moving = cls(cluster, counted)
        moving.rolled_through = counted.first_hour + timedelta(hours=2)
        counted.roll(through=moving.rolled_through)
        moving.come()
        counted.drain()
        with cluster.transaction(PARTITION) as connection:
            for statement in ROWS.values():
                connection.execute(statement, {"p": PARTITION})
        assert all(count > 0 for count in moving.count_rows("shard2").values()), moving.count_rows("shard2")
        return moving

    # -- what happens ------------------------------------------------------------------------------

    def come(self) -> None:
        """Events arrive: new ones, late ones, duplicates, and one that no shard can store."""
        self.seed += 1
        self.counted.add(seed=self.seed, count=30)
        again = self.counted.events[:5]
        unknown = AcceptedEvent(uuid4_of(10**6 + self.seed).bytes, self.counted.videos[0], 999, again[0].occurred_us, 1)
        received_us = int(datetime.now(UTC).timestamp() * 1_000_000)
        self.counted.log.append({PARTITION: pack_entry([*again, unknown], received_us=received_us)})
        self.resent += len(again)
        self.dead += 1

    def drain(self) -> None:
        """Drain as the workers do, on the shard of the topology, if it takes flushes."""
        shard = self.cluster.topology.get_shard_of(PARTITION)
        if any(row.partition == PARTITION for row in claim_partitions_of(self.cluster, shard.id)):
            make_drainer(self.cluster, self.counted.log, flush_max_events=1000).drain([PARTITION])

    def live(self) -> None:
        self.come()
        self.drain()

    # -- the mover ---------------------------------------------------------------------------------

    def plan(self, *, to: str = "shard1") -> Move:
        return plan_moves({PARTITION: Shard.objects.get(name=to).id}, actor="test")[0]

    def make_tools(self, **changes: Any) -> Tools:
        config = get_config()
        settings = replace(config.move, block_bytes=2000, delete_pages=2, release_seconds=0.0)
        return Tools(
            cluster=self.cluster,
            log=self.counted.log,
            settings=replace(settings, **{"poll_seconds": 0.02, "retry_max_seconds": 0.1} | changes),
            drain=config.drain,
            id_cache_bytes=10**6,
        )

    def run(self, move: Move, *, on_step: Callable[[Move], None] = lambda _: None, **changes: Any) -> Move:
        """Run another mover, after the lease of the last one has expired."""
        self.let_lease_end(move)
        is_finished = get_move(move.pk).state in FINISHED
        assert run_move(self.make_tools(**changes), move.pk, on_step=on_step) != is_finished
        return get_move(move.pk)

    @staticmethod
    def let_lease_end(move: Move) -> None:
        Move.objects.filter(pk=move.pk).update(lease_until=timezone.now() - timedelta(seconds=1))

    # -- what is true ------------------------------------------------------------------------------

    def on(self, shard: str, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        shard_id = next(s.id for s in self.cluster.topology.shards if s.name == shard)
        with self.cluster.shard_transaction(shard_id) as connection:
            cursor = connection.execute(statement, {"p": PARTITION, **parameters})
            return cursor.fetchall() if cursor.description else []

    def count_rows(self, shard: str) -> dict[str, int]:
        return {
            table.name: self.on(shard, f"SELECT count(*)::int AS c FROM {table.name} WHERE partition = %(p)s")[0]["c"]  # noqa: S608
            for table in TABLES
        }

    def get_state(self, shard: str) -> dict[str, Any] | None:
        rows = self.on(shard, "SELECT * FROM partition_state WHERE partition = %(p)s")
        return rows[0] if rows else None

    def find_owners(self) -> list[str]:
        """Shards that would take a flush by the topology."""
        self.cluster.refresh_topology()
        assignment = self.cluster.topology.assignments[PARTITION]
        return [
            shard.name
            for shard in self.cluster.topology.shards
            if shard.id == assignment.shard_id
            and (state := self.get_state(shard.name)) is not None
            and (state["state"], state["epoch"]) == ("owned", assignment.epoch)
        ]

    def assert_exact_on(self, shard: str) -> None:
        """Every acknowledged event is counted once, on this shard, with its id; the other shard has no rows of it."""
        other = {"shard1": "shard2", "shard2": "shard1"}[shard]
        self.cluster.refresh_topology()
        assert self.cluster.topology.get_shard_of(PARTITION).name == shard
        assert self.find_owners() == [shard]
        self.live()
        self.counted.assert_exact()
        raw = self.on(shard, "SELECT event_id, viewer FROM raw_event")
        assert Counter((row["event_id"].bytes, row["viewer"]) for row in raw) == Counter(
            (event.event_id, event.viewer) for event in self.counted.events
        )
        [ledger] = self.on(
            shard,
            "SELECT sum(counted)::int AS counted, sum(duplicate)::int AS duplicate, sum(dead_lettered)::int AS dead"
            " FROM ledger WHERE partition = %(p)s",
        )
        assert tuple(ledger.values()) == (len(self.counted.events), self.resent, self.dead)
        assert set(self.count_rows(other).values()) == {0}
        gone = self.get_state(other)
        assert gone is None or gone["state"] == "moved"
        state = self.get_state(shard)
        assert state["rolled_through"] == self.rolled_through
        has_never_moved = state["epoch"] == 1  # an aborted move leaves its last token: its movers are fenced by it
        assert state["move_token"] is None or has_never_moved
        assert state["maintenance_held_until"] <= datetime.now(UTC)


class Traffic:
    """Events arrive and are drained continuously, in a thread."""

    def __init__(self, moving: Moving) -> None:
        self._moving = moving
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.errors: list[BaseException] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(limit(30))
        assert self.errors == []

    def _run(self) -> None:
        while not self._is_over.wait(0.02):
            try:
                self._moving.live()
            except Exception as error:  # told to the test when it ends
                self.errors.append(error)
