"""Decides the next action for the events of a client: send, store, wait. No I/O, no clock, no lock: drivers have those.

Invariant, `Counters.is_balanced`: every event that was tracked is accepted, refused, dropped, pending in memory,
in flight, or on disk. An event that was not certainly stored is sent again under its id, which the service counts once.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from viewcounter_client.breaker import Breaker
from viewcounter_client.buffer import EventBuffer
from viewcounter_client.errors import LostRange
from viewcounter_client.events import PendingEvent
from viewcounter_client.kept import KeptEvents
from viewcounter_client.options import Options, Overflow
from viewcounter_client.verdict import Rejection, Verdict


@dataclass(frozen=True, slots=True)
class Counters:
    """The outcomes of all events. `retried` counts resends; `recovered` came from an earlier client's spool."""

    tracked: int = 0
    recovered: int = 0
    accepted: int = 0
    refused: int = 0
    dropped: int = 0
    retried: int = 0
    pending: int = 0
    in_flight: int = 0
    spooled: int = 0

    @property
    def is_balanced(self) -> bool:
        ended = self.accepted + self.refused + self.dropped
        return self.tracked + self.recovered == ended + self.pending + self.in_flight + self.spooled


@dataclass(frozen=True, slots=True)
class Send:
    """Post these events, then call `on_verdict`."""

    events: tuple[PendingEvent, ...]


@dataclass(frozen=True, slots=True)
class SendSpooled:
    """Read at most `max_events` events of the spool's oldest part and call `on_read`, or `on_spool_broken`; post them
    and call `on_spooled_verdict`. Events to be sent again stay in the spool."""

    max_events: int


@dataclass(frozen=True, slots=True)
class Store:
    """Append these events to the spool, then call `on_stored` or `on_store_failed`."""

    events: tuple[PendingEvent, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for `seconds`; None: until an event is added."""

    seconds: float | None


Action = Send | SendSpooled | Store | Wait


class Delivery:
    """One action at a time is in progress; its result is reported before the next `next_action`."""

    def __init__(self, options: Options, *, has_spool: bool, rng: random.Random) -> None:
        self._options = options
        self._has_spool = has_spool
        self._spool_broken_until = 0.0
        self._buffer = EventBuffer(max_events=options.max_buffer_events, max_bytes=options.max_buffer_bytes)
        self.breaker = Breaker(
            failures=options.breaker_failures,
            open_seconds=options.breaker_open_seconds,
            first_seconds=options.backoff_first_seconds,
            max_seconds=options.backoff_max_seconds,
            rng=rng,
        )
        self._batch_events = options.max_batch_events
        self._counters: Counter[str] = Counter()
        self._flushing = False
        self._kept = KeptEvents(max_events=options.keep_accepted_events)
        self.positions: dict[int, str] = {}
        """By partition, the log position of the last accepted events of this client."""
        self.rejection: Rejection | None = None
        """Why the service rejects every request now; None once it has accepted one."""

    @property
    def counters(self) -> Counters:
        return Counters(**self._counters, pending=len(self._buffer))

    @property
    def is_idle(self) -> bool:
        """Whether every event is accepted, refused, dropped or on disk."""
        return not self._buffer and not self._counters["in_flight"]

    @property
    def is_done(self) -> bool:
        return self.is_idle and not self._spooled

    @property
    def should_wake(self) -> bool:
        """Whether the event just added may change the next action."""
        return len(self._buffer) == 1 or len(self._buffer) >= self._batch_events

    @property
    def _spooled(self) -> int:
        return self._counters["spooled"]

    def has_room(self, event: PendingEvent) -> bool:
        return self._buffer.has_room(event)

    def offer(self, event: PendingEvent, *, now: float) -> bool:
        """Take an event; False if there was no room for it and the policy does not make room."""
        if not self._buffer.has_room(event) and self._options.overflow is Overflow.DROP_OLDEST:
            while self._buffer and not self._buffer.has_room(event):
                self._buffer.drop_oldest()
                self._add(dropped=1)
        if not self._buffer.has_room(event):
            return False
        self._buffer.add(event, now=now)
        self._add(tracked=1)
        return True

    def count_dropped(self) -> None:
        """An event for which there was no room."""
        self._add(tracked=1, dropped=1)

    def recover(self, count: int) -> None:
        """`count` events are in the spool of an earlier client."""
        self._add(recovered=count, spooled=count)

    def start_flush(self) -> None:
        """Do not linger until the buffer is empty."""
        self._flushing = True

    def forget_rejection(self) -> None:
        """The API key was replaced: try at once."""
        self.rejection = None
        self.breaker.report_success()

    def next_action(self, *, now: float) -> Action:
        ready_in = self._get_ready_in(now)
        may_use_spool = self._has_spool and now >= self._spool_broken_until
        has_spooled = may_use_spool and self._spooled > 0
        if ready_in == 0 and may_use_spool and (has_spooled or not self.breaker.is_closed):
            return Store(self._take())
        if has_spooled or ready_in == 0:
            blocked = max(0.0, self.breaker.blocked_until - now)
            if not blocked and self.breaker.try_pass(now=now):
                return SendSpooled(self._batch_events) if has_spooled else Send(self._take())
            return Wait(min(blocked, ready_in) if ready_in else blocked)
        if ready_in is None:
            self._flushing = False
        if self._spooled:  # the disk has failed: wait before the next try
            until_mended = self._spool_broken_until - now
            return Wait(until_mended if ready_in is None else min(ready_in, until_mended))
        return Wait(ready_in)

    def on_verdict(self, verdict: Verdict, *, now: float) -> None:
        """Events to be sent again go back to the front of the buffer."""
        self._buffer.put_back(verdict.again, now=now)
        self._learn(verdict, now=now)

    def send_again(self, lost: Sequence[LostRange], *, now: float) -> int:
        """Of the accepted events that the service has lost, those that are kept, and their neighbours: under their ids
        none is counted twice. Returns their number."""
        for one in lost:
            if one.partition in self.positions and one.contains(self.positions[one.partition]):
                del self.positions[one.partition]
        events = self._kept.take(lost)
        self._add(accepted=-len(events), retried=len(events))
        self._buffer.put_back(events, now=now)
        return len(events)

    def on_read(self, events: Sequence[PendingEvent]) -> None:
        self._add(spooled=-len(events), in_flight=len(events))

    def on_spooled_verdict(self, verdict: Verdict, *, damaged: int, now: float) -> None:
        """Events to be sent again are still in the spool; `damaged` lines of it were removed."""
        self._add(spooled=len(verdict.again) - damaged, dropped=damaged)
        self._learn(verdict, now=now)

    def on_spool_broken(self, *, now: float) -> None:
        """The disk is full or broken: continue from memory, and try it again later."""
        self._spool_broken_until = now + self._options.breaker_open_seconds

    def on_stored(self, events: Sequence[PendingEvent]) -> None:
        self._add(in_flight=-len(events), spooled=len(events))

    def on_store_failed(self, events: Sequence[PendingEvent], *, now: float) -> None:
        self.give_back(events, now=now)
        self.on_spool_broken(now=now)

    def give_back(self, events: Sequence[PendingEvent], *, now: float) -> None:
        """Returns events that were taken and neither sent nor stored."""
        self._add(in_flight=-len(events))
        self._buffer.put_back(events, now=now)

    def drop_rest(self) -> tuple[PendingEvent, ...]:
        """At the end: the events still in memory, now counted as dropped."""
        rest = self._buffer.take(max_events=len(self._buffer), max_bytes=2**62)
        self._add(dropped=len(rest))
        return rest

    def take_rest(self) -> tuple[PendingEvent, ...]:
        """At the end, with a spool: the next events to store; empty when there are no more."""
        return self._take() if self._buffer else ()

    def _get_ready_in(self, now: float) -> float | None:
        """Seconds until the buffer has a batch to send; None if it is empty."""
        oldest_at = self._buffer.oldest_at
        if oldest_at is None:
            return None
        if self._flushing or len(self._buffer) >= self._batch_events:
            return 0.0
        return max(0.0, oldest_at + self._options.linger_seconds - now)

    def _take(self) -> tuple[PendingEvent, ...]:
        events = self._buffer.take(max_events=self._batch_events, max_bytes=self._options.max_batch_bytes)
        self._add(in_flight=len(events))
        return events

    def _learn(self, verdict: Verdict, *, now: float) -> None:
        self._add(
            in_flight=-len(verdict.accepted) - len(verdict.refused) - len(verdict.again),
            accepted=len(verdict.accepted),
            refused=len(verdict.refused),
            retried=len(verdict.again),
        )
        self.positions.update(verdict.positions or {})
        if verdict.accepted and verdict.positions:
            self._kept.keep(verdict.positions, verdict.accepted)
        if verdict.is_too_large:
            self._batch_events = max(1, len(verdict.again) // 2)
        if verdict.rejection is not None or not verdict.is_failure:
            self.rejection = verdict.rejection
        if verdict.rejection is not None:
            self.breaker.open(now=now, seconds=self._options.rejected_pause_seconds)
        elif verdict.is_failure:
            self.breaker.report_failure(now=now, retry_after_seconds=self._bound(verdict.retry_after_seconds))
        else:
            self.breaker.report_success()

    def _bound(self, seconds: float | None) -> float | None:
        return None if seconds is None else min(seconds, self._options.retry_after_max_seconds)

    def _add(self, **changes: int) -> None:
        self._counters.update(changes)
