"""Bringing every shard to this release's schema: canary first, safe to re-run, never two at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from clusterproxy.proxy import ClusterProxy
from configservice.topology import Instance, Shard
from shardproxy.passwords import read_password
from shardproxy.session_names import Purpose, name_session
from shardproxy.settings import APPLICATION_NAME
from viewcounter.config import get_config
from viewcounter.storage.partitions import RAISE_TERM, adopt_partitions
from viewcounter.storage.raw_days import ensure_raw_days
from viewcounter.storage.router import SHARD_ALIAS_PREFIX, SHARD_APP

MIGRATION_LOCK_KEY = 0x76635F736368656D  # "vc_schem": one migration run a shard at a time

Progress = Callable[[str], None]


class ShardMigrationFailed(Exception):
    """A shard could not be brought to this release's schema. Shards after it were not touched; mend and run again."""


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


def _migrate_shard(cluster: ClusterProxy, shard: Shard, *, progress: Progress) -> MigratedShard:
    primary = shard.primary
    if primary is None:
        raise ShardMigrationFailed(f"{shard.name} has no primary")
    try:
        with _open_connection(shard, primary) as connection:
            applied = _apply_migrations(connection, progress=progress)
            with connection.cursor() as cursor:
                cursor.execute(RAISE_TERM.text, {"term": shard.term})
    except DatabaseError as error:
        raise ShardMigrationFailed(f"{shard.name}: {error}") from error
    partitions = cluster.topology.get_partitions_of(shard.id)
    epochs = {p: cluster.topology.assignments[p].epoch for p in partitions}
    with cluster.shard_transaction(shard.id) as shard_connection:
        adopted = adopt_partitions(shard_connection, epochs)
        ensure_raw_days(shard_connection, today=datetime.now(UTC).date())
    return MigratedShard(shard.name, applied, adopted)


@contextmanager
def _open_connection(shard: Shard, primary: Instance) -> Iterator[BaseDatabaseWrapper]:
    """A Django connection to the shard's primary under an alias of its own, holding the migration lock."""
    alias = f"{SHARD_ALIAS_PREFIX}{shard.name}"
    lock_timeout_ms = int(get_config().migration_lock_seconds * 1000)
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": primary.host,
        "PORT": primary.port,
        "NAME": primary.database,
        "USER": primary.user,
        "PASSWORD": read_password(primary.password_ref),
        "OPTIONS": {
            "connect_timeout": get_config().connect_timeout_seconds,
            "sslmode": primary.sslmode,
            "application_name": name_session(APPLICATION_NAME, Purpose.MIGRATION),
            "options": f"-c lock_timeout={lock_timeout_ms} -c statement_timeout=0",
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
