"""Partitions move onto a new shard, under load, by movers that are killed; no client notices.

Measured figures are logged (`-o log_cli=true -o log_cli_level=INFO`), not asserted.
"""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import pytest

from clusterproxy.plan import Consistency
from configservice.models import Move
from configservice.moves.states import MoveState
from devtools.localcluster import ClusterSpec, LocalCluster
from tests.clusters import SELDOM, run_cluster
from tests.conftest import use_cluster
from tests.pace import limit
from tests.processes import running
from tests.system.exactness import assert_exactly_acknowledged, read_shards
from tests.system.steady_load import post_steadily, read_steadily
from tests.waiting import wait_while
from viewcounter.cluster import get_cluster
from viewcounter.storage.partitions import READ_STATES

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

logger = logging.getLogger(__name__)

PARTITIONS = 8
LOAD_SECONDS = 2.0
LOOK_SECONDS = 0.1
MOVE_SECONDS = 150.0
KILLED_IN = [
    MoveState.COPYING,
    MoveState.CATCHING_UP,
    MoveState.VERIFIED,
    MoveState.HELD,
    MoveState.FLIPPED,
    MoveState.RELEASED,
]
LEASE = {"VIEWCOUNTER_MOVE_LEASE_SECONDS": "2"}
"""The next mover need not wait longer for a dead one."""


@pytest.fixture(scope="module")
def cluster(django_db_blocker):
    with (
        run_cluster(spec=ClusterSpec(partitions=PARTITIONS, config_services=1), settings=SELDOM) as cluster,
        django_db_blocker.unblock(),
    ):
        use_cluster(cluster)
        yield cluster
        get_cluster().close()


class Freshness:
    """Polls every position: how long did it stop before the topology named another shard?"""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.pauses: dict[int, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join(limit(30))

    def _run(self) -> None:
        seen: dict[int, tuple[str, float, int]] = {}
        while not self._is_over.wait(LOOK_SECONDS):
            now = time.monotonic()
            scattered = get_cluster().scatter(READ_STATES, {}, consistency=Consistency.STRONG)
            for result in scattered.results.values():
                for row in result.rows:
                    position, at, epoch = seen.get(row["partition"], (row["position"], now, row["epoch"]))
                    if row["position"] != position:
                        if row["epoch"] != epoch:
                            self.pauses[row["partition"]] = now - at
                        position, at, epoch = row["position"], now, row["epoch"]
                    seen[row["partition"]] = (position, at, epoch)


class Mover:
    """`manage.py` in a process of its own, to be killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def kill_in(self, state: MoveState, move_id: int) -> str:
        """Kill it as soon as the move has reached the state. Returns the state in which it was left."""
        order = list(MoveState)

        def find_obstacle() -> str | None:
            found = MoveState(Move.objects.values_list("state", flat=True).get(pk=move_id))
            return None if order.index(found) >= order.index(state) else f"it is {found}"

        wait_while(find_obstacle, within_seconds=MOVE_SECONDS, what=f"move {move_id} to be {state}")
        self._process.kill()
        self._process.wait()
        return str(Move.objects.values_list("state", flat=True).get(pk=move_id))

    def finish(self) -> list[dict]:
        out, err = self._process.communicate(timeout=limit(MOVE_SECONDS))
        assert self._process.returncode == 0, err[-2000:]
        return json.loads(out.splitlines()[-1])


@contextmanager
def run_mover(cluster: LocalCluster, *arguments: str) -> Iterator[Mover]:
    command = [sys.executable, "manage.py", *arguments]
    with running(command, environment=cluster.environment | LEASE, stderr=subprocess.PIPE) as process:
        yield Mover(process)


def create_key(cluster: LocalCluster, name: str, scopes: str) -> str:
    return cluster.run_command("create_api_key", name, "--scopes", scopes, "--quiet").strip()


def test_partitions_move_to_a_new_shard_under_load_and_nobody_notices(cluster: LocalCluster):
    pids = {name: application.pid for name, application in cluster.layout.applications.items()}
    writer, reader = create_key(cluster, "load", "events:write"), create_key(cluster, "reads", "stats:read")
    with (
        post_steadily(cluster, writer, seed=11) as load,
        read_steadily(cluster, reader) as readers,
        Freshness() as fresh,
    ):
        time.sleep(LOAD_SECONDS)
        assert cluster.add_shard() == "shard3"
        get_cluster().refresh_topology()
        moves = []
        for source in ("shard1", "shard2"):
            arguments = ["--from", source, "--to", "shard3", "--count", "1", "--yes", "--json"]
            with run_mover(cluster, "move_partitions", *arguments) as mover:
                moves += mover.finish()
        time.sleep(LOAD_SECONDS / 2)
    pauses = sorted(fresh.pauses.values())
    held = sorted(move["held_seconds"] * 1000 for move in moves)
    rows, seconds = sum(m["rows_copied"] for m in moves), sum(m["copy_seconds"] for m in moves)
    figures = (
        f"{rows} rows, {rows / seconds:.0f} rows/s, held {held[len(held) // 2]:.0f} ms median, {held[-1]:.0f} ms worst,"
        f" no flush for {pauses[len(pauses) // 2] * 1000:.0f} ms median, {pauses[-1] * 1000:.0f} ms worst,"
        f" {len(load.acknowledged)} events, {readers.answered} reads, answers {dict(load.statuses)}"
    )
    logger.info(figures)
    assert [(move["state"], move["setbacks"]) for move in moves] == [("done", 0)] * 2, moves
    assert set(load.statuses) == {"202"}, figures
    assert (readers.failed, readers.answered > 100) == ([], True), figures
    assert {name: application.pid for name, application in cluster.layout.applications.items()} == pids
    get_cluster().refresh_topology()
    assert len(get_cluster().topology.get_partitions_of(3)) == 2
    assert_exactly_acknowledged(load, story=figures)
    assert_nothing_is_left_behind()


@pytest.mark.long(minutes=2)
def test_movers_killed_in_every_state_lose_and_double_nothing(cluster: LocalCluster):
    cluster.run_command("prepare", "--partitions", str(PARTITIONS), "--instances", str(cluster.state.instances_file))
    writer = create_key(cluster, "kills", "events:write")
    read_before = {row["event_id"] for row in read_shards("SELECT event_id FROM raw_event")}
    get_cluster().refresh_topology()
    topology = get_cluster().topology
    source = next(shard for shard in topology.shards if topology.get_partitions_of(shard.id))
    target = next(shard for shard in topology.shards if shard != source)
    first = topology.get_partitions_of(source.id)[0]
    left_in = []
    with post_steadily(cluster, writer, seed=12, threads=1) as load:
        arguments = ["--from", source.name, "--to", target.name, "--partitions", str(first), "--yes", "--plan-only"]
        cluster.run_command("move_partitions", *arguments)
        move_id = Move.objects.latest("pk").pk
        for state in KILLED_IN:
            with run_mover(cluster, "moves", "resume", "--json") as mover:
                left_in.append(mover.kill_in(state, move_id))
        with run_mover(cluster, "moves", "resume", "--json") as mover:
            mover.finish()
    move = Move.objects.get(pk=move_id)
    story = f"killed in {left_in}, setbacks {move.setbacks}, error {move.error!r}"
    logger.info(story)
    assert move.state == MoveState.DONE, story
    assert set(load.statuses) == {"202"}, story
    get_cluster().refresh_topology()
    assert get_cluster().topology.get_shard_of(first).name == target.name

    def find_missing() -> str | None:
        found = [row["event_id"] for row in read_shards("SELECT event_id FROM raw_event")]
        missing = set(load.acknowledged) - set(found)
        return f"{len(missing)} events are not counted" if missing else None

    wait_while(find_missing, what="everything to be applied")
    raw = [row["event_id"] for row in read_shards("SELECT event_id FROM raw_event")]
    assert len(raw) == len(set(raw)), story
    assert set(raw) == set(load.acknowledged) | read_before, story
    totals = sum(row["count"] for row in read_shards("SELECT count FROM event_total"))
    assert totals == len(raw), story
    assert_nothing_is_left_behind()


def assert_nothing_is_left_behind() -> None:
    """Each partition has rows on its own shard only."""
    cluster = get_cluster()
    for shard in cluster.topology.shards:
        own = cluster.topology.get_partitions_of(shard.id)
        with cluster.shard_transaction(shard.id) as connection:
            for table in ("raw_event", "event_ids", "event_minute", "event_total", "ledger", "video"):
                rows = connection.execute(f"SELECT DISTINCT partition FROM {table}").fetchall()  # noqa: S608
                assert {row["partition"] for row in rows} <= set(own), (shard.name, table)
