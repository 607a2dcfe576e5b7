"""Publishes the topology: a new epoch in the control database, then a copy in the cache, which processes poll.

The control database is authoritative; the cache only saves it from polling, so a dead cache never fails a publish.
Readers also read the database at a longer interval, which corrects a copy that is missing or older. Processes accept
signed topologies only: the publishing process signs if it has the key, else a config service does (`signer`).
"""

import logging
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import MD5
from django.utils import timezone

from configservice.errors import (
    ControlDatabaseUnavailable,
    NoSigner,
    TopologyCacheDamaged,
    TopologyCacheEmpty,
    TopologyCacheUnavailable,
)
from configservice.models import Leadership, TopologyEpoch
from configservice.topology.cluster_cache import ClusterCache, get_cache_client
from configservice.topology.model import Topology
from configservice.topology.published_snapshot import (
    PublishedSnapshot,
    build_published_snapshot,
    decode_published_snapshot,
    encode_published_snapshot,
)
from configservice.topology.signing import SigningKey, read_signing_key
from configservice.topology.snapshot import build_topology
from runtime.valkey import ValkeyError

logger = logging.getLogger(__name__)

TOPOLOGY_KEY = "topology:2"
TOPOLOGY_CHANNEL = "topology:published:2"
UNSIGNED_CHANNEL = "viewcounter_topology_unsigned"
"""Channel of the control database: a topology was published that a config service has to sign."""
SIGNER_SILENCE_SECONDS = 15.0
"""Without a renewal of the lease for this long, no config service is running."""

_LOCK_KEY = 0x76_63_74_6F_70_6F  # "vctopo"


def lock_topology() -> None:
    """Until the end of the current transaction, no other session publishes or initialises a cluster."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])


def publish(*, reason: str, actor: str, above_epoch: int = 0) -> Topology:
    """The snapshot of the control tables: the newest epoch, or a new one if the tables have changed since.

    A new one is also above `above_epoch`, for a control database that has forgotten epochs.

    A process with the signing key signs it; otherwise the commit wakes a config service, which does. Inside a caller's
    transaction everything takes effect with its commit. Raises ClusterNotInitialised, OtherCluster, BadSigningKey.
    """
    with transaction.atomic():
        lock_topology()
        newest = TopologyEpoch.objects.order_by("-epoch").first()
        topology = build_topology(epoch=1 + max(above_epoch, 0 if newest is None else newest.epoch))
        if newest is not None and msgspec.structs.replace(newest.topology, epoch=topology.epoch) == topology:
            row, topology = newest, newest.topology
            if _sign(row):
                row.save(update_fields=["signatures"])
        else:
            row = TopologyEpoch(
                epoch=topology.epoch,
                snapshot=build_published_snapshot(topology).snapshot,
                reason=reason[:200],
                actor=actor[:150],
            )
            _sign(row)
            row.save(force_insert=True)
        if row.signatures or not settings.TOPOLOGY_PUBLIC_KEYS:
            cluster_cache = ClusterCache(settings.TOPOLOGY_CACHE_URL, topology.cluster_id)
            transaction.on_commit(partial(push_to_cache, cluster_cache, row.published, topology.epoch), robust=True)
        if not row.signatures:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, '')", [UNSIGNED_CHANNEL])
    return topology


def _sign(row: TopologyEpoch) -> bool:
    """Whether this process has added its signature."""
    key = find_signing_key()
    if key is None or key.id in row.signatures:
        return False
    row.signatures = row.signatures | {key.id: key.sign(row.snapshot)}
    return True


def find_signing_key() -> SigningKey | None:
    """The signing key of this process, if it has one. Raises BadSigningKey."""
    path: Path | None = settings.TOPOLOGY_SIGNING_KEY_FILE
    return None if path is None else read_signing_key(path)


def find_unsigned_epoch(*, after_seconds: float = 0.0) -> int | None:
    """The newest epoch, if it is still unsigned `after_seconds` after it was published. None without public keys.

    Raises ControlDatabaseUnavailable.
    """
    if not settings.TOPOLOGY_PUBLIC_KEYS:
        return None
    published_by = timezone.now() - timedelta(seconds=after_seconds)
    try:
        newest = TopologyEpoch.objects.order_by("-epoch").values_list("epoch", "signatures", "created_at").first()
    except DatabaseError as error:
        connection.close()
        raise ControlDatabaseUnavailable(str(error)) from error
    return newest[0] if newest is not None and not newest[1] and newest[2] <= published_by else None


def check_signer() -> None:
    """Raises NoSigner unless a topology that is published now would be signed within moments."""
    if not settings.TOPOLOGY_PUBLIC_KEYS or find_signing_key() is not None:
        return
    renewed_at = Leadership.objects.values_list("renewed_at", flat=True).first()
    if renewed_at is None or (timezone.now() - renewed_at).total_seconds() > SIGNER_SILENCE_SECONDS:
        raise NoSigner("no config service is running to sign a change of the topology")


def push_to_cache(cluster_cache: ClusterCache, published: PublishedSnapshot, epoch: int) -> None:
    """Best effort: a failure is logged, and readers find the snapshot in the control database."""
    try:
        with cluster_cache.client.pipeline(transaction=True) as pipeline:
            pipeline.set(cluster_cache.format_key(TOPOLOGY_KEY), encode_published_snapshot(published))
            for key_id in published.signatures:
                pipeline.set(format_signer_key(key_id), cluster_cache.cluster_id)
            pipeline.publish(cluster_cache.format_key(TOPOLOGY_CHANNEL), str(epoch))
            pipeline.execute()
    except ValkeyError as error:
        logger.warning("epoch %d is published, but the cache did not accept it: %s", epoch, error)


def read_from_cache(cluster_cache: ClusterCache) -> PublishedSnapshot:
    """The snapshot in the cache, not verified. Raises TopologyCacheUnavailable, TopologyCacheEmpty."""
    key = cluster_cache.format_key(TOPOLOGY_KEY)
    try:
        data = cluster_cache.client.get(key)
    except ValkeyError as error:
        raise TopologyCacheUnavailable(str(error)) from error
    if not isinstance(data, bytes):
        raise TopologyCacheEmpty(f"the cache key {key} is empty")
    try:
        return decode_published_snapshot(data)
    except msgspec.DecodeError as error:
        raise TopologyCacheDamaged(f"the cache key {key} holds no snapshot: {error}") from error


def format_signer_key(key_id: str) -> str:
    """The key of the id of the cluster whose topology that signing key signs."""
    return f"viewcounter:signer:{key_id}"


def find_cluster_of_signers(url: str, key_ids: Iterable[str]) -> str | None:
    """The cluster id, for a process that knows only public keys. A hint: the topology found with it is verified by its
    signature. Raises TopologyCacheUnavailable."""
    names = [format_signer_key(key_id) for key_id in key_ids]
    try:
        found = get_cache_client(url).mget(names) if names else []
    except ValkeyError as error:
        raise TopologyCacheUnavailable(str(error)) from error
    return next((cluster_id.decode() for cluster_id in found if isinstance(cluster_id, bytes)), None)


def fill_empty_cache(cluster_cache: ClusterCache) -> PublishedSnapshot | None:
    """Fills an empty cache with the snapshot of the control database, which is returned; keeps an existing value.

    Raises ControlDatabaseUnavailable and TopologyCacheUnavailable.
    """
    published = read_from_control_database(prefers_signed=bool(settings.TOPOLOGY_PUBLIC_KEYS))
    if published is not None:
        try:
            key = cluster_cache.format_key(TOPOLOGY_KEY)
            cluster_cache.client.set(key, encode_published_snapshot(published), nx=True)
        except ValkeyError as error:
            raise TopologyCacheUnavailable(str(error)) from error
    return published


def read_from_control_database(
    held: PublishedSnapshot | None = None, *, prefers_signed: bool = False
) -> PublishedSnapshot | None:
    """The newest snapshot; None if there is none or it equals `held`. Raises ControlDatabaseUnavailable.

    `prefers_signed`: the newest signed one, if any is signed. For background threads: after an error it closes the
    thread's connection, so that the next call opens a new one.
    """
    try:
        row = _find_newest(prefers_signed=prefers_signed)
        if row is None or (held is not None and row.signatures == held.signatures and row.digest == held.compute_md5()):
            return None
        return PublishedSnapshot(row.snapshot, row.signatures)
    except DatabaseError as error:
        connection.close()
        raise ControlDatabaseUnavailable(str(error)) from error


def _find_newest(*, prefers_signed: bool) -> Any:
    """With its digest but without the snapshot, which is read only if needed: every process polls every few seconds."""
    epochs = TopologyEpoch.objects.defer("snapshot").annotate(digest=MD5("snapshot")).order_by("-epoch")
    newest = epochs.first()
    if newest is None or newest.signatures or not prefers_signed:
        return newest
    return epochs.exclude(signatures={}).first() or newest
