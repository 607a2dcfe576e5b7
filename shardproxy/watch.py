"""Watches one instance: runs the session reaper, checks reachability and reads metrics, each at its interval.

Uses one dedicated connection of a role with reserved connection slots (`reserved_connections`), so that it can free a
server whose other connections are all in use, even if the watch starts only then.
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
from shardproxy.connection import Purpose
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.errors import DeadlineExceeded, InstanceUnavailable, ShardProxyError
from shardproxy.instance_metrics import InstanceMetrics, read_database_bytes, read_instance_metrics
from shardproxy.kill_plan import KillPolicy
from shardproxy.session_reaper import SessionReaper, TerminatedSession
from shardproxy.settings import PoolSettings, WatchSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reachability:
    """Result of one check of an instance. An error from the server counts as reachable; `detail` is the error."""

    instance: str
    host: str
    port: int
    is_reachable: bool
    detail: str = ""


class Observer(Protocol):
    """Receives the results of one watch, in the thread of the watch. Must neither raise nor block."""

    def on_kill(self, kill: TerminatedSession) -> None: ...

    def on_refusal(self) -> None:
        """The role of the watch has no permission to end a session of the plan."""

    def on_reachability(self, reachability: Reachability) -> None: ...

    def on_metrics(self, metrics: InstanceMetrics) -> None: ...

    def on_database_bytes(self, database_bytes: float) -> None: ...


class InstanceWatch:
    """Runs in one thread, from `start` to `stop`. No failure of the server ends the thread."""

    def __init__(
        self,
        instance: Instance,
        settings: WatchSettings,
        policy: KillPolicy,
        *,
        pool: PoolSettings,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instance = instance
        self._settings = settings
        self._backoff = Backoff(2 * settings.interval_seconds, settings.backoff_max_seconds, jitter=0.5)
        self._observer = observer
        self._clock = clock
        self._connection = DedicatedConnection(_connect_as(instance, settings), pool, purpose=Purpose.SHARD_PROXY)
        self._reaper = SessionReaper(
            instance,
            self._connection,
            policy,
            on_kill=observer.on_kill,
            on_refusal=observer.on_refusal,
        )
        self._metrics_at = self._size_at = clock()
        self._state: tuple[bool, bool] | None = None  # last logged: is reachable, has no error
        self._rights = OutageLog(
            logger,
            failed=f"{instance.name}: the role of the watch may not read other roles' sessions, so none is ended",
            recovered=f"{instance.name}: the role of the watch may read other roles' sessions",
            level=logging.ERROR,
        )
        self._failures = 0  # rounds in a row
        self._task = PeriodicTask(
            f"watch-{instance.name}",
            self._run_round,
            interval_seconds=settings.interval_seconds,
            on_end=self._connection.close,
        )
        self.round_ended_at = clock()
        """End of the last round, successful or not (monotonic clock)."""

    @property
    def is_reachable(self) -> bool:
        """Result of the last round."""
        return self._state is not None and self._state[0]

    def start(self) -> None:
        self._task.start()

    def stop(self) -> None:
        """Does not wait for the thread; see `join`."""
        self._task.stop()

    def join(self, *, timeout_seconds: float) -> None:
        self._task.stop(timeout_seconds=timeout_seconds)

    def _run_round(self) -> float | None:
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
            self.round_ended_at = self._clock()

    def _do_round(self) -> None:
        seconds, now = self._settings.answer_seconds, self._clock()
        self._reaper.run_once(timeout_seconds=seconds)
        if now >= self._metrics_at:
            metrics = read_instance_metrics(self._connection, self.instance, timeout_seconds=seconds)
            self._metrics_at = now + self._settings.metrics_seconds
            if metrics.sees_sessions:
                self._rights.report_success()
            else:
                self._rights.report_failure("GRANT pg_monitor")
            self._observer.on_metrics(metrics)
        if now >= self._size_at:
            self._size_at = now + self._settings.size_seconds  # also after a failure: this statement is expensive
            self._observer.on_database_bytes(read_database_bytes(self._connection, timeout_seconds=seconds))

    def _is_answer(self, error: ShardProxyError) -> bool:
        """Whether an error proves that the server is up."""
        if isinstance(error, DeadlineExceeded):
            return False
        return not isinstance(error, InstanceUnavailable) or self._connection.ping()

    def _report(self, *, is_reachable: bool, detail: str = "") -> None:
        state = (is_reachable, not detail)
        if state != self._state:
            logger.log(
                logging.WARNING if detail else logging.INFO, "%s", detail or f"{self.instance.name}: the watch works"
            )
        self._state = state
        self._observer.on_reachability(
            Reachability(self.instance.name, self.instance.host, self.instance.port, is_reachable, detail)
        )


def _connect_as(instance: Instance, settings: WatchSettings) -> Instance:
    if not settings.user:
        return instance
    return msgspec.structs.replace(instance, user=settings.user, password_ref=settings.password_ref)
