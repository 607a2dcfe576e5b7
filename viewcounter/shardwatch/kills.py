"""Kills: kept in memory until the control database has them, listed from there.

A kill is never held up by its record. While the control database is down the newest ones wait, up to a bound; one that
is written twice, by two shard proxies or after an answer that was lost, is one row.
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
from shardproxy.session_reaper import TerminatedSession as SeenKill
from viewcounter.shardwatch.models import Kill

logger = logging.getLogger(__name__)

BATCH = 100
RETRY_SECONDS = 2.0
RETENTION_CHECK_SECONDS = 3600.0
_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`max_waiting` kills are kept while the control database is down; stored ones go after `retention_seconds`."""

    max_waiting: int
    retention_seconds: float


class KillStore:
    """`put` from any thread; one thread writes, from `start` to `stop`.

    Invariant: at most `max_waiting` kills wait, the newest ones.
    """

    def __init__(self, settings: StoreSettings, *, write: Callable[[Sequence[Kill]], None] | None = None) -> None:
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

    def put(self, kill: SeenKill, *, shard: str) -> None:
        """Never waits for a database."""
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
        """What waits is written if that goes at once."""
        self._task.stop(timeout_seconds=timeout_seconds)
        if self._waiting:
            logger.warning("%d kills were not stored: they stand in this log only", len(self._waiting))

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
        """False: to be tried again. Rows that no database takes are given up, or they would stop all behind them."""
        if not batch:
            return True
        try:
            self._write(batch)
        except (DataError, IntegrityError):
            logger.exception("%d kills cannot be stored", len(batch))
            KILLS_DROPPED.inc(len(batch))
        except Error as error:
            logger.warning("kills are not stored, %d wait: %s", len(self._waiting), error)
            return False
        finally:
            connection.close()  # kills are rare, and a connection that has seen an error is of no use
        self._forget(batch)
        return True

    def _forget(self, written: Sequence[Kill]) -> None:
        """Some may have been dropped meanwhile, to make room."""
        done = {id(row) for row in written}
        with self._lock:
            while self._waiting and id(self._waiting[0]) in done:
                self._waiting.popleft()
            KILLS_WAITING.set(len(self._waiting))

    def _remove_old(self) -> None:
        try:
            remove_old_kills(self._settings.retention_seconds)
        except Error as error:
            logger.warning("old kills are not removed: %s", error)
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class KillFilter:
    """None asks for all. `start` is inclusive, `end` exclusive."""

    shard: str | None = None
    instance: str | None = None
    session_class: str | None = None
    action: str | None = None
    reason: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class KillPlace:
    """Where a page ended."""

    at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class KillPage:
    kills: list[Kill]
    following: KillPlace | None


def list_kills(wanted: KillFilter, *, before: KillPlace | None, limit: int) -> KillPage:
    """Newest first. `following` is None on the last page."""
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
    return KillPage(page, KillPlace(page[-1].at, page[-1].pk) if len(rows) > limit else None)


def write_kills(rows: Sequence[Kill]) -> None:
    """May run twice. Raises DatabaseError."""
    Kill.objects.bulk_create(rows, ignore_conflicts=True)


def remove_old_kills(retention_seconds: float) -> int:
    removed, _ = Kill.objects.filter(at__lt=timezone.now() - timedelta(seconds=retention_seconds)).delete()
    return int(removed)


def build_row(kill: SeenKill, *, shard: str) -> Kill:
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
