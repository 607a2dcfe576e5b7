"""Accepted events that can still be sent again, should the service report that it has lost them."""

from collections import deque
from collections.abc import Mapping, Sequence

from viewcounter_client.errors import LostRange
from viewcounter_client.events import PendingEvent


class KeptEvents:
    """The last `max_events` accepted events, by request, with the positions that the service gave to each."""

    def __init__(self, *, max_events: int) -> None:
        self._max_events = max_events
        self._requests: deque[tuple[Mapping[int, str], tuple[PendingEvent, ...]]] = deque()
        self._count = 0

    def keep(self, positions: Mapping[int, str], events: tuple[PendingEvent, ...]) -> None:
        self._requests.append((positions, events))
        self._count += len(events)
        while self._count > self._max_events:
            self._count -= len(self._requests.popleft()[1])

    def take(self, lost: Sequence[LostRange]) -> tuple[PendingEvent, ...]:
        """The events of every request of which something is in `lost`, oldest first; they are no longer kept."""
        kept: deque[tuple[Mapping[int, str], tuple[PendingEvent, ...]]] = deque()
        taken: list[PendingEvent] = []
        for positions, events in self._requests:
            if any(one.partition in positions and one.contains(positions[one.partition]) for one in lost):
                taken += events
            else:
                kept.append((positions, events))
        self._requests = kept
        self._count -= len(taken)
        return tuple(taken)
