"""Facts about a server that is to join and about the instances of the topology, with the SQL that reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from psycopg import sql

from configservice.topology.model import Role

TABLES_MAX = 1000
"""A database with more tables is not inspected further: it is not empty."""

READ_SERVER = """
SELECT current_setting('server_version_num')::int AS version,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
       pg_postmaster_start_time() AS started_at,
       pg_is_in_recovery() AS in_recovery,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS is_receiving,
       (CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END
            - '0/0')::bigint AS lsn,
       ARRAY(SELECT application_name FROM pg_stat_replication WHERE state = 'streaming') AS streaming,
       has_schema_privilege('public', 'CREATE') AS may_create,
       to_regclass('public.shard_identity') IS NOT NULL AS has_identity,
       to_regclass('public.django_migrations') IS NOT NULL AS has_migrations
"""
# Works for every version of `shard_identity`: a server of an older release must not be taken for a foreign one.
READ_IDENTITY = "SELECT to_jsonb(i) ->> 'cluster_id' AS cluster_id FROM public.shard_identity AS i"
READ_SCHEMA_VERSION = "SELECT name FROM public.django_migrations WHERE app = 'storage' ORDER BY id DESC LIMIT 1"
# Without tables of extensions; partitions are covered by their parents. A standby cannot read unlogged tables.
LIST_TABLES = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND (c.relpersistence <> 'u' OR NOT pg_is_in_recovery())
    AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND classid = 'pg_class'::regclass AND deptype = 'e')
ORDER BY 1, 2 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True, order=True)
class Table:
    schema: str
    name: str

    def __str__(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


def build_filled_query(tables: Sequence[Table]) -> str:
    """Indexes of the tables that hold a row: reads one row of each table, whatever its size."""
    parts = [
        sql.SQL("SELECT {} AS place WHERE EXISTS (SELECT FROM {})").format(
            sql.Literal(place), sql.Identifier(table.schema, table.name)
        )
        for place, table in enumerate(tables)
    ]
    return sql.SQL(" UNION ALL ").join(parts).as_string(None)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`lsn`: written by a primary, replayed by a standby, in bytes. `streaming`: `application_name` of its standbys.

    `positions`: by partition, the applied position of the event log (`term-seq`). `tables` and `filled` (tables with a
    row) are read only for the primary of a new shard.
    """

    version: int
    system_identifier: str
    started_at: datetime
    in_recovery: bool
    is_receiving: bool
    lsn: int
    streaming: tuple[str, ...] = ()
    may_create: bool = True
    cluster_id: str | None = None
    schema_version: str | None = None
    tables: tuple[Table, ...] = ()
    filled: tuple[Table, ...] = ()
    positions: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], **more: Any) -> Self:
        known = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        return cls(**known | {"streaming": tuple(row["streaming"])} | more)

    def is_same_server(self, other: "ServerFacts") -> bool:
        """Compares servers without their addresses: copies share the identifier but not the start time."""
        return (self.system_identifier, self.started_at) == (other.system_identifier, other.started_at)


@dataclass(frozen=True, slots=True)
class KnownServer:
    """An instance of the topology. `facts` is None while it does not answer."""

    name: str
    shard: str
    role: Role
    facts: ServerFacts | None
