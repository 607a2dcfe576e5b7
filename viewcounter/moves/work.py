"""One run of a mover on one move: connections to both shards, the token, and the lease renewed in the background."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import UUID

from django.db import DatabaseError, close_old_connections, connection

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.errors import MoveTaken
from configservice.models import Move
from configservice.moves.records import renew
from configservice.moves.states import URGENT
from runtime.metrics import MOVE_ROWS
from runtime.periodic import PeriodicTask
from shardproxy.errors import ShardProxyError
from shardproxy.instance import RowConnection
from shardproxy.query import QueryClass
from viewcounter.eventlog.interface import EventLog
from viewcounter.moves.errors import MoverStopping
from viewcounter.moves.settings import MoveSettings
from viewcounter.processing.settings import DrainSettings
from viewcounter.storage.errors import MaintenanceHoldLost
from viewcounter.storage.moves import Side, name_move_session, renew_maintenance_hold

RENEWALS_IN_LEASE = 4
STOP_SECONDS = 1.0
"""Wait for the renewing thread. A renewal that hangs on a dead server may outlive it: it changes no later claim."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Dependencies that a mover process shares between moves."""

    cluster: ClusterProxy
    log: EventLog
    settings: MoveSettings
    drain: DrainSettings
    id_cache_bytes: int
    is_stopping: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class Work:
    """One run of a mover on one move. `move` is as last read; `rows_copied` grows while it is copied."""

    tools: Tools
    move: Move
    token: UUID
    on_progress: Callable[[Move], None] = lambda _: None
    rows_copied: int = 0
    renewer: "LeaseRenewer | None" = None

    @property
    def partition(self) -> int:
        return int(self.move.partition)

    @property
    def source(self) -> Side:
        return Side(self.partition, self.move.source_epoch, self.token)

    @property
    def target(self) -> Side:
        return Side(self.partition, self.move.target_epoch, self.token)

    @property
    def settings(self) -> MoveSettings:
        return self.tools.settings

    def count_copied(self, row_count: int) -> None:
        MOVE_ROWS.inc(row_count)
        self.rows_copied += row_count
        self.move.rows_copied = self.rows_copied
        self.on_progress(self.move)

    def check(self) -> None:
        """Called between two pieces of work. Raises MoveTaken, MaintenanceHoldLost, and MoverStopping; the last not in
        URGENT states, in which the partition takes no flushes: there only a failure ends it."""
        if self.tools.is_stopping() and self.move.state not in URGENT:
            raise MoverStopping
        if self.renewer is not None:
            self.renewer.check()

    def pause(self, seconds: float) -> None:
        """Raises the errors of `check`."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, self.settings.poll_seconds))

    @contextmanager
    def open_source(self, *, seconds: float | None = None) -> Iterator[RowConnection]:
        """A transaction on the source's primary."""
        with self.open_shard(self.move.source_id, seconds) as opened:
            yield opened

    @contextmanager
    def open_target(self, *, seconds: float | None = None) -> Iterator[RowConnection]:
        with self.open_shard(self.move.target_id, seconds) as opened:
            yield opened

    @contextmanager
    def open_shard(self, shard_id: int, seconds: float | None) -> Iterator[RowConnection]:
        """A transaction on a shard's primary; `seconds` bound it and name its session as the mover's."""
        with self.tools.cluster.shard_transaction(
            shard_id, query_class=QueryClass.MAINTENANCE, deadline_seconds=seconds
        ) as opened:
            if seconds is not None:
                name_move_session(opened, seconds=seconds)
            yield opened


class LeaseRenewer:
    """Renews the lease of a move, and the maintenance hold on its source, while a step runs.

    In a thread of its own, as a statement may take minutes. A lost lease or hold is raised by `check`, in the mover's
    thread; a mover that does not check is stopped by the tokens on the shards.
    """

    def __init__(self, work: Work, *, holds_maintenance: bool) -> None:
        self._work = work
        self._move = work.move
        self._source = work.source
        self._holds_maintenance = holds_maintenance
        self._lost: Exception | None = None
        interval_seconds = work.settings.lease_seconds / RENEWALS_IN_LEASE
        self._task = PeriodicTask(
            "move-lease-renewer",
            self._try_to_renew,
            interval_seconds=interval_seconds,
            first_after_seconds=interval_seconds,
            on_end=self._close_connection,
        )

    def __enter__(self) -> Self:
        self._work.renewer = self
        self._task.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._work.renewer = None
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _try_to_renew(self) -> None:
        try:
            self._renew()
        except (DatabaseError, ShardProxyError, ClusterProxyError):
            # The mover's thread meets the same error; the lease stays ours until another mover claims it.
            close_old_connections()
        except (MoveTaken, MaintenanceHoldLost) as error:
            self._lost = error
            self._task.stop()

    def _close_connection(self) -> None:
        connection.close()  # a method, as Django means the connection of the thread in which this line runs

    def _renew(self) -> None:
        work = self._work
        renew(self._move, lease_seconds=work.settings.lease_seconds, rows_copied=work.rows_copied)
        if self._holds_maintenance:
            with work.open_source() as source:
                renew_maintenance_hold(source, self._source, seconds=work.settings.maintenance_hold_seconds)
