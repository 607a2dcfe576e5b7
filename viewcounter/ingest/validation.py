"""Validates decoded events by what only the cluster knows: event types, the accept window, the partition.

Duplicate ids within a request are accepted here: only the flush, which sees every id of the window, can reject them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from configservice.topology.model import EventType, Topology
from viewcounter.eventlog.codec import AcceptedEvent
from viewcounter.events.event_id import MAX, NIL
from viewcounter.events.message import VALUE_SCALE, Event
from viewcounter.events.partition import get_partition
from viewcounter.events.viewer import NO_VIEWER
from viewcounter.events.viewer_keys import ViewerNumbers
from viewcounter.ingest.decoding import RESERVED_ID, Item, ItemProblem
from viewcounter.ingest.settings import AcceptWindow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID_VERSION_7 = 7
_RESERVED_IDS = frozenset({NIL, MAX})
_NO_PARTITION = -1
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
                problems.append(item)
                continue
            event = self._validate(item, index, oldest_us, latest_us)
            if isinstance(event, ItemProblem):
                problems.append(event)
                continue
            partition = partitions[index] = get_partition(item.video_id, partition_count=self._partition_count)
            by_partition.setdefault(partition, []).append(event)
        return Acceptance(by_partition, partitions, len(items) - len(problems), problems)

    def _validate(self, event: Event, index: int, oldest_us: int, latest_us: int) -> AcceptedEvent | ItemProblem:
        event_type = self._types.get(event.event_type)
        if event_type is None:
            known = ", ".join(self._types)
            return _problem(
                event, index, "unknown_event_type", field="event_type", message=f"Expected one of: {known}."
            )
        since = event.occurred_at - _EPOCH
        occurred_us = (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds
        if not oldest_us <= occurred_us <= latest_us:
            return self._explain_time(event, index, is_old=occurred_us < oldest_us)
        number = event.event_id.int
        # The id of a UUIDv7 is stored under its own minute, which must be within the window of de-duplication.
        if (number >> 76) & 0xF == _UUID_VERSION_7:
            if not oldest_us <= (number >> 80) * 1000 <= latest_us:
                message = "The time within the UUIDv7 is outside the accept window."
                return _problem(event, index, "event_id_out_of_window", field="event_id", message=message)
        elif number in _RESERVED_IDS:
            code, message = RESERVED_ID
            return _problem(event, index, code, field="event_id", message=message)
        value = event.value
        if value is None:
            if event_type.valued:
                message = f"{event_type.name} needs a value."
                return _problem(event, index, "value_required", field="value", message=message)
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

    def _explain_time(self, event: Event, index: int, *, is_old: bool) -> ItemProblem:
        if is_old:
            message = f"More than {self._window.past_seconds} seconds ago."
            return _problem(event, index, "too_old", field="occurred_at", message=message)
        message = f"More than {self._window.future_seconds} seconds ahead of the server's clock."
        return _problem(event, index, "in_the_future", field="occurred_at", message=message)


def _problem(event: Event, index: int, code: str, *, field: str | None, message: str) -> ItemProblem:
    return ItemProblem(index, str(event.event_id), code, field, message)
