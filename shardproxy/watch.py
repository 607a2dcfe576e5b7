"""The watch over one instance: looks every interval, kills what the plan names, says what it saw.

It holds one connection, made as a role for which the server keeps slots free (`reserved_connections`), so that a server
whose connections are all taken can still be freed, also by a watch that starts only then.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from configservice.topology.model import Instance
from runtime.backoff import Backoff
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from shardproxy.errors import DeadlineExceeded, InstanceUnavailable, ShardProxyError
from shardproxy.kill_plan import KillPolicy
from shardproxy.killer import Killer, TerminatedSession
from shardproxy.own_connection import OwnConnection
from shardproxy.session_names import Purpose
from shardproxy.settings import PoolSettings
from shardproxy.vitals import Vitals, read_database_bytes, read_vitals

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """`user` and `password_ref` of the role the watch connects as; empty: the instance's own.

    `answer_seconds` bounds each question, `backoff_max_seconds` the pause between attempts at a server that is away.
    """

    interval_seconds: float
    answer_seconds: float
    backoff_max_seconds: float
    vitals_seconds: float
    size_seconds: float
    pool: PoolSettings
    user: str = ""
    password_ref: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Whether a server answered at its address just now, be it by an error. `detail` says what went wrong."""

    instance: str
    host: str
    port: int
    is_reachable: bool
    detail: str = ""


class Observer(Protocol):
    """Of one watch, told by its thread; must neither raise nor wait."""

    def on_kill(self, kill: TerminatedSession) -> None: ...

    def on_refusal(self) -> None:
        """A session had to go and the watch's role may not end it."""

    def on_sighting(self, sighting: Sighting) -> None: ...

    def on_vitals(self, vitals: Vitals) -> None: ...

    def on_database_bytes(self, database_bytes: float) -> None: ...


class InstanceWatch:
    """One thread, from `start` to `stop`. Nothing that happens to the server ends it."""

    def __init__(
        self,
        instance: Instance,
        settings: WatchSettings,
        policy: KillPolicy,
        *,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instance = instance
        self._settings = settings
        self._backoff = Backoff(2 * settings.interval_seconds, settings.backoff_max_seconds, jitter=0.5)
        self._observer = observer
        self._clock = clock
        self._connection = OwnConnection(_connect_as(instance, settings), settings.pool, purpose=Purpose.SHARD_PROXY)
        self._killer = Killer(
            instance,
            self._connection,
            policy,
            on_kill=observer.on_kill,
            on_refusal=observer.on_refusal,
        )
        self._vitals_at = self._size_at = clock()
        self._state: tuple[bool, bool] | None = None  # reachable, all well: what has been logged
        self._rights = OutageLog(
            logger,
            failed=f"{instance.name}: the watch's role may not see other roles' sessions and ends none",
            recovered=f"{instance.name}: the watch's role sees the sessions of other roles",
            level=logging.ERROR,
        )
        self._failures = 0  # rounds in a row
        self._task = PeriodicTask(
            f"watch-{instance.name}",
            self._look,
            interval_seconds=settings.interval_seconds,
            on_end=self._connection.close,
        )
        self.looked_at = clock()
        """When the last round ended, whatever came of it, by the monotonic clock."""

    @property
    def is_reachable(self) -> bool:
        """As of the last round."""
        return self._state is not None and self._state[0]

    def start(self) -> None:
        self._task.start()

    def stop(self) -> None:
        """Does not wait; see `join`."""
        self._task.stop()

    def join(self, *, timeout_seconds: float) -> None:
        self._task.stop(timeout_seconds=timeout_seconds)

    def _look(self) -> float | None:
        try:
            self._do_round()
        except ShardProxyError as error:
            self._failures += 1
            self._report(is_reachable=self._is_answer(error), detail=str(error))
            return self._backoff.compute_seconds(self._failures)
        else:
            self._failures = 0
            self._report(is_reachable=True)
            return None
        finally:
            self.looked_at = self._clock()

    def _do_round(self) -> None:
        seconds, now = self._settings.answer_seconds, self._clock()
        self._killer.run_once(timeout_seconds=seconds)
        if now >= self._vitals_at:
            vitals = read_vitals(self._connection, self.instance, timeout_seconds=seconds)
            self._vitals_at = now + self._settings.vitals_seconds
            if vitals.sees_sessions:
                self._rights.report_success()
            else:
                self._rights.report_failure("GRANT pg_monitor")
            self._observer.on_vitals(vitals)
        if now >= self._size_at:
            self._size_at = now + self._settings.size_seconds  # also when it fails: it is the dearest question
            self._observer.on_database_bytes(read_database_bytes(self._connection, timeout_seconds=seconds))

    def _is_answer(self, error: ShardProxyError) -> bool:
        """Whether the server is there, judged by what went wrong."""
        if isinstance(error, DeadlineExceeded):
            return False
        return not isinstance(error, InstanceUnavailable) or self._connection.is_there()

    def _report(self, *, is_reachable: bool, detail: str = "") -> None:
        state = (is_reachable, not detail)
        if state != self._state:
            logger.log(logging.WARNING if detail else logging.INFO, "%s", detail or f"{self.instance.name}: watched")
        self._state = state
        self._observer.on_sighting(
            Sighting(self.instance.name, self.instance.host, self.instance.port, is_reachable, detail)
        )


def _connect_as(instance: Instance, settings: WatchSettings) -> Instance:
    if not settings.user:
        return instance
    return msgspec.structs.replace(instance, user=settings.user, password_ref=settings.password_ref)
