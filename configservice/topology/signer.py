"""Signs topologies that other processes publish, and repairs the cache: a thread of every config service.

Web processes, movers and commands change the topology without a private key. Their commit wakes this thread, which adds
the signature to the row and pushes the snapshot to the cache; a poll every few seconds covers a lost notification. With
a new key it adds a signature to the newest snapshot: see docs/operations/topology.md.
"""

import json
import logging
import select
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol

import msgspec
import psycopg

from configservice.errors import (
    BadSigningKey,
    NotSignable,
    TopologyCacheDamaged,
    TopologyCacheEmpty,
    TopologyCacheUnavailable,
)
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.model import Topology, decode_topology
from configservice.topology.publication import UNSIGNED_CHANNEL, push_to_cache, read_from_cache
from configservice.topology.published_snapshot import PublishedSnapshot
from configservice.topology.signing import SigningKey
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

SESSION_NAME = "configservice signer"
POLL_SECONDS = 5.0
REPAIR_SECONDS = 5.0
"""Interval of the comparison of the cache with the control database."""
RECONNECT_SECONDS = 1.0
STOP_SECONDS = 3.0

_LISTEN = f"LISTEN {UNSIGNED_CHANNEL}"
_READ_NEWEST = "SELECT epoch, snapshot, signatures FROM configservice_topologyepoch ORDER BY epoch DESC LIMIT 1"
_HAS_UNSIGNED = """
SELECT NOT signatures ? %(key_id)s AS is_unsigned, current_setting('transaction_read_only') = 'on' AS is_read_only
FROM configservice_topologyepoch ORDER BY epoch DESC LIMIT 1
"""
_READ_LAST_SIGNED = """
SELECT snapshot FROM configservice_topologyepoch
WHERE signatures <> '{}' AND epoch < %(epoch)s ORDER BY epoch DESC LIMIT 1
"""
_ADD_SIGNATURE = """
UPDATE configservice_topologyepoch SET signatures = signatures || %(added)s::jsonb
WHERE epoch = %(epoch)s AND snapshot = %(snapshot)s RETURNING signatures
"""


class ListeningConnection(Protocol):
    """A psycopg connection in autocommit mode, rows as dicts, that gives up at `deadline_at` (monotonic clock)."""

    deadline_at: float | None

    def execute(self, query: Any, params: Any = ..., *, prepare: bool | None = ...) -> Any: ...

    def add_notify_handler(self, callback: Callable[[psycopg.Notify], None]) -> None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class TopologySigner:
    """`read_key` is called before every use, so that a key that has changed is used without a restart. `cluster_id`:
    from the settings; empty if the control database alone defines it. `call_seconds` bounds one statement."""

    def __init__(
        self,
        read_key: Callable[[], SigningKey],
        *,
        open_connection: Callable[[str], ListeningConnection],
        cache_url: str,
        cluster_id: str,
        call_seconds: float,
    ) -> None:
        self._read_key = read_key
        self._key = read_key()
        self._open_connection = open_connection
        self._cache_url = cache_url
        self._cluster_id = cluster_id
        self._call_seconds = call_seconds
        self._outage = OutageLog(
            logger,
            failed="topologies are not signed, the control database does not answer or takes no writes",
            recovered="topologies are signed again",
        )
        self._key_outage = OutageLog(
            logger,
            failed="the signing key cannot be read, topologies are signed with the one read before",
            recovered="the signing key can be read again",
        )
        self._refused_epoch: int | None = None
        self._task = PeriodicTask("topology-signer", self._connect_and_sign, interval_seconds=RECONNECT_SECONDS)

    def start(self) -> None:
        self._task.start()

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def _connect_and_sign(self) -> None:
        """Until the task is stopped or the connection fails."""
        try:
            with closing(self._open_connection(SESSION_NAME)) as connection:
                self._serve(connection)
        except psycopg.Error as error:
            self._outage.report_failure(error)

    def _serve(self, connection: ListeningConnection) -> None:
        connection.add_notify_handler(lambda _: None)  # without a handler psycopg would keep all notifications
        self._execute(connection, _LISTEN)
        self._outage.report_success()
        repair_at = 0.0
        while not self._task.is_stopping:
            now = time.monotonic()
            self._find_new_key()
            row = self._execute(connection, _HAS_UNSIGNED, key_id=self._key.id).fetchone()
            if row is not None and row["is_read_only"]:
                # Of several hosts another one may take writes by now; this session would never hear of it.
                raise psycopg.errors.ReadOnlySqlTransaction("the server of this session takes no writes")
            if row is not None and (row["is_unsigned"] or now >= repair_at):
                self._process_newest(connection)
                repair_at = now + REPAIR_SECONDS
            # Readable: something was published, or the server hung up, which the next statement finds.
            select.select([connection.fileno()], [], [], POLL_SECONDS)

    def _find_new_key(self) -> None:
        try:
            key = self._read_key()
        except BadSigningKey as error:
            self._key_outage.report_failure(error)
            return
        self._key_outage.report_success()
        if key.id != self._key.id:
            logger.info("topologies are signed with key %s from now on, before with %s", key.id, self._key.id)
        self._key = key

    def _process_newest(self, connection: ListeningConnection) -> None:
        newest = self._execute(connection, _READ_NEWEST).fetchone()
        topology = decode_topology(newest["snapshot"])
        published = PublishedSnapshot(newest["snapshot"], newest["signatures"])
        if self._key.id not in published.signatures:
            signed = self._sign(connection, published, topology)
            if signed is None:
                return
            published = signed
        self._put_into_cache(published, topology)

    def _sign(
        self, connection: ListeningConnection, published: PublishedSnapshot, topology: Topology
    ) -> PublishedSnapshot | None:
        """None if the snapshot must not be signed, or has been replaced meanwhile."""
        before = self._execute(connection, _READ_LAST_SIGNED, epoch=topology.epoch).fetchone()
        try:
            check_signable(topology, None if before is None else decode_topology(before["snapshot"]), self._cluster_id)
        except NotSignable as error:
            if self._refused_epoch != topology.epoch:
                logger.error("epoch %d is not signed: %s", topology.epoch, error)
            self._refused_epoch = topology.epoch
            return None
        added = json.dumps({self._key.id: self._key.sign(published.snapshot)})
        row = self._execute(
            connection, _ADD_SIGNATURE, added=added, epoch=topology.epoch, snapshot=published.snapshot
        ).fetchone()
        if row is None:
            return None
        logger.info("signed epoch %d with key %s", topology.epoch, self._key.id)
        return msgspec.structs.replace(published, signatures=row["signatures"])

    def _put_into_cache(self, published: PublishedSnapshot, topology: Topology) -> None:
        cluster_cache = ClusterCache(self._cache_url, topology.cluster_id)
        try:
            if read_from_cache(cluster_cache) == published:
                return
        except (TopologyCacheEmpty, TopologyCacheDamaged):
            pass
        except TopologyCacheUnavailable as error:
            logger.debug("the cache is not compared with epoch %d: %s", topology.epoch, error)
            return
        push_to_cache(cluster_cache, published, topology.epoch)

    def _execute(self, connection: ListeningConnection, statement: str, **params: Any) -> Any:
        connection.deadline_at = time.monotonic() + self._call_seconds
        return connection.execute(statement, params, prepare=False)


def check_signable(topology: Topology, last_signed: Topology | None, cluster_id: str) -> None:
    """Pure. Raises NotSignable for a topology that must not be signed, since processes accept every signed one."""
    if cluster_id and topology.cluster_id != cluster_id:
        raise NotSignable(f"it is of cluster {topology.cluster_id}, VIEWCOUNTER_CLUSTER_ID is {cluster_id}")
    if last_signed is None:
        return
    if topology.cluster_id != last_signed.cluster_id:
        raise NotSignable(f"it is of cluster {topology.cluster_id}, the last signed one of {last_signed.cluster_id}")
    if topology.partition_count != last_signed.partition_count:
        raise NotSignable(
            f"it has {topology.partition_count} partitions, the last signed one has {last_signed.partition_count}"
        )
    if topology.generation < last_signed.generation:
        raise NotSignable(f"it has generation {topology.generation}, the last signed one has {last_signed.generation}")
