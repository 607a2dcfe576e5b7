"""Pending events in memory, in order, bounded in number and bytes. Its owner holds the lock, if any."""

from collections import deque
from collections.abc import Sequence

from viewcounter_client.events import PendingEvent


class EventBuffer:
    """Invariant: never more than `max_events` events or `max_bytes` bytes, except what `put_back` returns to it."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[tuple[PendingEvent, float]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def oldest_at(self) -> float | None:
        """When the oldest event was added, on the caller's clock; None if there is none."""
        return self._events[0][1] if self._events else None

    def has_room(self, event: PendingEvent) -> bool:
        return len(self._events) < self._max_events and self._bytes + len(event.body) <= self._max_bytes

    def add(self, event: PendingEvent, *, now: float) -> None:
        self._events.append((event, now))
        self._bytes += len(event.body)

    def drop_oldest(self) -> None:
        event, _ = self._events.popleft()
        self._bytes -= len(event.body)

    def take(self, *, max_events: int, max_bytes: int) -> tuple[PendingEvent, ...]:
        """The oldest events that fit; at least one if there is any."""
        taken: list[PendingEvent] = []
        size = 0
        while self._events and len(taken) < max_events:
            event = self._events[0][0]
            size += len(event.body) + 1
            if taken and size > max_bytes:
                break
            self._events.popleft()
            self._bytes -= len(event.body)
            taken.append(event)
        return tuple(taken)

    def put_back(self, events: Sequence[PendingEvent], *, now: float) -> None:
        """In front of all others, in their order."""
        self._events.extendleft((event, now) for event in reversed(events))
        self._bytes += sum(len(event.body) for event in events)
