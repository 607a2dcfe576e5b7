"""Validates a server that is to join: returns refusals, each with the field to blame; none if it may join. Pure."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from configservice.errors import Refusal
from configservice.failover.kept_log import LogPosition, find_lacking
from configservice.join.server_info import KnownServer, ServerFacts, Table
from configservice.topology.allow_list import Address, AllowList
from configservice.topology.model import Instance, Role, Topology

OLDEST_VERSION = 150000
NAMED_MAX = 5
"""The most tables that a refusal lists."""
_HOLD_ROWS_FROM_THE_START = frozenset({Table("public", "django_migrations"), Table("public", "shard_identity")})
_BOOKKEEPING = Table("public", "django_migrations")


def validate_address(addresses: Sequence[Address], *, host: str, port: int, allowed: AllowList) -> Refusal | None:
    """Every address of the name must be allowed, since a connection may use any of them."""
    for address in addresses:
        if not allowed.permits(address, port):
            subject = host if str(address) == host else f"{host} is {address}, which"
            return Refusal(
                "host", f"{subject} is not allowed with port {port}: see VIEWCOUNTER_CONFIGSERVICE_INSTANCE_ALLOW_LIST"
            )
    return None if addresses else Refusal("host", f"{host} has no address")


def validate_names(candidate: Instance, topology: Topology, *, new_shard: str = "") -> list[Refusal]:
    """Checks that need no connection to a server."""
    refusals = []
    if new_shard and any(shard.name == new_shard for shard in topology.shards):
        refusals.append(Refusal("shard", f"there is a shard {new_shard} already"))
    for shard in topology.shards:
        for instance in shard.instances:
            if instance.name == candidate.name:
                refusals.append(Refusal("name", f"{instance.name} is an instance of {shard.name} already"))
            elif _get_address(instance) == _get_address(candidate):
                refusals.append(Refusal("host", f"this is {instance.name} of {shard.name}"))
    return refusals


def validate_new_primary(
    found: ServerFacts, known: Sequence[KnownServer], *, cluster_id: str, schema_version: str
) -> list[Refusal]:
    """Validates the first instance of a new shard."""
    refusals = [
        *_validate_version(found),
        *(_validate_distinct(found, known) or _validate_not_a_copy(found, known)),
        *_validate_cluster(found, cluster_id),
    ]
    if found.in_recovery:
        refusals.append(Refusal("host", "it is a standby; a new shard begins with a primary"))
    silent = [shard for shard, servers in _group(known).items() if all(s.facts is None for s in servers)]
    if silent:
        names = ", ".join(silent)
        refusals.append(Refusal("host", f"whether it is a copy of {names} is unknown: no instance of that answers"))
    return refusals + _validate_content(found, schema_version)


def validate_new_replica(
    name: str,
    found: ServerFacts,
    *,
    shard: str,
    known: Sequence[KnownServer],
    cluster_id: str,
    max_lag_bytes: int,
    floors: Mapping[int, LogPosition],
) -> list[Refusal]:
    """Validates a new replica of `shard`."""
    refusals = [*_validate_version(found), *_validate_distinct(found, known)]
    if refusals:
        return refusals
    return validate_standby(
        name, found, shard=shard, known=known, cluster_id=cluster_id, max_lag_bytes=max_lag_bytes, floors=floors
    )


def validate_standby(
    name: str,
    found: ServerFacts,
    *,
    shard: str,
    known: Sequence[KnownServer],
    cluster_id: str,
    max_lag_bytes: int,
    floors: Mapping[int, LogPosition],
) -> list[Refusal]:
    """Validates that a standby may serve reads and be promoted: it follows the shard's primary and has caught up.

    The event log was not kept for it before, so the log must still hold all entries that it has not applied. `floors`:
    the position of each partition of the shard below which the log holds no entries.
    """
    primary = next((s for s in known if s.shard == shard and s.role is Role.PRIMARY), None)
    if primary is None or primary.facts is None:
        problem = "has no primary" if primary is None else f"has a primary, {primary.name}, that does not answer"
        return [Refusal("shard", f"{shard} {problem}: the server cannot be compared with it")]
    if found.system_identifier != primary.facts.system_identifier:
        whose = next((s.shard for s in known if _is_copy(found, s.facts)), "another server")
        return [Refusal("host", f"it is a copy of {whose}, not of {shard}")]
    if not found.in_recovery:
        return [Refusal("host", "it is not a standby; make it one by pg_basebackup from the primary")]
    refusals = _validate_cluster(found, cluster_id)
    if not found.is_receiving:
        refusals.append(Refusal("host", f"it receives no WAL; point its primary_conninfo to {primary.name}"))
    elif name not in primary.facts.streaming:
        why = f"no standby streams from {primary.name} under this name; set application_name in its primary_conninfo"
        refusals.append(Refusal("name", why))
    lag_bytes = primary.facts.lsn - found.lsn
    if lag_bytes > max_lag_bytes:
        refusals.append(Refusal("host", f"it is {lag_bytes} bytes behind {primary.name}, more than {max_lag_bytes}"))
    if found.schema_version != primary.facts.schema_version:
        reason = f"it has schema {found.schema_version or 'none'}, {primary.name} has {primary.facts.schema_version}"
        refusals.append(Refusal("database", reason))
    if lacking := find_lacking(found.positions, floors):
        partitions = ", ".join(map(str, lacking))
        reason = f"it lacks entries of partitions {partitions} that the event log no longer holds"
        refusals.append(Refusal("host", f"{reason}: wait until it has caught up with {primary.name}"))
    return refusals


def _validate_version(found: ServerFacts) -> list[Refusal]:
    if found.version >= OLDEST_VERSION:
        return []
    oldest = OLDEST_VERSION // 10000
    return [Refusal("host", f"PostgreSQL {found.version // 10000} is too old: {oldest} or later is needed")]


def _validate_distinct(found: ServerFacts, known: Sequence[KnownServer]) -> list[Refusal]:
    for server in known:
        if server.facts is not None and found.is_same_server(server.facts):
            return [Refusal("host", f"this is {server.name} of {server.shard} at another address")]
    return []


def _validate_not_a_copy(found: ServerFacts, known: Sequence[KnownServer]) -> list[Refusal]:
    original = next((server for server in known if _is_copy(found, server.facts)), None)
    return [] if original is None else [Refusal("host", f"it is a copy of {original.name} of {original.shard}")]


def _is_copy(found: ServerFacts, other: ServerFacts | None) -> bool:
    return other is not None and found.system_identifier == other.system_identifier


def _validate_cluster(found: ServerFacts, cluster_id: str) -> list[Refusal]:
    if found.cluster_id in (None, cluster_id):
        return []
    return [Refusal("database", f"it belongs to another cluster, {found.cluster_id}")]


def _validate_content(found: ServerFacts, schema_version: str) -> list[Refusal]:
    """The database must be empty, or hold our tables without rows, as an interrupted attempt leaves it."""
    if not found.may_create:
        return [Refusal("user", "this user may not create tables in the schema public of the database")]
    if found.schema_version is None:
        foreign = [table for table in found.tables if table != _BOOKKEEPING]
        return [Refusal("database", f"it is not empty: it has {_format_tables(foreign)}")] if foreign else []
    if found.schema_version != schema_version:
        return [Refusal("database", f"it has schema {found.schema_version}, this release has {schema_version}")]
    filled = [table for table in found.filled if table not in _HOLD_ROWS_FROM_THE_START]
    return [Refusal("database", f"it is not empty: there are rows in {_format_tables(filled)}")] if filled else []


def _format_tables(tables: Collection[Table]) -> str:
    named = ", ".join(str(table) for table in sorted(tables)[:NAMED_MAX])
    return named if len(tables) <= NAMED_MAX else f"{named} and {len(tables) - NAMED_MAX} more"


def _group(known: Sequence[KnownServer]) -> Mapping[str, list[KnownServer]]:
    ordered = sorted(known, key=lambda s: s.shard)
    return {shard: list(servers) for shard, servers in groupby(ordered, key=lambda s: s.shard)}


def _get_address(instance: Instance) -> tuple[str, int, str]:
    return (instance.host, instance.port, instance.database)
