"""What must be counted, said the slow way: entry by entry, in a dictionary and a list."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from viewcounter.eventlog.codec import AcceptedEvent
from viewcounter.events.columns import digest_ids

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


@dataclass(frozen=True)
class Counted:
    """`minute` is the whole minute in which the event happened; `value` is in thousandths."""

    event_id: bytes
    video_id: str
    type_id: int
    occurred_us: int
    value: int
    viewer: int

    @property
    def minute(self) -> datetime:
        return EPOCH + timedelta(minutes=self.occurred_us // MINUTE_US)


@dataclass
class Model:
    """Of one partition. `outcomes` by hour (microseconds since 1970) and word of the ledger."""

    known_types: frozenset[int]
    counted: list[Counted] = field(default_factory=list)
    outcomes: Counter[tuple[int, str]] = field(default_factory=Counter)
    first: dict[tuple[int, bytes], AcceptedEvent] = field(default_factory=dict)

    def copy(self) -> "Model":
        return Model(self.known_types, list(self.counted), Counter(self.outcomes), dict(self.first))

    def apply(self, event: AcceptedEvent, *, admits_since: datetime) -> None:
        self.outcomes[event.occurred_us // HOUR_US * HOUR_US, self._judge(event, admits_since)] += 1

    def _judge(self, event: AcceptedEvent, admits_since: datetime) -> str:
        is_late = EPOCH + timedelta(microseconds=event.occurred_us) < admits_since
        if is_late or event.type_id not in self.known_types or "\0" in event.video_id:
            return "dead_lettered"
        first = self.first.setdefault((find_id_minute(event), event.event_id), event)
        if first is not event:
            return "duplicate" if first == event else "conflict"
        self.counted.append(Counted(*event))
        return "counted"

    def count(self, outcome: str) -> int:
        return sum(number for (_, word), number in self.outcomes.items() if word == outcome)

    def get_ledger(self) -> dict[datetime, tuple[int, int, int, int, int, int]]:
        """By hour: received, counted, duplicate, conflict, dead-lettered, digest."""
        ids: defaultdict[int, list[bytes]] = defaultdict(list)
        for event in self.counted:
            ids[event.occurred_us // HOUR_US * HOUR_US].append(event.event_id)
        lines = {}
        for hour in {hour for hour, _ in self.outcomes}:
            parts = [self.outcomes[hour, word] for word in ("counted", "duplicate", "conflict", "dead_lettered")]
            digest = int(digest_ids(np.array(ids[hour], dtype="S16")).sum(dtype=np.uint64))
            lines[EPOCH + timedelta(microseconds=hour)] = (sum(parts), *parts, digest)
        return lines

    def get_aggregates(self, *, by_minute: bool) -> dict[tuple, tuple[int, int, int, int]]:
        """Count, sum, min and max by (video, type) and, if asked, minute."""
        values: defaultdict[tuple, list[int]] = defaultdict(list)
        for event in self.counted:
            values[event.video_id, event.type_id, *([event.minute] if by_minute else [])].append(event.value)
        return {key: (len(v), sum(v), min(v), max(v)) for key, v in values.items()}


def find_id_minute(event: AcceptedEvent) -> int:
    """Minutes since 1970: the clock of a UUIDv7, of any other id the event's own time."""
    event_id = UUID(bytes=event.event_id)
    return (event_id.int >> 80) // 60_000 if event_id.version == 7 else event.occurred_us // MINUTE_US
