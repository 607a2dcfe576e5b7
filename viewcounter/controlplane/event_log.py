"""Identity of the event log: creates the log's id and term, and replaces it after an operator has accepted a loss.

Invariant: a log server gets an id only while the cluster has none, or from an operator who has accepted that the
previous log is lost. An emptied server has no id, so no process appends to it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.db import transaction

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.models import Cluster
from configservice.topology.event_log import Loss, is_log_of, make_log_id, record_losses, replace_log, set_log_id
from configservice.topology.model import Topology
from configservice.topology.publication import lock_topology
from runtime.errors import Permanent
from viewcounter.eventlog.interface import EventLog, LogIdentity, Position, get_next_term
from viewcounter.storage.log_sessions import LossReason, LostRange, insert_log_losses, raise_log_term
from viewcounter.storage.partitions import ELSEWHERE, READ_STATES, pass_over_lost


class LogRefused(Exception, Permanent):
    """The log server cannot become the log of this cluster. Nothing was changed; the text says what to do."""


@dataclass(frozen=True, slots=True)
class AppliedPosition:
    """How far the primary of a shard has applied one partition."""

    shard: str
    position: Position


def create_log(cluster: ClusterProxy, log: EventLog, *, actor: str) -> str | None:
    """Give the log an id and a term, and return the id; None if the cluster has one already. Safe to repeat and to
    interrupt.

    A log without an id that already holds entries is accepted if it reaches the applied positions of all shards. A log
    of a release without terms gets one. Raises LogRefused, EventLogError, NoTopology, DatabaseError.
    """
    with transaction.atomic():
        lock_topology()
        row = Cluster.objects.get()
        if row.log_id:
            _begin_terms(log, row.log_id, cluster.topology.partition_count)
            return None
        found = log.read_identity()
        _check_owner(found, cluster_id=str(row.id))
        ends = log.read_tails(range(cluster.topology.partition_count)).positions
        behind = [p for p, applied in _read_applied(cluster).items() if ends[p] < applied.position]
        if behind:
            raise LogRefused(
                f"the log server ends before the applied positions of partitions {_list(behind)}: it is not the log "
                "that the shards were filled from. Bring that log back; if it is lost, run `manage.py accept_log_loss`"
            )
        log_id = make_log_id(str(row.id)) if found is None else found.id
        if found is None or not found.term:
            log.open(LogIdentity(log_id, _choose_term(ends.values())))
        set_log_id(log_id, actor=actor)
        return log_id


def _begin_terms(log: EventLog, log_id: str, partition_count: int) -> None:
    """Of a log whose server's clock has given the positions. Its id stays, so that processes of the release before may
    go on."""
    if log.read_identity() == LogIdentity(log_id, term=0):
        log.open(LogIdentity(log_id, _choose_term(log.read_tails(range(partition_count)).positions.values())))


def _choose_term(positions: Iterable[Position], found: LogIdentity | None = None) -> int:
    """Above those of all positions, and above that of the server's log."""
    newest = max((position.term for position in positions), default=0)
    return get_next_term(max(newest, 0 if found is None else found.term))


def find_losses(cluster: ClusterProxy, log: EventLog) -> list[Loss]:
    """The entries that would be lost by going on with the present server and shards: partitions, with positions.

    If the server does not hold this cluster's log, all entries past the applied positions; if it does, the entries
    that it no longer holds and a shard has not applied. Raises LogRefused if nothing is lost or a position is unknown;
    EventLogError, NoTopology, DatabaseError.
    """
    row = Cluster.objects.get()
    found = log.read_identity()
    applied = _read_applied(cluster)
    if holds_log := found is not None and found.id == row.log_id:
        floors = log.read_floors(applied)
        applied = {p: one for p, one in applied.items() if one.position < floors[p]}
    else:
        _check_owner(found, cluster_id=str(row.id))
    if holds_log and not applied:
        raise LogRefused(
            f"nothing is lost: the log server holds the log of this cluster, {row.log_id}, with all entries that the "
            "shards have not applied"
        )
    return [
        Loss(partition=partition, shard=one.shard, position=str(one.position))
        for partition, one in sorted(applied.items())
    ]


def accept_loss(cluster: ClusterProxy, log: EventLog, *, actor: str, reason: str) -> Topology:
    """Go on with the present server and shards. Safe to repeat and to interrupt. Raises like `find_losses`."""
    found = log.read_identity()
    if found is not None and found.id == cluster.topology.log_id:
        return _pass_over_lost(cluster, log, actor=actor, reason=reason)
    return _replace_log(cluster, log, actor=actor, reason=reason)


def _pass_over_lost(cluster: ClusterProxy, log: EventLog, *, actor: str, reason: str) -> Topology:
    """Record the losses, then let shards that are behind the log's floors go on with the entries it still holds."""
    topology = cluster.topology
    losses = find_losses(cluster, log)
    record_losses(losses, log_id=topology.log_id, actor=actor, reason=reason)
    floors = {p: str(floor) for p, floor in log.read_floors([loss.partition for loss in losses]).items()}
    epochs = {loss.partition: topology.assignments[loss.partition].epoch for loss in losses}
    for shard in topology.shards:
        lost = {loss.partition: loss.position for loss in losses if loss.shard == shard.name}
        if lost:
            with cluster.shard_transaction(shard.id) as connection:
                passed = pass_over_lost(connection, lost, floors=floors, epochs=epochs)
                ranges = {p: LostRange(lost[p], floors[p], LossReason.TRIMMED, detail=reason) for p in passed}
                insert_log_losses(connection, sorted(ranges.items(), key=lambda item: item[0]))
    return topology


def _replace_log(cluster: ClusterProxy, log: EventLog, *, actor: str, reason: str) -> Topology:
    """No process appends before the last step, since the server has no valid id until then.

    The shards know the log's new term before it opens with a new id, which is published with the losses. The first
    entry of each partition in the term makes its reader record what is missing: a replica that has applied less
    than the present primary, and is promoted later, lacks more.
    """
    with transaction.atomic():
        lock_topology()
        losses = find_losses(cluster, log)
        applied = {loss.partition: Position.parse(loss.position) for loss in losses}
        term = _choose_term(applied.values(), log.read_identity())
        for shard in cluster.topology.shards:
            with cluster.shard_transaction(shard.id) as connection:
                raise_log_term(connection, cluster.topology.get_partitions_of(shard.id), term=term)
        log_id = make_log_id(cluster.topology.cluster_id)
        log.open(LogIdentity(log_id, term), lost=applied)
        return replace_log(log_id, losses=losses, actor=actor, reason=reason)


def _check_owner(found: LogIdentity | None, *, cluster_id: str) -> None:
    if found is not None and not is_log_of(cluster_id, found.id):
        raise LogRefused(
            f"the log server holds the log of another cluster, {found.id}: set VIEWCOUNTER_LOG_URL to your own server"
        )


def _read_applied(cluster: ClusterProxy) -> dict[int, AppliedPosition]:
    """The applied positions of all partitions. Raises LogRefused while a shard does not answer."""
    topology = cluster.topology
    scattered = cluster.scatter(READ_STATES, {}, consistency=Consistency.STRONG)
    rows = [row for result in scattered.results.values() for row in result.rows if row["state"] not in ELSEWHERE]
    applied = {
        row["partition"]: AppliedPosition(topology.get_shard_of(row["partition"]).name, Position.parse(row["position"]))
        for row in rows
    }
    unknown = sorted(set(range(topology.partition_count)) - applied.keys())
    if unknown:
        shards = sorted({topology.get_shard_of(partition).name for partition in unknown})
        raise LogRefused(
            f"the applied positions of partitions {_list(unknown)} on {', '.join(shards)} are unknown: first bring the "
            "primary back, or fail it over"
        )
    return applied


def _list(partitions: Collection[int]) -> str:
    return ", ".join(map(str, sorted(partitions)))
