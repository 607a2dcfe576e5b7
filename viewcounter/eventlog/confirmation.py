"""Before a process appends to a log in a new session, the log's end is compared with what others know of it.

A server that has been started again may have come back with older data, without anybody noticing. Three steps, in this
order: the rows of all partitions take entries of the new session only, so that no batch that was read before moves a
position any more; then the ends of the log are compared with the positions; then entries are appended.

While no source of the topology answers, the log may have been replaced without this process hearing of it. Then the
shards are asked for the log's term every few seconds: they are told of another one before it opens. A log of a lower
term than theirs is not appended to.

A log that holds less than has been applied or acknowledged begins another term. The first entry of each partition in it
says that entries before may be lost, and its reader records the loss. No operator is asked: nothing is deleted.
"""

import logging
import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from clusterproxy.errors import ClusterProxyError
from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from runtime.metrics import LOG_TERMS_BEGUN
from shardproxy.errors import ShardProxyError
from shardproxy.query import QueryClass
from viewcounter.eventlog.errors import EventLogUnavailable, LogClockSkewed
from viewcounter.eventlog.interface import START, EventLog, LogIdentity, Position, get_next_term
from viewcounter.storage.log_sessions import adopt_log_session, raise_log_term
from viewcounter.storage.partitions import ELSEWHERE, READ_STATES

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""Of which each but the last may find that a term has begun meanwhile."""

UNHEARD_SECONDS = 10.0
"""Without an answer from a source of the topology for so long, the shards are asked whether the log was replaced."""

Row = dict[str, Any]


class LogConfirmation:
    """Compares the log with the shards that answer. Used by one thread at a time."""

    def __init__(
        self,
        get_cluster: Callable[[], ClusterProxy],
        *,
        seconds: float,
        clock_skew_seconds: float,
        unheard_seconds: float = UNHEARD_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`seconds` bounds the wait for each shard. `clock_skew_seconds`: largest difference of this process's clock
        from most of the others."""
        self._get_cluster = get_cluster
        self._seconds = seconds
        self._clock_skew_seconds = clock_skew_seconds
        self._unheard_seconds = unheard_seconds
        self._confirmed_at = -math.inf
        self._now = now
        self._wall_offset_seconds = 0.0

    def is_due(self) -> bool:
        """This process's clock was set since the last comparison, or it has not heard of publications for a while."""
        if abs(self._get_wall_offset() - self._wall_offset_seconds) > self._clock_skew_seconds / 2:
            return True
        is_old = time.monotonic() - self._confirmed_at > self._unheard_seconds
        return is_old and self._get_cluster().unheard_seconds > self._unheard_seconds

    def _get_wall_offset(self) -> float:
        return self._now().timestamp() - time.monotonic()

    def __call__(self, log: EventLog, *, is_behind: bool = False) -> None:
        """`is_behind`: the caller knows that the server holds less than it has acknowledged.

        Raises EventLogError. A shard that does not answer is left out.
        """
        cluster = self._get_cluster()
        self._wall_offset_seconds = self._get_wall_offset()
        for _ in range(ATTEMPTS):
            try:
                if self._confirm(cluster, log, is_behind=is_behind):
                    self._confirmed_at = time.monotonic()
                    return
            except (ClusterProxyError, ShardProxyError) as error:
                raise EventLogUnavailable(f"the log cannot be compared with the shards: {error}") from error
            is_behind = False
        raise EventLogUnavailable("terms of the log begin faster than they can be confirmed")

    def _confirm(self, cluster: ClusterProxy, log: EventLog, *, is_behind: bool) -> bool:
        """Whether the log may be used; False if a term has begun."""
        session = log.session
        rows = self._read_rows(cluster)
        self._check_clock(rows, log)
        others = [
            row for row in rows if row["log_session"] != session.text and row["log_term"] <= session.identity.term
        ]
        self._write(
            cluster,
            [row["partition"] for row in others],
            lambda connection, partitions: adopt_log_session(
                connection, partitions, term=session.identity.term, session=session.text
            ),
        )
        if others:
            rows = self._read_rows(cluster)
        ends = log.barrier([row["partition"] for row in rows])
        positions = {row["partition"]: Position.parse(row["position"]) for row in rows}
        behind = {p: position for p, position in positions.items() if ends[p] < position}
        terms = [max(row["log_term"], positions[row["partition"]].term) for row in rows]
        newest = max(terms, default=session.identity.term)
        has_terms = session.identity.term > 0  # the release before derived positions from a clock
        if not (is_behind or behind or (has_terms and newest > session.identity.term)):
            return True
        if has_terms and newest > session.identity.term and cluster.unheard_seconds > self._unheard_seconds:
            raise EventLogUnavailable(
                f"the shards know term {newest} of the log, this server is at term {session.identity.term}, and no "
                "source of the topology answers: the log may have been replaced"
            )
        term = get_next_term(max(newest, session.identity.term))
        self._write(cluster, list(positions), lambda connection, some: raise_log_term(connection, some, term=term))
        self._begin_term(cluster, log, session.identity, term=term, behind=behind)
        return False

    def _begin_term(
        self,
        cluster: ClusterProxy,
        log: EventLog,
        replaced: LogIdentity,
        *,
        term: int,
        behind: Mapping[int, Position],
    ) -> None:
        """The shards know of the term already, so that no process goes on with an older log. Does nothing if the server
        does not hold `replaced` any more. `behind`: applied positions past the log's end."""
        lost = dict.fromkeys(range(cluster.topology.partition_count), START) | dict(behind)
        if log.open(LogIdentity(replaced.id, term), replaces=replaced, lost=lost):
            LOG_TERMS_BEGUN.inc()
            logger.error(
                "the log server holds less than it has acknowledged: it was restored from an older copy, or has lost "
                "its end. The log goes on with term %d; entries of term %d that were not counted are reported as lost",
                term,
                replaced.term,
            )

    def _read_rows(self, cluster: ClusterProxy) -> list[Row]:
        scattered = cluster.scatter(READ_STATES, {}, consistency=Consistency.STRONG, deadline_seconds=self._seconds)
        for shard_id in scattered.missing:
            name = cluster.topology.get_shard(shard_id).name
            logger.warning("the log is used without a comparison with %s, which does not answer", name)
        return [
            row | {"shard_id": shard_id}
            for shard_id, result in scattered.results.items()
            for row in result.rows
            if row["state"] not in ELSEWHERE
        ]

    def _write(
        self, cluster: ClusterProxy, partitions: Collection[int], write: Callable[[Any, Collection[int]], int]
    ) -> None:
        """On each shard of the partitions. Raises EventLogUnavailable for one that has answered a read."""
        topology = cluster.topology
        for shard in topology.shards:
            here = [partition for partition in partitions if topology.assignments[partition].shard_id == shard.id]
            if not here:
                continue
            try:
                with cluster.shard_transaction(
                    shard.id, query_class=QueryClass.FLUSH, deadline_seconds=self._seconds
                ) as connection:
                    write(connection, here)
            except (ClusterProxyError, ShardProxyError) as error:
                raise EventLogUnavailable(f"shard {shard.name} cannot be told of the log's session: {error}") from error

    def _check_clock(self, rows: Collection[Row], log: EventLog) -> None:
        """Raises LogClockSkewed if this process's clock is the one that is wrong."""
        now = self._now()
        others = {row["shard_id"]: row["read_at"] for row in rows}
        clocks = [*others.values(), log.read_tails([]).read_at]
        ahead_seconds = statistics.median((now - other).total_seconds() for other in clocks)
        if abs(ahead_seconds) > self._clock_skew_seconds:
            direction = "ahead of" if ahead_seconds > 0 else "behind"
            raise LogClockSkewed(
                f"this process's clock is {abs(ahead_seconds):.0f} s {direction} those of the log server and the shards"
            )
