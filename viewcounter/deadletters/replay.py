"""Operations on dead letters: list, count after all (replay), give up (discard).

A replay appends the event, under its own id, to the log of its partition, and then marks the row; the row stays
locked in between, so that a drain which refuses the event once more marks it new after us, not before. A process that
dies between the two leaves the event in the log and the row new: replaying again is harmless, as the event's id
is counted once. A replayed event is received again: it is in the ledger once as dead-lettered, for the first
time, and once as whatever became of it now.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Self

from clusterproxy.errors import ClusterProxyError
from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Topology
from shardproxy.errors import ShardProxyError
from viewcounter.deadletters.errors import DeadLetterNotResolved, DeadLetterUnconfirmed, UnknownDeadLetter
from viewcounter.deadletters.shard_pages import Page, read_page
from viewcounter.eventlog.codec import AcceptedEvent, get_event, pack_entry, unpack_entry
from viewcounter.eventlog.interface import EventLog
from viewcounter.storage.dead_letters import (
    LIST_DEAD_LETTERS,
    READ_DEAD_LETTER,
    DeadLetterFilter,
    DeadLetterState,
    LockedDeadLetter,
    StoredDeadLetter,
    list_parameters,
    lock_dead_letters,
    resolve_dead_letters,
)
from viewcounter.storage.page_keys import PageKey


class DeadLetterId(NamedTuple):
    """Written `{shard}-{row}`: rows are numbered by their shard."""

    shard_id: int
    row_id: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UnknownDeadLetter for a malformed id."""
        shard, _, row = text.partition("-")
        if not (text.isascii() and shard.isdecimal() and row.isdecimal() and len(shard) < 5 and len(row) < 19):
            raise UnknownDeadLetter(f"no dead letter has the id {text[:40]!r}")
        return cls(int(shard), int(row))

    def __str__(self) -> str:
        return f"{self.shard_id}-{self.row_id}"


@dataclass(frozen=True, slots=True)
class FoundDeadLetter:
    id: DeadLetterId
    letter: StoredDeadLetter


DeadLetterPage = Page[FoundDeadLetter]


class Result(StrEnum):
    """Result of replaying or discarding one dead letter."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"
    UNCHANGED = "unchanged"
    """The dead letter was in the wanted state already; nothing was done."""
    UNREADABLE = "unreadable_entry"
    TOO_LATE = "too_late"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    ALREADY_DISCARDED = "already_discarded"
    ALREADY_REPLAYED = "already_replayed"
    NOT_FOUND = "not_found"
    UNAVAILABLE = "unavailable"
    """Shard or log did not confirm the operation; it may be repeated."""


ActOnShard = Callable[[int, list[int]], "list[ReplayOutcome]"]
"""Takes a shard's id and ids of its rows; leaves out rows that do not exist."""

DONE = frozenset({Result.REPLAYED, Result.DISCARDED, Result.UNCHANGED})


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """`detail` is for people; may be empty."""

    id: DeadLetterId
    result: Result
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReplayRules:
    """Events that happened more than `accept_window_seconds` before `now` are not replayed."""

    topology: Topology
    now: datetime
    accept_window_seconds: int


def check_outcome(outcome: ReplayOutcome) -> None:
    """Raises UnknownDeadLetter, DeadLetterNotResolved or DeadLetterUnconfirmed unless the dead letter is resolved."""
    if outcome.result is Result.NOT_FOUND:
        raise UnknownDeadLetter(f"no dead letter has the id {outcome.id}")
    if outcome.result is Result.UNAVAILABLE:
        raise DeadLetterUnconfirmed(outcome.detail)
    if outcome.result not in DONE:
        raise DeadLetterNotResolved(outcome.result.value, outcome.detail)


def list_dead_letters(
    cluster: ClusterProxy, wanted: DeadLetterFilter, *, before: PageKey | None, limit: int
) -> DeadLetterPage:
    """Raises IndexError for an unknown partition, and the first shard's error when none answered."""
    return read_page(
        cluster,
        LIST_DEAD_LETTERS,
        list_parameters(wanted, before=before, limit=limit + 1),
        partitions=None if wanted.partition is None else [wanted.partition],
        limit=limit,
        read_row=lambda shard_id, row: FoundDeadLetter(
            DeadLetterId(shard_id, row["id"]), StoredDeadLetter.from_row(row)
        ),
        get_place=lambda found: found.letter.place,
    )


def iterate_dead_letters(
    cluster: ClusterProxy, wanted: DeadLetterFilter, *, page_size: int
) -> Iterator[FoundDeadLetter]:
    """All pages, newest first. Raises the error of a shard that does not answer instead of omitting its rows."""
    place: PageKey | None = None
    while True:
        page = list_dead_letters(cluster, wanted, before=place, limit=page_size)
        if page.missing_shards:
            names = ", ".join(cluster.topology.get_shard(shard_id).name for shard_id in page.missing_shards)
            raise DeadLetterUnconfirmed(f"no answer from {names}")
        yield from page.items
        place = page.next_key
        if place is None:
            return


def get_dead_letter(cluster: ClusterProxy, wanted: DeadLetterId) -> tuple[FoundDeadLetter, bytes]:
    """With its payload. Raises UnknownDeadLetter, and the shard's error when it does not answer."""
    partitions = cluster.topology.get_partitions_of(wanted.shard_id)
    if not partitions:
        raise UnknownDeadLetter(f"no dead letter has the id {wanted}")
    scattered = cluster.scatter(
        READ_DEAD_LETTER, {"id": wanted.row_id}, partitions=partitions, consistency=Consistency.STRONG
    )
    for error in scattered.missing.values():
        raise error
    rows = [row for result in scattered.results.values() for row in result.rows]
    if not rows:
        raise UnknownDeadLetter(f"no dead letter has the id {wanted}")
    return FoundDeadLetter(wanted, StoredDeadLetter.from_row(rows[0])), bytes(rows[0]["payload"])


def replay_dead_letters(
    cluster: ClusterProxy, log: EventLog, wanted: Iterable[DeadLetterId], *, actor: str, rules: ReplayRules
) -> list[ReplayOutcome]:
    """Count these after all. One outcome each, in their order, with the reason of a failure."""
    return _resolve_by_shard(
        cluster, wanted, lambda shard_id, ids: _replay_of_shard(cluster, log, shard_id, ids, actor=actor, rules=rules)
    )


def discard_dead_letters(cluster: ClusterProxy, wanted: Iterable[DeadLetterId], *, actor: str) -> list[ReplayOutcome]:
    """Give these up; their rows stay. One outcome each, in their order."""
    return _resolve_by_shard(cluster, wanted, lambda shard_id, ids: _discard_of_shard(cluster, shard_id, ids, actor))


def find_obstacle(letter: StoredDeadLetter, *, admits_since: datetime, rules: ReplayRules) -> tuple[Result, str] | None:
    """Pure. Why this dead letter is not replayed; None if it is."""
    if letter.state is DeadLetterState.REPLAYED:
        return Result.UNCHANGED, f"replayed by {letter.actor}"
    if letter.state is DeadLetterState.DISCARDED:
        return Result.ALREADY_DISCARDED, f"discarded by {letter.actor}"
    if letter.event_id is None:
        return Result.UNREADABLE, "no event can be read from it; export its payload or discard it"
    oldest = max(admits_since, rules.now - timedelta(seconds=rules.accept_window_seconds))
    if letter.occurred_at is None or letter.occurred_at < oldest:
        return Result.TOO_LATE, f"happened before {oldest.isoformat()}: counting it exactly once is no longer certain"
    if letter.event_type_id not in {event_type.id for event_type in rules.topology.event_types}:
        return Result.UNKNOWN_EVENT_TYPE, f"no event type has the id {letter.event_type_id}; add it first"
    return None


def _resolve_by_shard(cluster: ClusterProxy, wanted: Iterable[DeadLetterId], act: ActOnShard) -> list[ReplayOutcome]:
    """A shard that does not answer does not delay the dead letters of the others."""
    ids = list(dict.fromkeys(wanted))
    by_shard: defaultdict[int, list[int]] = defaultdict(list)
    for one in ids:
        by_shard[one.shard_id].append(one.row_id)
    outcomes: dict[DeadLetterId, ReplayOutcome] = {}
    for shard_id, row_ids in by_shard.items():
        if not cluster.topology.get_partitions_of(shard_id):
            continue
        try:
            found = act(shard_id, row_ids)
        except (ShardProxyError, ClusterProxyError) as error:
            found = [
                ReplayOutcome(DeadLetterId(shard_id, row_id), Result.UNAVAILABLE, str(error)) for row_id in row_ids
            ]
        outcomes |= {outcome.id: outcome for outcome in found}
    return [outcomes.get(one) or ReplayOutcome(one, Result.NOT_FOUND, "there is none with this id") for one in ids]


def _replay_of_shard(
    cluster: ClusterProxy, log: EventLog, shard_id: int, row_ids: list[int], *, actor: str, rules: ReplayRules
) -> list[ReplayOutcome]:
    outcomes: list[ReplayOutcome] = []
    events: defaultdict[int, dict[int, AcceptedEvent]] = defaultdict(dict)
    with cluster.shard_transaction(shard_id) as connection:
        for locked in lock_dead_letters(connection, row_ids, epochs=_get_epochs(cluster, shard_id)):
            letter = locked.letter
            obstacle = (
                _find_departure(locked)
                or find_obstacle(letter, admits_since=locked.admits_since, rules=rules)
                or _find_move(locked)
            )
            if obstacle is None:
                events[letter.partition][letter.id] = _read_event(locked.payload)
            else:
                outcomes.append(ReplayOutcome(DeadLetterId(shard_id, letter.id), *obstacle))
        received_us = int(rules.now.timestamp() * 1_000_000)
        appended = log.append({p: pack_entry(rows.values(), received_us=received_us) for p, rows in events.items()})
        for partition, rows in events.items():
            error = appended.failed.get(partition)
            if error is None:
                resolve_dead_letters(connection, list(rows), state=DeadLetterState.REPLAYED, actor=actor)
            result, detail = (Result.REPLAYED, "") if error is None else (Result.UNAVAILABLE, str(error))
            outcomes += [ReplayOutcome(DeadLetterId(shard_id, row_id), result, detail) for row_id in rows]
    return outcomes


def _discard_of_shard(cluster: ClusterProxy, shard_id: int, row_ids: list[int], actor: str) -> list[ReplayOutcome]:
    outcomes: list[ReplayOutcome] = []
    with cluster.shard_transaction(shard_id) as connection:
        locked = lock_dead_letters(connection, row_ids, epochs=_get_epochs(cluster, shard_id))
        new = [one for one in locked if one.letter.state is DeadLetterState.NEW]
        resolved = [one.letter.id for one in new if not (_find_departure(one) or _find_move(one))]
        resolve_dead_letters(connection, resolved, state=DeadLetterState.DISCARDED, actor=actor)
        for one in locked:
            obstacle = _find_departure(one) or (_find_move(one) if one in new else None)
            result, detail = obstacle or _describe_discard(one.letter)
            outcomes.append(ReplayOutcome(DeadLetterId(shard_id, one.letter.id), result, detail))
    return outcomes


def _get_epochs(cluster: ClusterProxy, shard_id: int) -> dict[int, int]:
    topology = cluster.topology
    return {p: topology.assignments[p].epoch for p in topology.get_partitions_of(shard_id)}


def _find_departure(locked: LockedDeadLetter) -> tuple[Result, str] | None:
    """Pure. An outcome where the row is a remnant of a partition that has moved away."""
    if locked.is_here:
        return None
    partition = locked.letter.partition
    return (
        Result.UNAVAILABLE,
        f"partition {partition} has moved, and its dead letters have other ids now; list them again",
    )


def _find_move(locked: LockedDeadLetter) -> tuple[Result, str] | None:
    """Pure. An outcome where the change of the row would be missing in the copy that is being made."""
    if not locked.is_being_moved:
        return None
    partition = locked.letter.partition
    return Result.UNAVAILABLE, f"partition {partition} is being moved to another shard; try again when it is there"


def _describe_discard(letter: StoredDeadLetter) -> tuple[Result, str]:
    match letter.state:
        case DeadLetterState.NEW:
            return Result.DISCARDED, ""
        case DeadLetterState.DISCARDED:
            return Result.UNCHANGED, f"discarded by {letter.actor}"
        case DeadLetterState.REPLAYED:
            return Result.ALREADY_REPLAYED, f"replayed by {letter.actor}"


def _read_event(payload: bytes) -> AcceptedEvent:
    """The event of an entry that holds one dead letter."""
    return get_event(unpack_entry(payload), 0)
