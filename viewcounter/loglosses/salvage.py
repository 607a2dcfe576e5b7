"""Appends what an older log server still holds of lost ranges to the log again.

Four steps, each safe to repeat: the older server is fenced; its entries of each lost range are appended to the log, as
any sender would send them again; the workers apply them; then the losses are closed. Event ids make it harmless that
some of these entries were applied before.

Invariant: a loss is closed as salvaged only for entries that were read from the older server and have been applied, and
not while another loss covers where they were appended.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.topology.event_log import is_log_of
from shardproxy.query import QueryClass
from viewcounter.eventlog.codec import link_entry
from viewcounter.eventlog.interface import START, EventLog, Position
from viewcounter.eventlog.redis_older_server import OlderServer
from viewcounter.loglosses.errors import LossesUnconfirmed, SalvageRefused
from viewcounter.loglosses.losses import iterate_losses
from viewcounter.storage.log_losses import (
    LossOutcome,
    StoredLoss,
    close_log_losses,
    insert_rest_of_loss,
    lock_partitions_to_close,
)
from viewcounter.storage.partitions import READ_STATES

READ_ENTRIES = 100
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class SalvagePlan:
    """Of a loss: the older server has what lies past `after`, up to and including `through`."""

    loss: StoredLoss
    after: Position
    through: Position


@dataclass(frozen=True, slots=True)
class Salvaged:
    """`ends`: by partition, the position of the last entry that was appended again."""

    entries: int
    ends: Mapping[int, Position]


def fence(older: OlderServer, log: EventLog, *, cluster_id: str) -> None:
    """Raises SalvageRefused if it is the log in use, or not one of this cluster."""
    if older.read_run() == log.session.run:
        raise SalvageRefused("this server is the cluster's log, which cannot be salvaged")
    identity = older.find_identity()
    if identity is None:
        raise SalvageRefused("the server holds no log")
    if not is_log_of(cluster_id, identity.id):
        raise SalvageRefused(f"the server holds the log {identity.id} of another cluster")
    older.fence()


def plan_salvage(losses: Sequence[StoredLoss], older: OlderServer) -> list[SalvagePlan]:
    """For each loss of which the server holds something, in the order of partitions and positions."""
    ends = older.read_ends({loss.partition for loss in losses})
    plans = []
    for loss in losses:
        floor, end = ends[loss.partition]
        after = max(Position.parse(loss.after_position), floor)
        through = min(Position.parse(loss.through_position), end)
        if after < through:
            plans.append(SalvagePlan(loss, after, through))
    return sorted(plans, key=lambda plan: (plan.loss.partition, plan.after))


def append_again(
    plans: Sequence[SalvagePlan], older: OlderServer, log: EventLog, *, on_progress: Callable[[SalvagePlan, int], None]
) -> Salvaged:
    """`on_progress` gets a plan and the number of its entries appended so far. Raises EventLogError."""
    ends: dict[int, Position] = {}
    total = 0
    for plan in plans:
        partition, after, count = plan.loss.partition, plan.after, 0
        while entries := older.read(partition, after=after, through=plan.through, max_entries=READ_ENTRIES):
            for entry in entries:
                if not entry.lost_before:
                    # Without its link: it would say that its process has appended here.
                    result = log.append({partition: link_entry(entry.payload, None)})
                    for error in result.failed.values():
                        raise error
                    ends[partition] = result.positions[partition]
                    count += 1
            after = entries[-1].position
            on_progress(plan, count)
        total += count
    return Salvaged(total, ends)


def wait_until_applied(
    cluster: ClusterProxy, ends: Mapping[int, Position], *, timeout_seconds: float, clock: Callable[[], float]
) -> None:
    """Raises LossesUnconfirmed after `timeout_seconds`."""
    ends_at = clock() + timeout_seconds
    while waiting := _find_unapplied(cluster, ends):
        if clock() >= ends_at:
            names = ", ".join(map(str, sorted(waiting)))
            raise LossesUnconfirmed(f"the entries of partitions {names} have not been applied: are workers running?")
        time.sleep(POLL_SECONDS)


def _find_unapplied(cluster: ClusterProxy, ends: Mapping[int, Position]) -> Collection[int]:
    scattered = cluster.scatter(READ_STATES, {}, partitions=list(ends), consistency=Consistency.STRONG)
    rows = [row for result in scattered.results.values() for row in result.rows]
    reached = {row["partition"]: Position.parse(row["position"]) for row in rows}
    return [partition for partition, end in ends.items() if reached.get(partition, START) < end]


def close_salvaged(
    cluster: ClusterProxy,
    plans: Sequence[SalvagePlan],
    ends: Mapping[int, Position],
    *,
    is_whole: bool,
    actor: str,
    reason: str,
) -> list[StoredLoss]:
    """Closes the losses of `plans`. What the server did not hold of one stays open as a loss of its own, except that
    with `is_whole` nothing was ever acknowledged past its end. Returns the losses that stay open as they are, since
    what was appended again has been lost once more."""
    lost_again = [plan.loss for plan in plans if _is_lost(cluster, ends.get(plan.loss.partition), plan.loss.partition)]
    for plan in plans:
        if plan.loss not in lost_again:
            _close(cluster, plan, is_whole=is_whole, actor=actor, reason=reason)
    return lost_again


def _close(cluster: ClusterProxy, plan: SalvagePlan, *, is_whole: bool, actor: str, reason: str) -> None:
    key = plan.loss.key
    with cluster.transaction(key.partition, query_class=QueryClass.MAINTENANCE) as connection:
        lock_partitions_to_close(connection, [key.partition])
        if not close_log_losses(connection, [key], outcome=LossOutcome.SALVAGED, actor=actor, reason=reason):
            return
        detail = f"left of {plan.loss.after_position} to {plan.loss.through_position}, the rest was salvaged"
        for after, through in _find_rest(plan, is_whole=is_whole):
            insert_rest_of_loss(connection, key, after=str(after), through=str(through), detail=detail)


def _is_lost(cluster: ClusterProxy, end: Position | None, partition: int) -> bool:
    return end is not None and any(
        Position.parse(loss.after_position) < end <= Position.parse(loss.through_position)
        for loss in iterate_losses(cluster, only_open=False, partition=partition)
        if loss.outcome != LossOutcome.SALVAGED
    )


def _find_rest(plan: SalvagePlan, *, is_whole: bool) -> list[tuple[Position, Position]]:
    first, last = Position.parse(plan.loss.after_position), Position.parse(plan.loss.through_position)
    rest = []
    if first < plan.after:
        rest.append((first, plan.after))
    if plan.through < last and not is_whole:
        rest.append((plan.through, last))
    return rest
