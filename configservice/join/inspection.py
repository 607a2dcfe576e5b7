"""Inspects servers: a candidate, and the instances of the topology. Every wait is bounded; nothing is written."""

import logging
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from configservice.errors import (
    ActionFailed,
    CandidateRefused,
    InstanceRefuses,
    InstanceUnreachable,
    InstanceUnusable,
    Refusal,
)
from configservice.failover.kept_log import READ_POSITIONS
from configservice.join.dependencies import ClusterTools
from configservice.join.server_info import (
    LIST_TABLES,
    READ_IDENTITY,
    READ_SCHEMA_VERSION,
    READ_SERVER,
    TABLES_MAX,
    KnownServer,
    ServerFacts,
    Table,
    build_filled_query,
)
from configservice.join.validation import validate_address
from configservice.monitoring.connections import InstanceConnection
from configservice.monitoring.probe_result import PROBE
from configservice.topology.allow_list import Address, parse_address
from configservice.topology.model import Instance, Shard

logger = logging.getLogger(__name__)

MAX_THREADS = 16
ADDRESSES_MAX = 4
"""The most addresses of one host name that are tried."""


@dataclass(frozen=True, slots=True)
class InspectedServer:
    """`address`: the address that was inspected; later connections must go to the same one."""

    address: str
    facts: ServerFacts


def probe_candidate(candidate: Instance, tools: ClusterTools, *, with_content: bool) -> InspectedServer:
    """Raises CandidateRefused if the server is not allowed, does not answer, or rejects the connection."""
    addresses = find_addresses(candidate, tools)
    for place, address in enumerate(addresses, start=1):
        try:
            return _probe_at(address, candidate, tools, with_content=with_content)
        except InstanceUnreachable as error:
            if place == len(addresses):
                raise CandidateRefused([Refusal("host", f"the server does not answer: {_flatten(error)}")]) from error
    raise CandidateRefused([Refusal("host", f"{candidate.host} has no address")])


def find_addresses(candidate: Instance, tools: ClusterTools) -> list[str]:
    """Resolves the name once; each of its addresses must be allowed. Raises CandidateRefused."""
    addresses = resolve(candidate.host, candidate.port, within_seconds=tools.answer_seconds)
    refusal = validate_address(addresses, host=candidate.host, port=candidate.port, allowed=tools.allow_list)
    if refusal is not None:
        raise CandidateRefused([refusal])
    return list(dict.fromkeys(map(str, addresses)))[:ADDRESSES_MAX]


def resolve(host: str, port: int, *, within_seconds: float) -> list[Address]:
    """Empty if the name has no address, or is not resolved in time. The system's resolver cannot be interrupted, so a
    late one is left to its thread, which ends by itself."""
    found: list[Address] = []
    done = threading.Event()

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(parse_address(str(answer[4][0])) for answer in answers)
        except (OSError, ValueError, UnicodeError) as error:
            logger.info("%s cannot be resolved: %s", host, error)
        done.set()

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    return list(found) if done.wait(within_seconds) else []


def read_facts(connection: InstanceConnection, *, answer_seconds: float, with_content: bool = False) -> ServerFacts:
    """Raises like InstanceConnection.fetch, also for a foreign table without read permission."""
    (row,) = connection.fetch(READ_SERVER, timeout_seconds=answer_seconds)
    identity = connection.fetch(READ_IDENTITY, timeout_seconds=answer_seconds) if row["has_identity"] else []
    versions = connection.fetch(READ_SCHEMA_VERSION, timeout_seconds=answer_seconds) if row["has_migrations"] else []
    positions = connection.fetch(READ_POSITIONS, timeout_seconds=answer_seconds) if versions else []
    tables: list[Table] = []
    if with_content:
        listed = connection.fetch(LIST_TABLES, {"limit": TABLES_MAX}, timeout_seconds=answer_seconds)
        tables = [Table(t["schema"], t["name"]) for t in listed]
    filled: list[dict[str, int]] = []
    if tables and versions:
        filled = connection.fetch(build_filled_query(tables), timeout_seconds=answer_seconds)
    return ServerFacts.from_row(
        row,
        cluster_id=identity[0]["cluster_id"] if identity else None,
        schema_version=versions[0]["name"] if versions else None,
        tables=tuple(tables),
        filled=tuple(tables[f["place"]] for f in filled),
        positions={p["partition"]: p["position"] for p in positions},
    )


def read_known(shards: Iterable[Shard], tools: ClusterTools) -> list[KnownServer]:
    """Inspects all instances of these shards in parallel."""
    instances = [(shard.name, instance) for shard in shards for instance in shard.instances]

    def inspect(named: tuple[str, Instance]) -> KnownServer:
        shard, instance = named
        facts: ServerFacts | None = None
        with closing(tools.connect(instance)) as connection:
            try:
                facts = read_facts(connection, answer_seconds=tools.answer_seconds)
            except (InstanceUnreachable, InstanceRefuses, ActionFailed) as error:
                logger.warning("%s cannot be compared with the new server: %s", instance.name, _flatten(error))
        return KnownServer(instance.name, shard, instance.role, facts)

    with ThreadPoolExecutor(min(MAX_THREADS, len(instances) or 1), thread_name_prefix="compare") as pool:
        return list(pool.map(inspect, instances))


def _probe_at(address: str, candidate: Instance, tools: ClusterTools, *, with_content: bool) -> InspectedServer:
    """Raises InstanceUnreachable, after which the caller tries the next address, and CandidateRefused."""
    with closing(tools.connect(candidate, address=address)) as connection:
        try:
            facts = read_facts(connection, answer_seconds=tools.answer_seconds, with_content=with_content)
        except InstanceUnusable as error:
            raise CandidateRefused([Refusal("password_ref", _flatten(error))]) from error
        except InstanceRefuses as error:
            raise CandidateRefused([Refusal("user", f"the server rejects this user: {_flatten(error)}")]) from error
        except ActionFailed as error:
            reason = f"this user may not read the database: {_flatten(error)}"
            raise CandidateRefused([Refusal("user", reason)]) from error
    with closing(tools.connect(candidate, address=address, as_operator=True)) as connection:
        try:  # the role that operates servers must be able to connect, too, or failovers would fail
            connection.fetch(PROBE, timeout_seconds=tools.answer_seconds)
        except (InstanceRefuses, ActionFailed) as error:
            why = f"the role of the config service cannot monitor it: {_flatten(error)}"
            raise CandidateRefused([Refusal("host", why)]) from error
    return InspectedServer(address, facts)


def _flatten(error: Exception) -> str:
    return " ".join(str(error).split())
