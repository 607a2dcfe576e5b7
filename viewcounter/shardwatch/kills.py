"""Records of killed sessions: queued in memory, written to the control database, listed from there.

Killing a session never waits for its record. While the control database is down the newest records wait in memory, up
to a bound. A record that is written twice, by two shard proxies or after a lost answer, is one row.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DataError, Error, IntegrityError, connection
from django.db.models import Q
from django.utils import timezone

from runtime.metrics import KILLS_DROPPED, KILLS_WAITING
from runtime.periodic import PeriodicTask
from shardproxy.session_reaper import TerminatedSession
from viewcounter.shardwatch.models import Kill
from viewcounter.shardwatch.settings import KillRecordSettings

logger = logging.getLogger(__name__)

BATCH = 100
RETRY_SECONDS = 2.0
RETENTION_CHECK_SECONDS = 3600.0
_IDLE_SECONDS = 1.0


class KillStore:
    """`put` may be called from any thread; one thread writes, from `start` to `stop`.

    Invariant: `_waiting` holds at most `max_waiting` records, the newest ones.
    """

    def __init__(self, settings: KillRecordSettings, *, write: Callable[[Sequence[Kill]], None] | None = None) -> None:
        self._settings = settings
        self._write = write or write_kills
        self._waiting: deque[Kill] = deque()
        self._lock = threading.Lock()  # guards `_waiting`
        self._check_at = time.monotonic()
        self._task = PeriodicTask(
            "kill-store", self._write_batch, interval_seconds=_IDLE_SECONDS, on_end=self._write_rest
        )

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def put(self, kill: TerminatedSession, *, shard: str) -> None:
        """Queues the record; never waits for the database."""
        with self._lock:
            if len(self._waiting) >= self._settings.max_waiting:
                self._waiting.popleft()
                KILLS_DROPPED.inc()
            self._waiting.append(build_row(kill, shard=shard))
            KILLS_WAITING.set(len(self._waiting))
        self._task.wake()

    def start(self) -> None:
        self._task.start()

    def stop(self, *, timeout_seconds: float) -> None:
        """Ends the thread, after one last attempt to write the waiting records."""
        self._task.stop(timeout_seconds=timeout_seconds)
        if self._waiting:
            logger.warning("%d kills are not in the control database; they are in this log only", len(self._waiting))

    def _write_batch(self) -> float:
        is_done = self._store(self._peek())
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + RETENTION_CHECK_SECONDS
            self._remove_old()
        if not is_done:
            self._task.pause(RETRY_SECONDS)  # no new kill cuts it short: the database is away
        return 0.0 if self._waiting else _IDLE_SECONDS

    def _write_rest(self) -> None:
        while (batch := self._peek()) and self._store(batch):
            pass

    def _peek(self) -> list[Kill]:
        with self._lock:
            return list(self._waiting)[:BATCH]

    def _store(self, batch: list[Kill]) -> bool:
        """False: retry later. Rows that violate the schema are dropped, or they would block all rows behind them."""
        if not batch:
            return True
        try:
            self._write(batch)
        except (DataError, IntegrityError):
            logger.exception("dropping %d kills that the control database refuses", len(batch))
            KILLS_DROPPED.inc(len(batch))
        except Error as error:
            logger.warning("cannot store kills, %d wait: %s", len(self._waiting), error)
            return False
        finally:
            connection.close()  # kills are rare, and a connection is unusable after an error
        self._remove_written(batch)
        return True

    def _remove_written(self, written: Sequence[Kill]) -> None:
        """Remove them from the queue. `put` may have dropped some of them meanwhile, to make room."""
        done = {id(row) for row in written}
        with self._lock:
            while self._waiting and id(self._waiting[0]) in done:
                self._waiting.popleft()
            KILLS_WAITING.set(len(self._waiting))

    def _remove_old(self) -> None:
        try:
            remove_old_kills(self._settings.retention_seconds)
        except Error as error:
            logger.warning("cannot delete old kills: %s", error)
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class KillFilter:
    """None means no restriction. `start` is inclusive, `end` exclusive."""

    shard: str | None = None
    instance: str | None = None
    session_class: str | None = None
    action: str | None = None
    reason: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class KillPageKey:
    """Key of the last row of a page; the next page starts after it."""

    at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class KillPage:
    kills: list[Kill]
    next_key: KillPageKey | None


def list_kills(wanted: KillFilter, *, before: KillPageKey | None, limit: int) -> KillPage:
    """Newest first. `next_key` is None on the last page."""
    names = ("shard", "instance", "session_class", "action", "reason")
    exact = {name: value for name in names if (value := getattr(wanted, name)) is not None}
    found = Kill.objects.filter(**exact)
    if wanted.start is not None:
        found = found.filter(at__gte=wanted.start)
    if wanted.end is not None:
        found = found.filter(at__lt=wanted.end)
    if before is not None:
        found = found.filter(Q(at__lt=before.at) | Q(at=before.at, id__lt=before.id))
    rows = list(found.order_by("-at", "-id")[: limit + 1])
    page = rows[:limit]
    return KillPage(page, KillPageKey(page[-1].at, page[-1].pk) if len(rows) > limit else None)


def write_kills(rows: Sequence[Kill]) -> None:
    """Idempotent. Raises DatabaseError."""
    Kill.objects.bulk_create(rows, ignore_conflicts=True)


def remove_old_kills(retention_seconds: float) -> int:
    removed, _ = Kill.objects.filter(at__lt=timezone.now() - timedelta(seconds=retention_seconds)).delete()
    return int(removed)


def build_row(kill: TerminatedSession, *, shard: str) -> Kill:
    return Kill(
        at=kill.at,
        shard=shard,
        instance=kill.instance,
        action=kill.action,
        reason=kill.reason,
        session_class=kill.session_class,
        age_seconds=kill.age_seconds,
        budget_seconds=kill.budget_seconds,
        pid=kill.pid,
        backend_start=kill.backend_start,
        since=kill.since,
        user=kill.user,
        application=kill.application,
        client_address=kill.client_address,
        fingerprint=kill.fingerprint,
        statement=kill.statement,
    )
