"""Movers that are frozen before a transaction and wake after others have continued: the tokens must stop them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

from django.db import connections

from clusterproxy.proxy import ClusterProxy
from configservice.models import Move
from configservice.moves.records import get_move
from configservice.moves.states import FINISHED
from tests.integration.moves.moving import Crash, Moving
from tests.pace import limit
from viewcounter.cluster import ControlDatabaseSource
from viewcounter.config import get_config
from viewcounter.moves import mover
from viewcounter.moves.mover import run_move
from viewcounter.storage.moved_tables import TABLES

WAKE_SECONDS = limit(300.0)
END_SECONDS = limit(60.0)
SLEEPERS_MAX = 40
"""Limit by a shard's connections: a mover that is frozen in the middle of a copy keeps one."""
NEVER_RENEWED_SECONDS = 3600.0
"""A lease is renewed four times in its length: with this one a mover does not learn from it that it was replaced."""
PLACES_MAX = 100


class Gate:
    """Stops one mover at its stop with this number."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._wake = threading.Event()
        self.is_frozen = threading.Event()

    def reach(self) -> None:
        self._left -= 1
        if self._left == 0:
            connections.close_all()  # of this thread, which may sleep for long
            self.is_frozen.set()
            assert self._wake.wait(WAKE_SECONDS)

    def open(self) -> None:
        self._wake.set()


class GatedCluster:
    """The cluster of one mover: the begin of each transaction on a shard is a possible stop."""

    def __init__(self, cluster: ClusterProxy, gate: Gate) -> None:
        self._cluster = cluster
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    @contextmanager
    def shard_transaction(self, shard_id: int, **options: Any) -> Iterator[Any]:
        self._gate.reach()
        with self._cluster.shard_transaction(shard_id, **options) as connection:
            yield connection


def watch_control_database(monkeypatch: Any) -> None:
    """Adds stops after the claim, and before a step is recorded."""

    def wrap(name: str, *, is_before: bool) -> Callable[..., Any]:
        function = getattr(mover, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            gate: Gate | None = getattr(threading.current_thread(), "gate", None)
            if gate is not None and is_before:
                gate.reach()
            result = function(*arguments, **keywords)
            if gate is not None and not is_before:
                gate.reach()
            return result

        return call

    for name in ("claim", "advance", "flip"):
        monkeypatch.setattr(mover, name, wrap(name, is_before=name != "claim"))
    # A frozen mover does not release its lease.
    monkeypatch.setattr(mover, "release", lambda *_, **__: None)


class FrozenMover(threading.Thread):
    """One mover, frozen at its stop with this number; it ends when the move is in one of `until`."""

    def __init__(
        self, moving: Moving, cluster: ClusterProxy, move: Move, *, number: int, until: frozenset[str]
    ) -> None:
        super().__init__(daemon=True)
        self.state = move.state
        self.gate = Gate(number)
        self.error: BaseException | None = None
        self._move_id = move.pk
        self._until = until
        tools = moving.make_tools(
            lease_seconds=NEVER_RENEWED_SECONDS, block_bytes=10**6, delete_pages=1000, retry_max_seconds=0.01
        )
        self._tools = replace(tools, cluster=GatedCluster(cluster, self.gate))

    def run(self) -> None:
        try:
            run_move(self._tools, self._move_id, on_step=self._end_at_state)
        except Crash:
            pass
        except BaseException as error:  # told to the test
            self.error = error
        finally:
            connections.close_all()

    def start_and_wait(self) -> bool:
        """Whether it is frozen; else it has ended."""
        self.start()
        while self.is_alive():
            if self.gate.is_frozen.wait(0.01):
                return True
        self._check()
        return False

    def wake(self) -> None:
        self.gate.open()
        self.join(END_SECONDS)
        assert not self.is_alive()
        self._check()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _end_at_state(self, move: Move) -> None:
        if move.state in self._until:
            raise Crash


@dataclass
class Sleepers:
    """Frozen movers, in the order in which they were frozen."""

    moving: Moving
    cluster: ClusterProxy
    asleep: list[FrozenMover] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(cls, moving: Moving) -> Iterator[Self]:
        """With connections of their own, like another process."""
        config = get_config()
        cluster = ClusterProxy(
            topology_sources=[ControlDatabaseSource()],
            settings=config.cluster,
            pool=replace(config.pool, max_connections=SLEEPERS_MAX),
            state_dir=config.state_dir,
        )
        sleepers = cls(moving, cluster)
        try:
            yield sleepers
        finally:
            for frozen in sleepers.asleep:
                frozen.gate.open()
            for frozen in sleepers.asleep:
                frozen.join(END_SECONDS)
            cluster.close()

    @property
    def states(self) -> set[str]:
        return {frozen.state for frozen in self.asleep}

    def freeze(self, move: Move, *, until: frozenset[str] = FINISHED) -> None:
        """One is frozen at the first stop of a step, the next one at the second, until one completes the step; and so
        on, until the move is in one of these states."""
        number = 1
        while move.state not in until | FINISHED:
            before = move.state
            self._freeze_one(move, number, until)
            move = get_move(move.pk)
            number = 1 if move.state != before else number + 1
            assert number < PLACES_MAX

    def freeze_first(self, move: Move, *, places: int) -> None:
        """Only at the first stops of the present step."""
        for number in range(1, places + 1):
            assert self._freeze_one(move, number, FINISHED)

    def wake_all_and_assert_nothing_changes(self) -> None:
        """One after the other."""
        changes = []
        before = read_everything(self.moving)
        for place, frozen in enumerate(self.asleep):
            frozen.wake()
            after = read_everything(self.moving)
            changes += [f"mover {place}, {frozen.state}: {change}" for change in find_changes(before, after)]
            before = after
        assert not changes, "\n".join(changes)

    def _freeze_one(self, move: Move, number: int, until: frozenset[str]) -> bool:
        self.moving.let_lease_end(move)
        frozen = FrozenMover(self.moving, self.cluster, move, number=number, until=until)
        is_asleep = frozen.start_and_wait()
        if is_asleep:
            self.asleep.append(frozen)
        return is_asleep


def read_everything(moving: Moving) -> dict[str, Any]:
    """All rows of the partition on both shards, in every table, and its state."""
    found: dict[str, Any] = {}
    for shard in ("shard1", "shard2"):
        digests = ", ".join(
            f"(SELECT count(*) || ' rows ' || coalesce(md5(string_agg(t::text, ' ' ORDER BY t::text)), '')"  # noqa: S608
            f" FROM {table.name} AS t WHERE partition = %(p)s) AS {table.name}"
            for table in TABLES
        )
        [rows] = moving.on(shard, f"SELECT {digests}")
        state = moving.get_state(shard) or {}
        found |= {f"{name} on {shard}": value for name, value in {**rows, **state}.items() if name != "updated_at"}
    return found


def find_changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [f"{name}: {value} -> {after[name]}" for name, value in before.items() if after[name] != value]
