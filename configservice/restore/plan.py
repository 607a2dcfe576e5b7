"""Plans the topology of a rebuilt control database. Pure.

The shards decide: the primary is the instance that takes writes at the highest term, and a partition belongs to the
shard whose row has the highest epoch. The document (a backup's topology, or a signed snapshot) gives everything else:
addresses, durability, event types, ids. Where the two contradict each other so that counts could be lost or doubled,
nothing is planned.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from configservice.errors import RestoreRefused
from configservice.moves.states import FINISHED, MoveState
from configservice.restore.facts import (
    HELD,
    INCOMING,
    MOVED,
    OWNERS,
    InstanceFacts,
    LostMove,
    PartitionRow,
    RestorationPlan,
)
from configservice.topology.model import Assignment, Instance, Role, Shard, Topology, TopologyVersion

Facts = Mapping[str, InstanceFacts | None]
"""By the name of the instance; None: it does not answer."""
Rows = Mapping[int, Mapping[int, PartitionRow]]
"""By shard id, then by partition. A shard that was not read is missing."""


@dataclass(slots=True)
class _Notes:
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def plan_restoration(
    document: Topology,
    facts: Facts,
    *,
    known: Iterable[TopologyVersion] = (),
    unread_shards: Collection[str] = (),
) -> RestorationPlan:
    """`known`: versions of other documents; the plan's is above all of them. `unread_shards`: names of shards of which
    no instance answers, and for which the operator lets the document decide. Raises RestoreRefused with every reason.
    """
    notes = _Notes()
    _check_clusters(document, facts, notes)
    shards = tuple(_plan_shard(shard, facts, unread_shards, notes) for shard in document.shards)
    rows = {shard.id: found for shard in shards if (found := _choose_rows(shard, facts)) is not None}
    owners = [_find_owner(document, partition, rows, notes) for partition in range(document.partition_count)]
    if notes.refusals:
        raise RestoreRefused("; ".join(notes.refusals))
    versions = [document.version, *known]
    generations = [f.generation for f in facts.values() if f is not None]
    topology = msgspec.structs.replace(
        document,
        generation=1 + max([*generations, *(v.generation for v in versions)]),
        epoch=1 + max(v.epoch for v in versions),
        shards=shards,
        assignments=tuple(owners),
    )
    return RestorationPlan(topology, tuple(_find_moves(topology, rows)), tuple(notes.warnings))


def _check_clusters(document: Topology, facts: Facts, notes: _Notes) -> None:
    for name, found in facts.items():
        if found is not None and found.cluster_id not in (None, document.cluster_id):
            notes.refusals.append(f"{name} is of cluster {found.cluster_id}, the document of {document.cluster_id}")


def _plan_shard(shard: Shard, facts: Facts, unread_shards: Collection[str], notes: _Notes) -> Shard:
    """The shard with the roles and the term that its instances show."""
    answers = {i.name: found for i in shard.instances if (found := facts.get(i.name)) is not None}
    term = max([shard.term, *(f.term for f in answers.values())])
    # A former primary that was away takes writes too, but at a lower term than the document's, or than the new
    # primary's, which replicas of that one show as well.
    primaries = sorted(name for name, f in answers.items() if not f.is_standby and f.term == term)
    if len(primaries) > 1:
        notes.refusals.append(f"{' and '.join(primaries)} of {shard.name} both take writes at shard term {term}")
    if not primaries and shard.name not in unread_shards and not any(i.name in answers for i in shard.copies):
        notes.refusals.append(
            f"no instance of {shard.name} answers that has its rows, so its primary and its partitions are unknown:"
            f" bring one back, or let the document decide with --accept-unread {shard.name}"
        )
    if not primaries:
        notes.warnings.append(f"no primary of {shard.name} answers: its roles and its term are the document's")
        return shard
    (primary, *_) = primaries
    silent = sorted(i.name for i in shard.instances if i.name not in answers)
    if silent:
        notes.warnings.append(f"{', '.join(silent)} of {shard.name}: no answer")
    instances = tuple(_plan_instance(i, answers.get(i.name), is_primary=i.name == primary) for i in shard.instances)
    return msgspec.structs.replace(shard, term=term, instances=instances)


def _plan_instance(instance: Instance, found: InstanceFacts | None, *, is_primary: bool) -> Instance:
    if is_primary:
        if instance.role is Role.PRIMARY:
            return instance
        return msgspec.structs.replace(instance, role=Role.PRIMARY, drained=False, promotable=True)
    # One that was primary, or takes writes, may have diverged. The config service makes it a replica when it follows.
    if instance.role is Role.PRIMARY or (found is not None and not found.is_standby):
        return msgspec.structs.replace(instance, role=Role.FENCED)
    return instance


def _choose_rows(shard: Shard, facts: Facts) -> Mapping[int, PartitionRow] | None:
    """Of the primary, or of the instance at the highest term; None if no copy answers."""
    answers = [(i, found) for i in shard.copies if (found := facts.get(i.name)) is not None]
    if not answers:
        return None
    _, chosen = max(answers, key=lambda answer: (answer[0].role is Role.PRIMARY, answer[1].term, answer[0].name))
    return chosen.partitions


def _find_owner(document: Topology, partition: int, rows: Rows, notes: _Notes) -> Assignment:
    """A copy that was not activated counts only if the document says that its shard owns the partition by now."""
    assigned = document.assignments[partition]
    claims = [
        Assignment(shard_id, row.epoch)
        for shard_id, by_partition in rows.items()
        if (row := by_partition.get(partition)) is not None
        and (row.state in OWNERS or (row.state == INCOMING and Assignment(shard_id, row.epoch) == assigned))
    ]
    if assigned.shard_id not in rows:
        claims.append(assigned)  # the operator has let the document decide
    newest = max(claims, key=lambda claim: claim.epoch, default=None)
    names = {shard.id: shard.name for shard in document.shards}
    if newest is None:
        notes.refusals.append(
            f"no shard of the document owns partition {partition}: if a shard was added since, give a newer"
            " topology.json"
        )
        return assigned
    rivals = sorted(names[claim.shard_id] for claim in claims if claim.epoch == newest.epoch)
    if len(rivals) > 1:
        notes.refusals.append(f"partition {partition} is owned by {' and '.join(rivals)} at epoch {newest.epoch}")
    if newest.epoch < assigned.epoch:
        notes.refusals.append(
            f"by the document, partition {partition} is on {names[assigned.shard_id]} at epoch {assigned.epoch}, but"
            f" only {names[newest.shard_id]} has it, at epoch {newest.epoch}"
        )
    return newest


def _find_moves(topology: Topology, rows: Rows) -> Iterable[LostMove]:
    """Unfinished moves by what they have left on the shards. At most one of a partition is unfinished."""
    for partition, owner in enumerate(topology.assignments):
        own = rows.get(owner.shard_id, {}).get(partition)
        others = {s: row for s in rows if s != owner.shard_id and (row := rows[s].get(partition)) is not None}
        found = [_describe_move(partition, owner, own, shard_id, row) for shard_id, row in sorted(others.items())]
        moves = [move for move in found if move is not None]
        if own is not None and own.state == HELD and not any(m.state is MoveState.ABORTING for m in moves):
            moves += _free_held(topology, partition, owner, own, others)
        # First the one that lets the partition count again.
        open_moves = sorted((m for m in moves if m.state not in FINISHED), key=lambda m: m.state is MoveState.FLIPPED)
        yield from (move for move in moves if move.state in FINISHED)
        yield from open_moves[:1]


def _describe_move(
    partition: int, owner: Assignment, own: PartitionRow | None, shard_id: int, row: PartitionRow
) -> LostMove | None:
    if row.epoch > owner.epoch:
        # Recorded even if it is over: no later move may use its epoch again.
        state = MoveState.ABORTED if row.state == MOVED else MoveState.ABORTING
        claims = _get_claim(row.epoch, own, row)
        return LostMove(partition, owner.shard_id, shard_id, owner.epoch, row.epoch, state, claims)
    if row.state == MOVED:
        return None
    claims = _get_claim(owner.epoch, own, row)
    return LostMove(partition, shard_id, owner.shard_id, row.epoch, owner.epoch, MoveState.FLIPPED, claims)


def _free_held(
    topology: Topology, partition: int, owner: Assignment, own: PartitionRow, others: Mapping[int, PartitionRow]
) -> list[LostMove]:
    """An abort of a move whose copy is gone, so that the partition counts again. Its target has nothing to remove."""
    epoch = 1 + max([owner.epoch, own.token_epoch, *(row.epoch for row in others.values())])
    targets = [shard.id for shard in topology.shards if shard.id != owner.shard_id]
    return [LostMove(partition, owner.shard_id, t, owner.epoch, epoch, MoveState.ABORTING, 0) for t in targets[:1]]


def _get_claim(epoch: int, *rows: PartitionRow | None) -> int:
    return max((row.token_claim for row in rows if row is not None and row.token_epoch == epoch), default=0)
