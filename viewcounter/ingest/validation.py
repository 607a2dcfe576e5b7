"""Validates decoded events by what only the cluster knows: event types, the accept window, the partition.

Duplicate ids within a request are accepted here: only the flush, which sees every id of the window, can reject them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from configservice.topology.model import EventType, Topology
from viewcounter.eventlog.codec import AcceptedEvent
from viewcounter.events.event_id import MAX, NIL
from viewcounter.events.message import VALUE_SCALE, Event
from viewcounter.events.partition import get_partition
from viewcounter.events.viewer import NO_VIEWER
from viewcounter.events.viewer_keys import ViewerNumbers
from viewcounter.ingest.decoding import Item
from viewcounter.ingest.faults import (
    RESERVED_ID,
    EventFault,
    FaultyEvent,
    ItemProblem,
    build_problem,
    list_faults,
)
from viewcounter.ingest.settings import AcceptWindow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID_VERSION_7 = 7
_RESERVED_IDS = frozenset({NIL, MAX})
_NO_PARTITION = -1
_UNREAD = object()
_UNSTORED = "The event log did not store it; send it again under the same id."


@dataclass(slots=True)
class Acceptance:
    """`by_partition` holds the `count` valid events, in the order of the request; `problems` ascend by index.

    `partitions`: the partition of each item, _NO_PARTITION for one with a problem.
    """

    by_partition: dict[int, list[AcceptedEvent]]
    partitions: list[int]
    count: int
    problems: list[ItemProblem]

    def find_unstored(self, failed_partitions: Collection[int]) -> list[ItemProblem]:
        """The valid events of partitions whose append failed, as retryable problems."""
        unstored = {partition: iter(self.by_partition[partition]) for partition in failed_partitions}
        return [
            ItemProblem(
                index,
                str(UUID(bytes=next(unstored[partition]).event_id)),
                "log_unavailable",
                None,
                _UNSTORED,
                retryable=True,
            )
            for index, partition in enumerate(self.partitions)
            if partition in unstored
        ]


class Acceptor:
    """Validates events by one topology snapshot. Invariant: everything here is derived from `topology`."""

    def __init__(self, topology: Topology, window: AcceptWindow, *, viewers: ViewerNumbers) -> None:
        self.topology = topology
        self._window = window
        self._viewers = viewers
        self._types: dict[str, EventType] = {t.name: t for t in topology.event_types}
        self._partition_count = topology.partition_count

    def accept(self, items: Sequence[Item], *, now_us: int) -> Acceptance:
        oldest_us = now_us - self._window.past_seconds * 1_000_000
        latest_us = now_us + self._window.future_seconds * 1_000_000
        by_partition: dict[int, list[AcceptedEvent]] = {}
        partitions = [_NO_PARTITION] * len(items)
        problems: list[ItemProblem] = []
        for index, item in enumerate(items):
            if isinstance(item, ItemProblem):
                problems.append(self._complete(item, oldest_us, latest_us))
                continue
            event = self._validate(item, oldest_us, latest_us)
            if event is None:
                faults = self._find_faults(msgspec.structs.asdict(item), oldest_us, latest_us)
                problems.append(build_problem(index, str(item.event_id), faults))
                continue
            partition = partitions[index] = get_partition(item.video_id, partition_count=self._partition_count)
            by_partition.setdefault(partition, []).append(event)
        return Acceptance(by_partition, partitions, len(items) - len(problems), problems)

    def _validate(self, event: Event, oldest_us: int, latest_us: int) -> AcceptedEvent | None:
        """None for an event in which `_find_faults` finds something."""
        event_type = self._types.get(event.event_type)
        if event_type is None:
            return None
        occurred_us = _count_microseconds(event.occurred_at)
        if not oldest_us <= occurred_us <= latest_us:
            return None
        number = event.event_id.int
        # The id of a UUIDv7 is stored under its own minute, which must be within the window of de-duplication.
        if (number >> 76) & 0xF == _UUID_VERSION_7:
            if not oldest_us <= (number >> 80) * 1000 <= latest_us:
                return None
        elif number in _RESERVED_IDS:
            return None
        value = event.value
        if value is None:
            if event_type.valued:
                return None
            value = 0
        viewer_id = event.viewer_id
        return AcceptedEvent(
            event.event_id.bytes,
            event.video_id,
            event_type.id,
            occurred_us,
            round(value * VALUE_SCALE),
            NO_VIEWER if viewer_id is None else self._viewers.get_number(viewer_id, occurred_us),
        )

    def _complete(self, problem: ItemProblem, oldest_us: int, latest_us: int) -> ItemProblem:
        """With the faults of those fields of the event that could be read."""
        if not isinstance(problem, FaultyEvent):
            return problem
        faults = [*list_faults(problem), *self._find_faults(problem.readable, oldest_us, latest_us)]
        return build_problem(problem.index, problem.event_id, faults)

    def _find_faults(self, fields: Mapping[str, Any], oldest_us: int, latest_us: int) -> list[EventFault]:
        """`fields`: values as an `Event` has them; one that could not be read is absent."""
        faults = []
        name = fields.get("event_type")
        event_type = self._types.get(name) if name is not None else None
        if name is not None and event_type is None:
            faults.append(EventFault("unknown_event_type", "event_type", f"Expected one of: {', '.join(self._types)}."))
        if "occurred_at" in fields:
            faults += self._find_faults_of_time(_count_microseconds(fields["occurred_at"]), oldest_us, latest_us)
        if "event_id" in fields:
            number = fields["event_id"].int
            if number in _RESERVED_IDS:
                code, message = RESERVED_ID
                faults.append(EventFault(code, "event_id", message))
            elif (number >> 76) & 0xF == _UUID_VERSION_7 and not oldest_us <= (number >> 80) * 1000 <= latest_us:
                message = "The time within the UUIDv7 is outside the accept window."
                faults.append(EventFault("event_id_out_of_window", "event_id", message))
        if event_type is not None and event_type.valued and fields.get("value", _UNREAD) is None:
            faults.append(EventFault("value_required", "value", f"{event_type.name} needs a value."))
        return faults

    def _find_faults_of_time(self, occurred_us: int, oldest_us: int, latest_us: int) -> list[EventFault]:
        if occurred_us < oldest_us:
            return [EventFault("too_old", "occurred_at", f"More than {self._window.past_seconds} seconds ago.")]
        if occurred_us > latest_us:
            message = f"More than {self._window.future_seconds} seconds ahead of the server's clock."
            return [EventFault("in_the_future", "occurred_at", message)]
        return []


def _count_microseconds(instant: datetime) -> int:
    """Since 1970."""
    since = instant - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds
