"""Migrates shards to the schema of this release: one after the other, idempotent, one run at a time for each shard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.migrations.executor import MigrationExecutor

from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Instance, Shard
from runtime.errors import Retryable
from shardproxy.connection import Purpose, format_session_name
from shardproxy.conninfo import build_hostaddr_parameters
from shardproxy.errors import InstanceMisconfigured
from shardproxy.passwords import read_password
from shardproxy.settings import APPLICATION_NAME
from shardproxy.tls import build_tls_parameters
from viewcounter.config import get_config
from viewcounter.storage.partitions import (
    HAS_IDENTITY,
    JOIN_CLUSTER,
    RAISE_GENERATION,
    RAISE_TERM,
    READ_CLUSTER_ID,
    adopt_partitions,
)
from viewcounter.storage.raw_days import ensure_raw_days
from viewcounter.storage.router import SHARD_ALIAS_PREFIX, SHARD_APP

MIGRATION_LOCK_KEY = 0x76635F736368656D  # "vc_schem": at most one migration run for each shard

Progress = Callable[[str], None]


class ShardMigrationFailed(Exception, Retryable):
    """A shard could not be migrated to this release's schema. Later shards were not changed; repair it, then repeat."""


@dataclass(frozen=True, slots=True)
class MigratedShard:
    shard: str
    applied: list[str]
    adopted_partition_count: int


def migrate_shards(cluster: ClusterProxy, *, progress: Progress) -> list[MigratedShard]:
    """Migrate each shard in turn, the first one being the canary; then place partitions and make raw days.

    Raises ShardMigrationFailed naming the shard, at the first that fails.
    """
    return [_migrate_shard(cluster, shard, progress=progress) for shard in cluster.topology.shards]


def prepare_new_shard(shard: Shard, *, cluster_id: str, generation: int, address: str, progress: Progress) -> None:
    """Tables, identity and raw days on the primary of a shard that is not published yet. Safe to repeat.

    Connects to `address`, which has been inspected before. Raises ShardMigrationFailed.
    """
    if shard.primary is None:
        raise ShardMigrationFailed(f"{shard.name} has no primary")
    try:
        with _open_connection(shard, shard.primary, address=address) as connection:
            _bring_up_to_date(connection, shard, cluster_id=cluster_id, generation=generation, progress=progress)
            with connection.wrap_database_errors:
                ensure_raw_days(connection.connection, today=datetime.now(UTC).date())
    except (DatabaseError, InstanceMisconfigured) as error:
        raise ShardMigrationFailed(f"{shard.name}: {error}") from error


def check_primary(shard: Shard) -> None:
    """Raises OperationalError while the primary accepts no connections, ShardMigrationFailed if there is no primary."""
    if shard.primary is None:
        raise ShardMigrationFailed(f"{shard.name} has no primary")
    with _open_connection(shard, shard.primary):
        pass


def _migrate_shard(cluster: ClusterProxy, shard: Shard, *, progress: Progress) -> MigratedShard:
    primary = shard.primary
    if primary is None:
        raise ShardMigrationFailed(f"{shard.name} has no primary")
    try:
        with _open_connection(shard, primary) as connection:
            applied = _bring_up_to_date(
                connection,
                shard,
                cluster_id=cluster.topology.cluster_id,
                generation=cluster.topology.generation,
                progress=progress,
            )
    except DatabaseError as error:
        raise ShardMigrationFailed(f"{shard.name}: {error}") from error
    partitions = cluster.topology.get_partitions_of(shard.id)
    epochs = {p: cluster.topology.assignments[p].epoch for p in partitions}
    with cluster.shard_transaction(shard.id) as shard_connection:
        adopted = adopt_partitions(shard_connection, epochs)
        ensure_raw_days(shard_connection, today=datetime.now(UTC).date())
    return MigratedShard(shard.name, applied, adopted)


def _bring_up_to_date(
    connection: BaseDatabaseWrapper, shard: Shard, *, cluster_id: str, generation: int, progress: Progress
) -> list[str]:
    with connection.cursor() as cursor:
        _check_cluster(cursor, shard, cluster_id=cluster_id)
        applied = _apply_migrations(connection, progress=progress)
        cursor.execute(RAISE_TERM.text, {"term": shard.term})
        cursor.execute(RAISE_GENERATION.text, {"generation": generation})
        if cluster_id:
            cursor.execute(JOIN_CLUSTER.text, {"cluster_id": cluster_id})
    return applied


def _check_cluster(cursor: CursorWrapper, shard: Shard, *, cluster_id: str) -> None:
    """Runs before any change. Accepts any shard if the topology has no cluster id."""
    cursor.execute(HAS_IDENTITY.text)
    if cursor.fetchone() != (True,):
        return
    cursor.execute(READ_CLUSTER_ID.text)
    found = cursor.fetchone()[0]
    if cluster_id and found not in (None, cluster_id):
        raise ShardMigrationFailed(f"{shard.name}: its database belongs to another cluster, {found}")


@contextmanager
def _open_connection(shard: Shard, primary: Instance, *, address: str = "") -> Iterator[BaseDatabaseWrapper]:
    """A Django connection to the shard's primary under an alias of its own, holding the migration lock."""
    alias = f"{SHARD_ALIAS_PREFIX}{shard.name}"
    lock_timeout_ms = int(get_config().pool.migration_lock_seconds * 1000)
    settings = {
        "ENGINE": "viewcounter.controlplane.postgresql",
        "HOST": primary.host,
        "PORT": str(primary.port),
        "NAME": primary.database,
        "USER": primary.user,
        "PASSWORD": read_password(primary.password_ref, get_config().pool.password_refs),
        "OPTIONS": {
            "connect_timeout": get_config().pool.connect_timeout_seconds,
            **build_tls_parameters(host=primary.host, sslmode=primary.sslmode, files=get_config().pool.tls),
            "application_name": format_session_name(APPLICATION_NAME, Purpose.MIGRATION),
            "options": f"-c lock_timeout={lock_timeout_ms} -c statement_timeout=0",
            **build_hostaddr_parameters(address),
        },
    }
    default = connections.databases["default"]
    connections.databases[alias] = connections.configure_settings({"default": default, alias: settings})[alias]
    try:
        connection = connections[alias]
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK_KEY])
        yield connection
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.databases[alias]


def _apply_migrations(connection: BaseDatabaseWrapper, *, progress: Progress) -> list[str]:
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == SHARD_APP]
    plan = [f"{migration.app_label}.{migration.name}" for migration, _ in executor.migration_plan(targets)]
    for name in plan:
        progress(f"{connection.alias}: applying {name}")
    executor.migrate(targets)
    return plan
