"""Reads, transactions and health probes of one process on one database instance, with bounded waits and typed errors.

Connects lazily and is never shared across a fork: the owner (`clusterproxy`) makes new proxies in the child.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import psycopg

from configservice.topology.model import Instance
from runtime.breaker import Breaker, BreakerEvent, BreakerState
from shardproxy.connection import DeadlineConnection, SessionMode, format_session_name
from shardproxy.errors import (
    BadStatement,
    DeadlineExceeded,
    ForeignShard,
    HigherGeneration,
    InstanceUnavailable,
    LowerTerm,
    OutcomeUnknown,
    PoolExhausted,
    ReadOnlyInstance,
    ShardProxyError,
    StatementTimeout,
)
from shardproxy.health import InstanceProbe, Measurement
from shardproxy.pool import InstancePool
from shardproxy.query import Query, QueryClass
from shardproxy.settings import PoolSettings
from shardproxy.translate import translate, translate_in_commit

logger = logging.getLogger(__name__)

RowConnection = psycopg.Connection[dict[str, Any]]

_TERMINATED_BY_ADMINISTRATOR = "57P01"
_READ_MODE = "SHOW transaction_read_only"
_READ_MODE_AND_IDENTITY = (
    "SELECT current_setting('transaction_read_only') AS transaction_read_only, term, generation,"
    " cluster_id::text AS cluster_id FROM shard_identity"
)


class ResponseTime(NamedTuple):
    """Mean response time of an instance in `seconds` as of `at` (monotonic clock), weighted exponentially by age.

    Weighted by time, not by count: a thousand answers within a second weigh as much as that second.
    """

    seconds: float = 0.0
    at: float = 0.0


UNKNOWN = ResponseTime()


class InstanceProxy:
    """Thread-safe. Deadlines (`deadline_at`) are instants on the monotonic clock."""

    def __init__(self, instance: Instance, settings: PoolSettings) -> None:
        self.instance = instance
        self._settings = settings
        self._pool = InstancePool(instance, settings)
        self._probe = InstanceProbe(instance, settings)
        self._breaker = Breaker(open_seconds=settings.breaker_open_seconds)
        self._last_failure = ""
        self._writing: set[DeadlineConnection] = set()
        self._writing_lock = threading.Lock()  # guards _writing
        # Without a lock: entries are replaced as a whole, and a lost update only costs one sample.
        self._response_times: dict[QueryClass, ResponseTime] = {}

    @property
    def breaker_state(self) -> BreakerState:
        return self._breaker.state

    def accepts(self, *, now: float) -> bool:
        """Whether a call made now would reach the server, as far as this process knows."""
        return self._breaker.may_pass(now=now)

    @property
    def in_flight(self) -> int:
        """Callers in this process that have a connection to the server or wait for one."""
        return self._pool.in_flight

    def estimate_seconds(self, query_class: QueryClass, *, now: float) -> float:
        """Expected seconds of a read of this class on this instance, from recent answers; 0 without any."""
        known = self._response_times.get(query_class, UNKNOWN)
        return estimate_seconds(known, now=now, fade_seconds=self._settings.response_fade_seconds)

    def read(
        self, query: Query, params: Mapping[str, Any], *, deadline_at: float, primary_only: bool = False
    ) -> list[dict[str, Any]]:
        """Rows of one read-only statement: one round trip if the connection last ran a query of the same class.

        The server cancels the statement at the budget of its class, the client gives up at `deadline_at`. With
        `primary_only`, an answer from a standby raises ReadOnlyInstance.
        """
        started_at = time.monotonic()
        mode = self._get_mode(query.query_class, read_only=True)
        try:
            with self._borrow(query.query_class, deadline_at=deadline_at) as connection:
                try:
                    connection.set_mode(mode)
                    rows = connection.execute(query.text, params, binary=query.binary).fetchall()
                except (psycopg.Error, UnicodeError) as error:
                    raise self._translate(error, connection) from error
                if primary_only and connection.is_on_standby:
                    raise ReadOnlyInstance("is a standby, not the primary", instance=self.instance.name)
        except (DeadlineExceeded, StatementTimeout):
            self._observe(query.query_class, started_at)
            raise
        self._observe(query.query_class, started_at)
        return rows

    @contextmanager
    def transaction(
        self,
        query_class: QueryClass,
        *,
        deadline_at: float,
        min_term: int | None = None,
        cluster_id: str = "",
        generation: int = 0,
        waits_for_standbys: bool = True,
    ) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A transaction with `statement_timeout` and `lock_timeout` of the query class, set for it alone.

        Any exception in the body rolls back; driver errors are raised as ShardProxyError. If COMMIT gets no answer, or
        its wait for standbys was interrupted, the error is OutcomeUnknown. Without `waits_for_standbys`, COMMIT does
        not wait for standbys, whatever `synchronous_standby_names` says. Raised before the body runs: ReadOnlyInstance
        if the server takes no writes; and, checked only with `min_term`, LowerTerm if the server's shard term (table
        `shard_identity`) is below `min_term`, HigherGeneration if its topology generation is above `generation`, and
        ForeignShard if it belongs to another cluster than `cluster_id`.
        """
        with self._borrow(query_class, deadline_at=deadline_at) as connection, self._track_writing(connection):
            try:
                self._begin(
                    connection,
                    query_class,
                    deadline_at=deadline_at,
                    min_term=min_term,
                    cluster_id=cluster_id,
                    generation=generation,
                    waits_for_standbys=waits_for_standbys,
                )
                self._report(BreakerEvent.SUCCESS)  # now: the body may take long, and others wait for the breaker
                yield connection
            except (psycopg.Error, UnicodeError) as error:
                ours = self._translate(error, connection)
                self._roll_back(connection)
                raise ours from error
            except BaseException:
                self._roll_back(connection)
                raise
            self._commit(connection)

    def cut_transactions(self) -> int:
        """Ends the waits of all open transactions on a server that has been replaced. Returns how many.

        Their outcome is void, and a frozen server would hold the callers until their deadlines.
        """
        with self._writing_lock:
            return sum(connection.cut() for connection in self._writing)

    def measure(self, *, timeout_seconds: float) -> Measurement:
        """One health probe. Success closes the breaker, since the server answers again.

        Failure does not open it: queries detect that themselves, and a failure of the probe alone must not stop them.
        """
        measurement = self._probe.measure(timeout_seconds=timeout_seconds)
        self._report(BreakerEvent.SUCCESS)
        return measurement

    def get_stats(self) -> dict[str, int]:
        return self._pool.get_stats()

    def close(self) -> None:
        """Closes idle connections now, and connections in use when their callers return them."""
        self._pool.close()

    def close_probe(self) -> None:
        """Called by the thread that calls `measure`, after its last call."""
        self._probe.close()

    @contextmanager
    def _borrow(self, query_class: QueryClass, *, deadline_at: float) -> Iterator[DeadlineConnection]:
        """Passes the breaker, takes a connection, and reports the outcome to the breaker."""
        started_at = time.monotonic()
        if started_at >= deadline_at:
            raise DeadlineExceeded("the deadline had passed before the query was sent", instance=self.instance.name)
        if not self._breaker.try_pass(now=started_at):
            raise InstanceUnavailable(f"circuit breaker open after: {self._last_failure}", instance=self.instance.name)
        try:
            connection = self._pool.take(query_class, deadline_at=deadline_at)
            try:
                yield connection
            finally:
                self._pool.give_back(connection, query_class)
        except ShardProxyError as error:
            self._report_error(error, had_seconds=deadline_at - started_at, query_class=query_class)
            raise
        self._report(BreakerEvent.SUCCESS)

    @contextmanager
    def _track_writing(self, connection: DeadlineConnection) -> Iterator[None]:
        with self._writing_lock:
            self._writing.add(connection)
        try:
            yield
        finally:
            with self._writing_lock:
                self._writing.discard(connection)

    def _begin(
        self,
        connection: DeadlineConnection,
        query_class: QueryClass,
        *,
        deadline_at: float,
        min_term: int | None,
        cluster_id: str,
        generation: int,
        waits_for_standbys: bool,
    ) -> None:
        budget_ms = self._get_budget_ms(query_class)
        idle_ms = int(self._settings.query.get_idle_seconds(query_class) * 1000)
        if connection.mode is not None and connection.mode.read_only:
            connection.set_mode(self._get_mode(query_class, read_only=False))
        remaining_ms = max(1, int((deadline_at - time.monotonic()) * 1000))
        statement_ms = min(budget_ms, remaining_ms)
        cursor = connection.execute(
            f"BEGIN; SET LOCAL statement_timeout = {statement_ms};"
            f" SET LOCAL lock_timeout = {min(int(self._settings.lock_timeout_seconds * 1000), statement_ms)};"
            f" SET LOCAL idle_in_transaction_session_timeout = {idle_ms};"
            f" SET LOCAL synchronous_commit = {'on' if waits_for_standbys else 'local'};"
            f" SET LOCAL application_name = '{format_session_name(self._settings.application_name, query_class)}';"
            f" {_READ_MODE if min_term is None else _READ_MODE_AND_IDENTITY}",
            prepare=False,
        )
        cursor.set_result(-1)
        row = cursor.fetchone()
        if row is None or row["transaction_read_only"] != "off":
            raise ReadOnlyInstance("takes no writes", instance=self.instance.name)
        if min_term is None:
            return
        if cluster_id and row["cluster_id"] not in (None, cluster_id):
            raise ForeignShard(f"belongs to cluster {row['cluster_id']}", instance=self.instance.name)
        if row["term"] < min_term:
            raise LowerTerm(f"has shard term {row['term']}, the topology has {min_term}", instance=self.instance.name)
        if row["generation"] > generation:
            raise HigherGeneration(
                f"has topology generation {row['generation']}, this process {generation}", instance=self.instance.name
            )

    def _commit(self, connection: DeadlineConnection) -> None:
        warnings: list[str] = []
        handler = partial(_record_warning, warnings)
        connection.add_notice_handler(handler)
        try:
            outcome = connection.execute("COMMIT", prepare=False).statusmessage
        except psycopg.Error as error:
            raise translate_in_commit(error, instance=self.instance.name, connection_lost=connection.lost) from error
        finally:
            connection.remove_notice_handler(handler)
        if outcome != "COMMIT":
            # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK instead of an error.
            raise BadStatement("the transaction had failed and was rolled back", instance=self.instance.name)
        if warnings:
            # A cancelled wait for standbys has committed locally and answers COMMIT; the warning is the only sign.
            raise OutcomeUnknown(f"committed here, perhaps on no standby: {warnings[0]}", instance=self.instance.name)

    def _roll_back(self, connection: DeadlineConnection) -> None:
        """Never raises: a connection that cannot roll back is closed, which makes the server roll back."""
        if connection.lost:
            return
        connection.deadline_at = time.monotonic() + self._settings.rollback_seconds
        try:
            connection.execute("ROLLBACK", prepare=False)
        except psycopg.Error as error:
            logger.warning("%s: ROLLBACK failed, closing the connection: %s", self.instance.name, error)
            connection.close()

    def _translate(self, error: psycopg.Error | UnicodeError, connection: DeadlineConnection) -> ShardProxyError:
        return translate(error, instance=self.instance.name, connection_lost=connection.lost)

    def _get_mode(self, query_class: QueryClass, *, read_only: bool) -> SessionMode:
        return SessionMode(
            read_only=read_only,
            statement_timeout_ms=self._get_budget_ms(query_class),
            session_name=format_session_name(self._settings.application_name, query_class),
        )

    def _get_budget_ms(self, query_class: QueryClass) -> int:
        return int(self._settings.query.get_seconds(query_class) * 1000)

    def _observe(self, query_class: QueryClass, started_at: float) -> None:
        """Called for answers and timeouts only: an immediate error must not look like a fast server."""
        now = time.monotonic()
        before = self._response_times.get(query_class, UNKNOWN)
        self._response_times[query_class] = observe(
            before, now - started_at, now=now, fade_seconds=self._settings.response_fade_seconds
        )

    def _report_error(self, error: ShardProxyError, *, had_seconds: float, query_class: QueryClass) -> None:
        event = _find_event(
            error, had_seconds=had_seconds, answer_seconds=self._settings.get_answer_seconds(query_class)
        )
        if event is BreakerEvent.FAILURE:
            self._last_failure = str(error)
        if event is not None:
            self._report(event)

    def _report(self, event: BreakerEvent) -> None:
        before = self._breaker.report(event, now=time.monotonic())
        if event is BreakerEvent.FAILURE and before is BreakerState.CLOSED:
            logger.warning(
                "circuit breaker open for %.1f s: %s", self._settings.breaker_open_seconds, self._last_failure
            )
        elif event is BreakerEvent.SUCCESS and before is not BreakerState.CLOSED:
            logger.info("%s: answers again, circuit breaker closed", self.instance.name)


def _record_warning(warnings: list[str], diagnostic: psycopg.errors.Diagnostic) -> None:
    if diagnostic.severity_nonlocalized == "WARNING":
        warnings.append(diagnostic.message_primary or "")


def _find_event(error: ShardProxyError, *, had_seconds: float, answer_seconds: float) -> BreakerEvent | None:
    """The breaker event of an error: None when the error says nothing about the server.

    A deadline shorter than the time that a healthy server may take proves nothing, nor does a full pool or a COMMIT
    that waits for a standby. A session terminated by an administrator proves that the server is up.
    """
    if isinstance(error, PoolExhausted | OutcomeUnknown):
        return None
    if isinstance(error, DeadlineExceeded):
        return BreakerEvent.FAILURE if had_seconds >= answer_seconds else None
    if isinstance(error, InstanceUnavailable) and error.sqlstate != _TERMINATED_BY_ADMINISTRATOR:
        return BreakerEvent.FAILURE
    return BreakerEvent.SUCCESS


def observe(before: ResponseTime, seconds: float, *, now: float, fade_seconds: float) -> ResponseTime:
    """Adds an answer that took `seconds`. After `fade_seconds` an answer has 1/e of its weight."""
    if before.at == 0.0:
        return ResponseTime(seconds, now)
    weight = math.exp(-max(0.0, now - before.at) / fade_seconds)
    return ResponseTime(before.seconds * weight + seconds * (1.0 - weight), now)


def estimate_seconds(known: ResponseTime, *, now: float, fade_seconds: float) -> float:
    """Expected seconds of an answer. Decays without new answers, so that an instance that was slow is tried again."""
    return known.seconds * math.exp(-max(0.0, now - known.at) / fade_seconds)
