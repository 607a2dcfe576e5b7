"""Adds a shard or a replica: inspect, validate, prepare, record. Safe to repeat; one transaction records the server."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction

from configservice import models
from configservice.errors import CandidateRefused, LogUnavailable, Refusal
from configservice.failover.kept_log import LogPosition
from configservice.failover.requests import find_shard
from configservice.join.dependencies import ClusterTools, Progress
from configservice.join.inspection import InspectedServer, probe_candidate, read_known
from configservice.join.server_info import KnownServer, ServerFacts
from configservice.join.validation import validate_names, validate_new_primary, validate_new_replica, validate_standby
from configservice.topology.model import Instance, Role, Shard, Topology
from configservice.topology.publication import lock_topology, publish
from configservice.topology.snapshot import build_topology

CATCH_UP_POLL_SECONDS = 0.2
_FIELDS = ("role", "host", "port", "database", "user", "password_ref", "zone", "sslmode", "promotable")


@dataclass(frozen=True, slots=True)
class CheckedServer:
    """A server that may join. `findings`: facts to show before the operator confirms."""

    address: str
    facts: ServerFacts

    @property
    def findings(self) -> list[str]:
        version = f"PostgreSQL {self.facts.version // 10000}.{self.facts.version % 10000}"
        content = "without tables" if self.facts.schema_version is None else f"schema {self.facts.schema_version}"
        return [f"{version} at {self.address}", f"system identifier {self.facts.system_identifier}", content]


def check_new_shard(shard: str, candidate: Instance, tools: ClusterTools) -> CheckedServer:
    """Changes nothing. Raises CandidateRefused and ClusterNotInitialised."""
    topology = _check_fields(candidate, new_shard=shard)
    probed = probe_candidate(candidate, tools, with_content=True)
    known = read_known(topology.shards, tools)
    refusals = validate_new_primary(
        probed.facts, known, cluster_id=topology.cluster_id, schema_version=tools.schema_version
    )
    return _accept(probed, refusals)


def check_new_replica(shard: str, candidate: Instance, tools: ClusterTools) -> CheckedServer:
    """Changes nothing. Raises CandidateRefused, UnknownShard and ClusterNotInitialised."""
    find_shard(shard)
    topology = _check_fields(candidate)
    known = read_known(topology.shards, tools)
    probed = _probe_caught_up(candidate, shard, known, tools)
    refusals = validate_new_replica(
        candidate.name,
        probed.facts,
        shard=shard,
        known=known,
        cluster_id=topology.cluster_id,
        max_lag_bytes=tools.max_lag_bytes,
        floors=_read_floors(topology, shard, tools),
    )
    return _accept(probed, refusals)


def add_shard(
    shard: str, candidate: Instance, tools: ClusterTools, *, actor: str, reason: str = "", progress: Progress
) -> Topology:
    """Publishes the shard after its tables are created. It has no partition yet.

    Raises like `check_new_shard`, and ShardNotPrepared.
    """
    checked = check_new_shard(shard, candidate, tools)
    progress(f"{candidate.name} is empty and may be used: {', '.join(checked.findings)}")
    cluster_id = build_topology(epoch=0).cluster_id
    unpublished = Shard(id=0, name=shard, term=1, instances=(candidate,))
    tools.prepare_shard(unpublished, cluster_id=cluster_id, address=checked.address, progress=progress)
    with transaction.atomic():
        lock_topology()
        _check_fields(candidate, new_shard=shard)
        row = models.Shard.objects.create(name=shard)
        topology = _record(row, candidate, actor=actor, reason=reason or f"added shard {shard}")
    progress(f"{shard} is published with epoch {topology.epoch}")
    return topology


def add_replica(
    shard: str, candidate: Instance, tools: ClusterTools, *, actor: str, reason: str = "", progress: Progress
) -> Topology:
    """Publishes a replica: it serves reads, commits may wait for it, it may be promoted.

    Raises like `check_new_replica`."""
    checked = check_new_replica(shard, candidate, tools)
    progress(f"{candidate.name} follows {shard}: {', '.join(checked.findings)}")
    with transaction.atomic():
        lock_topology()
        _check_fields(candidate)
        topology = _record(
            find_shard(shard), candidate, actor=actor, reason=reason or f"added replica {candidate.name} to {shard}"
        )
    progress(f"{candidate.name} is published with epoch {topology.epoch}")
    return topology


def check_standby(instance: Instance, shard: Shard, *, tools: ClusterTools) -> None:
    """Raises CandidateRefused unless an instance of the shard may be used again."""
    servers = read_known([shard], tools)
    facts = next(server.facts for server in servers if server.name == instance.name)
    if facts is None:
        raise CandidateRefused([Refusal("", f"{instance.name} does not answer")])
    topology = build_topology(epoch=0)
    refusals = validate_standby(
        instance.name,
        facts,
        shard=shard.name,
        known=servers,
        cluster_id=topology.cluster_id,
        max_lag_bytes=tools.max_lag_bytes,
        floors=_read_floors(topology, shard.name, tools),
    )
    if refusals:
        raise CandidateRefused([Refusal("", refusal.reason) for refusal in refusals])


def find_similar(shard: str) -> models.Instance | None:
    """A source of defaults for a new instance (database, user, password reference): the primary of the shard, or of
    any other shard."""
    primaries = models.Instance.objects.filter(role=Role.PRIMARY.value).order_by("shard_id")
    found: models.Instance | None = primaries.filter(shard__name=shard).first() or primaries.first()
    return found


def _check_fields(candidate: Instance, *, new_shard: str = "") -> Topology:
    """Checks the candidate against the control tables. Raises CandidateRefused and ClusterNotInitialised."""
    topology = build_topology(epoch=0)
    refusals = [*_validate_form(_build_row(candidate)), *validate_names(candidate, topology, new_shard=new_shard)]
    if new_shard:
        form = _validate_form(models.Shard(name=new_shard))
        refusals += [Refusal("shard", refusal.reason) for refusal in form]
    if refusals:
        raise CandidateRefused(refusals)
    return topology


def _probe_caught_up(candidate: Instance, shard: str, known: list[KnownServer], tools: ClusterTools) -> InspectedServer:
    """Inspects a replica, again until it has caught up: a new shard's replica gets its tables by the WAL stream.

    Returns the last result after `answer_seconds`.
    """
    primary = next((server.facts for server in known if server.shard == shard and server.role is Role.PRIMARY), None)
    deadline = time.monotonic() + tools.answer_seconds
    while True:
        probed = probe_candidate(candidate, tools, with_content=False)
        is_behind = primary is not None and probed.facts.is_receiving and probed.facts.lsn < primary.lsn
        if not is_behind or time.monotonic() >= deadline:
            return probed
        time.sleep(CATCH_UP_POLL_SECONDS)


def _read_floors(topology: Topology, shard_name: str, tools: ClusterTools) -> Mapping[int, LogPosition]:
    """Raises CandidateRefused while the event log does not answer."""
    shard = next(shard for shard in topology.shards if shard.name == shard_name)
    try:
        return tools.read_floors(topology.get_partitions_of(shard.id))
    except LogUnavailable as error:
        reason = f"whether the event log still holds the entries that it has not applied is unknown: {error}"
        raise CandidateRefused([Refusal("", reason)]) from error


def _validate_form(row: models.Shard | models.Instance) -> list[Refusal]:
    try:
        row.clean_fields(exclude=["shard"])
        row.clean()
    except ValidationError as error:
        return [Refusal(name, " ".join(messages)) for name, messages in error.message_dict.items()]
    return []


def _accept(probed: InspectedServer, refusals: list[Refusal]) -> CheckedServer:
    if refusals:
        raise CandidateRefused(refusals)
    return CheckedServer(probed.address, probed.facts)


def _record(shard: models.Shard, candidate: Instance, *, actor: str, reason: str) -> Topology:
    row = _build_row(candidate)
    row.shard = shard
    row.save()
    return publish(reason=reason, actor=actor)


def _build_row(candidate: Instance) -> models.Instance:
    fields = {name: getattr(candidate, name) for name in _FIELDS}
    return models.Instance(name=candidate.name, **fields | {"role": candidate.role.value})
