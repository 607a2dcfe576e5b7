"""Steady load that records the answers: which events were acknowledged, whatever happens to the service."""

import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self
from uuid import UUID

import msgspec
import urllib3

from devtools.drill.attempts import AttemptLog, PostAttempt
from devtools.drill.errors import SettleFailed
from devtools.drill.outcomes import PATIENCE, name_error
from viewcounter.events.partition import get_partition

BATCH_EVENTS = 100
VIDEO_COUNT = 300
VIEWER_COUNT = 50
SETTLE_SECONDS = 90.0
PAUSE_SECONDS = 0.1
REPLAY_WINDOW_BATCHES = 200
"""A replayed batch is one of the last this many."""
EVENT_TYPES = ("view", "view", "view", "like", "share", "watch_time")
VIEWERS = (None, *(f"viewer-{number}@example.com" for number in range(VIEWER_COUNT)))
VIDEOS = tuple(f"video-{number}" for number in range(VIDEO_COUNT))
_RETRIED = frozenset({429, 500, 502, 503, 504})
_DECIDING_STATUSES = frozenset({202, 207, 422})
"""Statuses of answers that have a verdict for each event."""


@dataclass(frozen=True, slots=True)
class LoadShape:
    """When a client sends. With `every_seconds` at fixed instants (open loop), however long the last batch took; else
    `between_seconds` after the last batch was acknowledged (closed loop)."""

    every_seconds: float | None = None
    between_seconds: float = 0.0


class Token(NamedTuple):
    """Where an acknowledged event stands in the log; `position` is empty for one that the gateway had spooled."""

    partition: int
    position: str


@dataclass(slots=True)
class ClientFaults:
    """Misbehaviour of clients, set by faults; senders read it before each batch."""

    replay_share: float = 0.0
    """Share of batches that are followed by one acknowledged earlier."""
    skew_seconds: dict[int, float] = field(default_factory=dict)
    """Error of the clock, by client."""
    skewed: set[int] = field(default_factory=set)
    """Clients that are sending a batch with a wrong time; each client adds and removes itself."""


class LoadClient:
    """Clients, one thread each, that send each batch until it is acknowledged, and repeat some of them afterwards.

    Started and stopped as a context; after `settle` every sent event is in `acknowledged` or `refused`, as the answers
    of the service say. With `journal_dir` each client also writes every answer to a file, as lines of JSON.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        seed: int,
        threads: int = 3,
        resend_share: float = 0.05,
        load_shape: LoadShape = LoadShape(),
        batch_events: int = BATCH_EVENTS,
        journal_dir: Path | None = None,
        partitions: int | None = None,
    ) -> None:
        """`partitions`: of the cluster; with it the positions of all acknowledgements are kept."""
        self.events_url = f"{url}/v1/events"
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._seed = seed
        self._resend_share = resend_share
        self._load_shape = load_shape
        self._batch_events = batch_events
        self._journal_dir = journal_dir
        self._partitions = partitions
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self.client_faults = ClientFaults()
        self.attempts = AttemptLog()
        self._lock = threading.Lock()  # guards what follows
        self.acknowledged: dict[UUID, tuple[str, str]] = {}
        """Video and event type by event id."""
        self.tokens: dict[UUID, list[Token]] = {}
        """Partition and position of each acknowledgement, by event id."""
        self.viewers: dict[UUID, str] = {}
        """Viewers of acknowledged events, by event id."""
        self.statuses: Counter[str] = Counter()
        self.refused: list[tuple[str, str]] = []
        """Event id and code, or status and body of a refused request."""
        self.last_acknowledged_at = datetime.now(UTC)
        self.duplicates_sent = 0
        """Number of events that were acknowledged again."""
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"client-{number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # after an error there is no point in waiting for acknowledgements
            self._give_up_at = time.monotonic()
            self._stop.set()
            return
        self.settle()

    def settle(self) -> None:
        """Send no new batches and wait until all are acknowledged. Raises SettleFailed after SETTLE_SECONDS."""
        if self._stop.is_set():
            return
        self._give_up_at = time.monotonic() + SETTLE_SECONDS
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=SETTLE_SECONDS + 15)
        if any(thread.is_alive() for thread in self._threads) or time.monotonic() >= self._give_up_at:
            raise SettleFailed(f"some events were not acknowledged within {SETTLE_SECONDS:.0f} s: {self.statuses}")

    def expect_counts(self, *, without: Collection[UUID] = ()) -> Counter[tuple[str, str]]:
        """Distinct acknowledged events by (video, event type)."""
        return Counter(what for event, what in self.acknowledged.items() if event not in without)

    def _run(self, number: int) -> None:
        try:
            self._send_all(number)
        except Exception as error:  # a client that stopped silently would make the result look better
            with self._lock:
                self.refused.append((f"client-{number}", repr(error)))

    def _send_all(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")  # noqa: S311 - which events, guards nothing
        with ExitStack() as stack:
            journal = None
            if self._journal_dir is not None:
                journal = stack.enter_context((self._journal_dir / f"client-{number}.jsonl").open("w"))
            client = _Client(self, number, rng, journal)
            started_at, sent = time.monotonic(), 0
            while not self._stop.is_set():
                due_at = time.monotonic()
                if self._load_shape.every_seconds is not None:
                    due_at = started_at + sent * self._load_shape.every_seconds
                    if self._stop.wait(max(0.0, due_at - time.monotonic())):
                        return
                client.send_next(due_at)
                sent += 1
                self._stop.wait(self._load_shape.between_seconds)


class _Client:
    """One client, in its own thread."""

    def __init__(self, load: LoadClient, number: int, rng: random.Random, journal: IO[str] | None) -> None:
        self._load = load
        self._number = number
        self._rng = rng
        self._journal = journal
        self._pool = urllib3.PoolManager(retries=False, timeout=PATIENCE)
        self._sent: deque[list[dict[str, Any]]] = deque(maxlen=REPLAY_WINDOW_BATCHES)

    def send_next(self, due_at: float) -> None:
        client_faults = self._load.client_faults
        skew = client_faults.skew_seconds.get(self._number, 0.0)
        batch = [self._make_event(skew) for _ in range(self._load._batch_events)]
        if skew:
            client_faults.skewed.add(self._number)
        repeats = 2 if self._rng.random() < self._load._resend_share else 1
        for _ in range(repeats):
            self._send_until_decided(batch, due_at)
            due_at = time.monotonic()
        client_faults.skewed.discard(self._number)
        if self._sent and self._rng.random() < client_faults.replay_share:
            self._send_until_decided(self._rng.choice(self._sent), due_at)

    def _make_event(self, skew_seconds: float) -> dict[str, Any]:
        rng = self._rng
        event_type = rng.choice(EVENT_TYPES)
        occurred_at = datetime.now(UTC) + timedelta(seconds=skew_seconds)
        if not skew_seconds:
            occurred_at -= timedelta(seconds=rng.randrange(7200))
        event: dict[str, Any] = {
            "event_id": str(UUID(int=rng.getrandbits(128), version=4)),
            "video_id": rng.choice(VIDEOS),
            "event_type": event_type,
            "occurred_at": occurred_at.isoformat(),
        }
        if event_type == "watch_time":
            event["value"] = rng.randrange(100)
        viewer_id = rng.choice(VIEWERS)
        return event if viewer_id is None else event | {"viewer_id": viewer_id}

    def _send_until_decided(self, batch: list[dict[str, Any]], due_at: float) -> None:
        """Repeat the batch, without the events that have a verdict, under the same ids."""
        waiting = batch
        while waiting and time.monotonic() < self._load._give_up_at:
            started_at = time.monotonic()
            try:
                body = msgspec.json.encode(waiting)
                answer = self._pool.request("POST", self._load.events_url, body=body, headers=self._load.headers)
            except urllib3.exceptions.HTTPError as error:
                self._note(waiting, due_at, started_at, name_error(error))
            else:
                self._note(waiting, due_at, started_at, str(answer.status))
                if answer.status in _DECIDING_STATUSES:
                    waiting = self._take_verdicts(waiting, json.loads(answer.data))
                    if not waiting:
                        return
                elif answer.status not in _RETRIED:
                    self._refuse([(str(answer.status), answer.data[:500].decode(errors="replace"))])
                    return
            time.sleep(PAUSE_SECONDS)

    def _take_verdicts(self, batch: list[dict[str, Any]], answer: dict[str, Any]) -> list[dict[str, Any]]:
        """Records the verdicts; returns the events to send again."""
        named = {item["index"]: item for item in answer.get("items", [])}
        acknowledged = [event for index, event in enumerate(batch) if index not in named]
        self._acknowledge(acknowledged, answer.get("positions", {}))
        if acknowledged:
            self._sent.append(acknowledged)
        final = {index: item for index, item in named.items() if not item["retryable"]}
        self._refuse([(batch[index]["event_id"], item["code"]) for index, item in final.items()])
        return [batch[index] for index in named if index not in final]

    def _acknowledge(self, events: list[dict[str, Any]], positions: dict[str, str]) -> None:
        load = self._load
        with load._lock:
            if events:
                load.last_acknowledged_at = datetime.now(UTC)
            before = len(load.acknowledged)
            for event in events:
                event_id = UUID(event["event_id"])
                load.acknowledged[event_id] = (event["video_id"], event["event_type"])
                if load._partitions is not None:
                    partition = get_partition(event["video_id"], partition_count=load._partitions)
                    load.tokens.setdefault(event_id, []).append(Token(partition, positions.get(str(partition), "")))
                if "viewer_id" in event:
                    load.viewers[event_id] = event["viewer_id"]
            load.duplicates_sent += len(events) - (len(load.acknowledged) - before)

    def _refuse(self, refused: list[tuple[str, str]]) -> None:
        with self._load._lock:
            self._load.refused += refused

    def _note(self, batch: list[dict[str, Any]], due_at: float, started_at: float, outcome: str) -> None:
        load, ended_at = self._load, time.monotonic()
        load.attempts.add(PostAttempt(f"client-{self._number}", due_at, started_at, ended_at, outcome))
        with load._lock:
            load.statuses[outcome] += 1
        if self._journal is not None:
            line = {"at": datetime.now(UTC).isoformat(), "answer": outcome, "ids": [e["event_id"] for e in batch]}
            self._journal.write(json.dumps(line) + "\n")
