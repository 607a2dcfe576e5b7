"""Sends batches in several threads until the service has accepted or refused every event.

There is no queue: a free thread takes the next batch from the shared iterator, so batches are never generated ahead. An
event is accepted only if an answer says so.
"""

import gzip
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from devtools.replay.batches import Batch
from devtools.replay.errors import ServiceRefused
from devtools.replay.service import ReplayTarget

PROGRESS_INTERVAL_SECONDS = 0.2
KEPT_FAULTS_MAX = 10
_GZIP_LEVEL = 1

OnProgress = Callable[[int], None]
"""Called with the number of events accepted or refused so far, in the thread that called `send_batches`."""


@dataclass
class SendTally:
    """Results so far. `wrongly_refused` and `wrongly_accepted`: the first wrong verdicts of the service."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrongly_refused: list[str] = field(default_factory=list)
    wrongly_accepted: list[str] = field(default_factory=list)
    answered_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    @property
    def done(self) -> int:
        return self.accepted + self.refused.total()

    @property
    def acknowledged_until(self) -> datetime:
        """An instant after the newest acknowledged event, by this machine's clock."""
        return self.answered_at

    def add(self, other: "SendTally") -> None:
        self.accepted += other.accepted
        self.refused += other.refused
        self.wrongly_refused += other.wrongly_refused
        self.wrongly_accepted += other.wrongly_accepted
        self.answered_at = max(self.answered_at, other.answered_at)


def send_batches(
    service: ReplayTarget, batches: Iterator[Batch], *, threads: int, use_gzip: bool, on_progress: OnProgress
) -> SendTally:
    """Returns when every event is accepted or refused. The first error of a thread stops all and is raised."""
    source = _SharedIterator(batches)
    tallies = [SendTally() for _ in range(threads)]
    with ThreadPoolExecutor(threads, thread_name_prefix="replay-sender") as pool:
        futures = [pool.submit(_send_all, service, source, tally=tally, use_gzip=use_gzip) for tally in tallies]
        try:
            _watch(futures, tallies=tallies, on_progress=on_progress)
        except BaseException:
            service.stop.set()
            raise
    total = SendTally()
    for tally in tallies:
        total.add(tally)
    return total


def _watch(futures: list[Future[None]], *, tallies: list[SendTally], on_progress: OnProgress) -> None:
    pending: set[Future[None]] = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=PROGRESS_INTERVAL_SECONDS, return_when=FIRST_EXCEPTION)
        for future in finished:
            future.result()
        on_progress(sum(tally.done for tally in tallies))


class _SharedIterator:
    """Gives each batch to exactly one thread; the lock protects the generator, which only one thread may run."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._lock = threading.Lock()

    def take(self) -> Batch | None:
        with self._lock:
            return next(self._batches, None)


def _send_all(service: ReplayTarget, source: _SharedIterator, *, tally: SendTally, use_gzip: bool) -> None:
    while not service.stop.is_set() and (batch := source.take()):
        send_batch(service, batch, tally=tally, use_gzip=use_gzip)


def send_batch(service: ReplayTarget, batch: Batch, *, tally: SendTally, use_gzip: bool) -> None:
    """Send until every item is accepted or finally refused; only items marked retryable are sent again."""
    places = list(range(len(batch.items)))
    accepted = set(places)
    pause = service.create_retry_pause()
    while places:
        body = msgspec.json.encode({"events": [batch.items[place] for place in places]})
        answer = service.post_events(gzip.compress(body, _GZIP_LEVEL) if use_gzip else body, is_gzip=use_gzip)
        if answer.accepted + answer.rejected != len(places) or answer.rejected != len(answer.items):
            raise ServiceRefused(f"{len(places)} events sent, answered: {answer}")
        tally.accepted += answer.accepted
        if answer.accepted:
            tally.answered_at = datetime.now(UTC)
        retry = []
        for item in answer.items:
            place = places[item.index]
            if item.retryable:
                retry.append(place)
                continue
            accepted.discard(place)
            tally.refused[item.code] += 1
            if place not in batch.bad:
                _keep_first(tally.wrongly_refused, f"{batch.items[place]}: {item.code} {item.message}")
        places = retry
        if places:
            pause.wait(reason=f"{len(places)} events of a batch: {answer.items[0].message}")
    for place, kind in batch.bad.items():
        if place in accepted:
            _keep_first(tally.wrongly_accepted, f"{kind}: {batch.items[place]!r}")


def _keep_first(faults: list[str], fault: str) -> None:
    if len(faults) < KEPT_FAULTS_MAX:
        faults.append(fault)
