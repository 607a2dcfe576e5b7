"""Appends what an older log server still holds of lost ranges to the log again.

Four steps, each safe to repeat: the older server is fenced; its entries of each lost range are appended to the log, as
any sender would send them again; the workers apply them; then the losses are closed. Event ids make it harmless that
some of these entries were applied before.

Invariant: a loss is closed as salvaged only for entries that were read from the older server and have been applied, and
not while another loss covers where they were appended.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.topology.event_log import is_log_of
from shardproxy.query import QueryClass
from viewcounter.eventlog.codec import link_entry
from viewcounter.eventlog.interface import FIRST_TERM, START, Entry, EventLog, Position
from viewcounter.eventlog.redis_older_server import OlderServer
from viewcounter.loglosses.errors import LossesUnconfirmed, SalvageRefused
from viewcounter.loglosses.losses import iterate_losses
from viewcounter.storage.log_losses import (
    LossKey,
    LossOutcome,
    StoredLoss,
    close_log_losses,
    insert_rest_of_loss,
    lock_partitions_to_close,
)
from viewcounter.storage.partitions import READ_STATES

READ_ENTRIES = 100
POLL_SECONDS = 0.2
MAX_SEQUENCE = 2**64 - 1
"""Of a position: that of the last one of a term."""


@dataclass(frozen=True, slots=True)
class SalvagePlan:
    """Of a loss: the older server may hold what lies past `after`. `end`: of what it holds of the partition."""

    loss: StoredLoss
    after: Position
    end: Position


@dataclass(frozen=True, slots=True)
class Salvaged:
    """`entries`: their number. `ends`: by partition, the position of the last entry that was appended again. `through`:
    for each plan, the older server has held everything past its `after` up to there."""

    entries: int
    ends: Mapping[int, Position]
    through: Mapping[LossKey, Position]


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
    """For each loss of which the server may hold something, in the order of partitions and positions."""
    first_term = older.read_first_term()
    before_first = START if first_term <= FIRST_TERM else Position(first_term - 1, MAX_SEQUENCE)
    ends = older.read_ends({loss.partition for loss in losses})
    plans = []
    for loss in losses:
        floor, end = ends[loss.partition]
        after = max(Position.parse(loss.after_position), floor, before_first)
        if after < Position.parse(loss.through_position) and after <= end:
            plans.append(SalvagePlan(loss, after, end))
    return sorted(plans, key=lambda plan: (plan.loss.partition, plan.after))


def append_again(
    plans: Sequence[SalvagePlan],
    older: OlderServer,
    log: EventLog,
    *,
    is_whole: bool,
    on_progress: Callable[[SalvagePlan, int], None],
) -> Salvaged:
    """`is_whole`: nothing was ever acknowledged past the server's end. `on_progress` gets a plan and the number of its
    entries appended so far. Raises EventLogError."""
    ends: dict[int, Position] = {}
    covered: dict[LossKey, Position] = {}
    total = 0
    for plan in plans:
        partition, count = plan.loss.partition, 0
        run = _Run(plan.after)
        for entries in _read(plan, older):
            for entry in entries:
                run.add(entry)
                if not entry.lost_before:
                    # Without its link: it would say that its process has appended here.
                    result = log.append({partition: link_entry(entry.payload, None)})
                    for error in result.failed.values():
                        raise error
                    ends[partition] = result.positions[partition]
                    count += 1
            on_progress(plan, count)
        total += count
        is_at_end = is_whole and run.is_unbroken and run.through == plan.end
        covered[plan.loss.key] = Position.parse(plan.loss.through_position) if is_at_end else run.through
    return Salvaged(total, ends, covered)


def _read(plan: SalvagePlan, older: OlderServer) -> Iterator[list[Entry]]:
    after, through = plan.after, Position.parse(plan.loss.through_position)
    while entries := older.read(plan.loss.partition, after=after, through=through, max_entries=READ_ENTRIES):
        yield entries
        after = entries[-1].position


class _Run:
    """Entries without a gap from a position on. A term that began after a loss is a gap: the server lost that too."""

    def __init__(self, after: Position) -> None:
        self.through = after
        self.is_unbroken = True

    def add(self, entry: Entry) -> None:
        is_next = entry.position == Position(self.through.term, self.through.seq + 1)
        follows = is_next or (entry.position.term > self.through.term and entry.position.seq == 0)
        self.is_unbroken = self.is_unbroken and follows and not entry.lost_before
        if self.is_unbroken:
            self.through = entry.position


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
    found: Salvaged,
    *,
    actor: str,
    reason: str,
) -> list[StoredLoss]:
    """Closes the losses of `plans` of which the server held something. What it did not hold of one stays open as a loss
    of its own. Returns the losses that stay open as they are."""
    left = []
    for plan in plans:
        end, through = found.ends.get(plan.loss.partition), found.through[plan.loss.key]
        if through == plan.after or _is_lost(cluster, end, plan.loss.partition):
            left.append(plan.loss)
        else:
            _close(cluster, plan, through, actor=actor, reason=reason)
    return left


def _close(cluster: ClusterProxy, plan: SalvagePlan, through: Position, *, actor: str, reason: str) -> None:
    key = plan.loss.key
    with cluster.transaction(key.partition, query_class=QueryClass.MAINTENANCE) as connection:
        lock_partitions_to_close(connection, [key.partition])
        if not close_log_losses(connection, [key], outcome=LossOutcome.SALVAGED, actor=actor, reason=reason):
            return
        detail = f"left of {plan.loss.after_position} to {plan.loss.through_position}, the rest was salvaged"
        first, last = Position.parse(plan.loss.after_position), Position.parse(plan.loss.through_position)
        for after, end in ((first, plan.after), (through, last)):
            if after < end:
                insert_rest_of_loss(connection, key, after=str(after), through=str(end), detail=detail)


def _is_lost(cluster: ClusterProxy, end: Position | None, partition: int) -> bool:
    return end is not None and any(
        Position.parse(loss.after_position) < end <= Position.parse(loss.through_position)
        for loss in iterate_losses(cluster, only_open=False, partition=partition)
        if loss.outcome != LossOutcome.SALVAGED
    )
