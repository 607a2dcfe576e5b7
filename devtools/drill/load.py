"""Steady load that remembers what it was told: which events were acknowledged, whatever happens to the service."""

import json
import random
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from uuid import UUID

import msgspec
import urllib3

from devtools.drill.attempts import AttemptLog, PostAttempt
from devtools.drill.errors import SettleFailed
from devtools.drill.outcomes import PATIENCE, name_error

BATCH_EVENTS = 100
VIDEO_COUNT = 300
VIEWER_COUNT = 50
SETTLE_SECONDS = 90.0
PAUSE_SECONDS = 0.1
REPLAY_WINDOW_BATCHES = 200
"""How far back a replayed request may lie."""
EVENT_TYPES = ("view", "view", "view", "like", "share", "watch_time")
VIEWERS = (None, *(f"viewer-{number}@example.com" for number in range(VIEWER_COUNT)))
VIDEOS = tuple(f"video-{number}" for number in range(VIDEO_COUNT))
_RETRIED = frozenset({429, 500, 502, 503, 504})
_JUDGED = frozenset({202, 207, 422})
"""Answers that say of each event what became of it."""


@dataclass(frozen=True, slots=True)
class LoadShape:
    """When a client sends. With `every_seconds` at fixed instants, however long the service took for the one before;
    else as soon as the last batch is acknowledged and `between_seconds` have passed."""

    every_seconds: float | None = None
    between_seconds: float = 0.0


@dataclass(slots=True)
class ClientFaults:
    """What faults make clients do; read by the senders before each batch."""

    replay_share: float = 0.0
    """So many batches are followed by one that was acknowledged some time ago."""
    skew_seconds: dict[int, float] = field(default_factory=dict)
    """By client: how far its clock is off."""
    skewed: set[int] = field(default_factory=set)
    """Clients that are sending a batch made by a wrong clock; written by each for itself."""


class LoadClient:
    """Clients, a thread each, that send batches, and the same batch again until it is acknowledged, and some once more.

    Started and stopped as a context; after `settle` every event sent is in `acknowledged` or was `refused` for good.
    Nothing but the answers of the service decides which. With `journal_dir` each client also writes every answer down,
    a line of JSON each.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        seed: int,
        threads: int = 3,
        resend_share: float = 0.05,
        rhythm: LoadShape = LoadShape(),
        batch_events: int = BATCH_EVENTS,
        journal_dir: Path | None = None,
    ) -> None:
        self.events_url = f"{url}/v1/events"
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._seed = seed
        self._resend_share = resend_share
        self._rhythm = rhythm
        self._batch_events = batch_events
        self._journal_dir = journal_dir
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self.mischief = ClientFaults()
        self.attempts = AttemptLog()
        self._lock = threading.Lock()  # guards what follows
        self.acknowledged: dict[UUID, tuple[str, str]] = {}
        """Video and event type by event id."""
        self.viewers: dict[UUID, str] = {}
        """Of acknowledged events that named one."""
        self.statuses: Counter[str] = Counter()
        self.refused: list[tuple[str, str]] = []
        """Event id and code, or a whole request's status and body."""
        self.last_acknowledged_at = datetime.now(UTC)
        self.duplicates_sent = 0
        """Events acknowledged that had been acknowledged before."""
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
        if kind is not None:  # whoever fails waits for no acknowledgements
            self._give_up_at = time.monotonic()
            self._stop.set()
            return
        self.settle()

    def settle(self) -> None:
        """No new batches; those under way go on until they are acknowledged. Raises SettleFailed if they never are."""
        if self._stop.is_set():
            return
        self._give_up_at = time.monotonic() + SETTLE_SECONDS
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=SETTLE_SECONDS + 15)
        if any(thread.is_alive() for thread in self._threads) or time.monotonic() >= self._give_up_at:
            raise SettleFailed(f"not everything was acknowledged within {SETTLE_SECONDS:.0f} s: {self.statuses}")

    def expect_counts(self) -> Counter[tuple[str, str]]:
        """Distinct acknowledged events by (video, event type)."""
        return Counter(self.acknowledged.values())

    def _run(self, number: int) -> None:
        try:
            self._send_all(number)
        except Exception as error:  # a client that stops in silence would make the rest look good
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
                if self._rhythm.every_seconds is not None:
                    due_at = started_at + sent * self._rhythm.every_seconds
                    if self._stop.wait(max(0.0, due_at - time.monotonic())):
                        return
                client.send_next(due_at)
                sent += 1
                self._stop.wait(self._rhythm.between_seconds)


class _Client:
    """One of them, in its own thread."""

    def __init__(self, load: LoadClient, number: int, rng: random.Random, journal: IO[str] | None) -> None:
        self._load = load
        self._number = number
        self._rng = rng
        self._journal = journal
        self._pool = urllib3.PoolManager(retries=False, timeout=PATIENCE)
        self._sent: deque[list[dict[str, Any]]] = deque(maxlen=REPLAY_WINDOW_BATCHES)

    def send_next(self, due_at: float) -> None:
        mischief = self._load.mischief
        skew = mischief.skew_seconds.get(self._number, 0.0)
        batch = [self._make_event(skew) for _ in range(self._load._batch_events)]
        if skew:
            mischief.skewed.add(self._number)
        repeats = 2 if self._rng.random() < self._load._resend_share else 1
        for _ in range(repeats):
            self._send_until_judged(batch, due_at)
            due_at = time.monotonic()
        mischief.skewed.discard(self._number)
        if self._sent and self._rng.random() < mischief.replay_share:
            self._send_until_judged(self._rng.choice(self._sent), due_at)

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

    def _send_until_judged(self, batch: list[dict[str, Any]], due_at: float) -> None:
        """Again and again, only what has not been judged yet, under the same ids."""
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
                if answer.status in _JUDGED:
                    waiting = self._take_verdicts(waiting, json.loads(answer.data).get("items", []))
                    if not waiting:
                        return
                elif answer.status not in _RETRIED:
                    self._refuse([(str(answer.status), answer.data[:500].decode(errors="replace"))])
                    return
            time.sleep(PAUSE_SECONDS)

    def _take_verdicts(self, batch: list[dict[str, Any]], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns those that are to be sent again."""
        named = {item["index"]: item for item in items}
        acknowledged = [event for index, event in enumerate(batch) if index not in named]
        self._acknowledge(acknowledged)
        if acknowledged:
            self._sent.append(acknowledged)
        final = {index: item for index, item in named.items() if not item["retryable"]}
        self._refuse([(batch[index]["event_id"], item["code"]) for index, item in final.items()])
        return [batch[index] for index in named if index not in final]

    def _acknowledge(self, events: list[dict[str, Any]]) -> None:
        load = self._load
        with load._lock:
            if events:
                load.last_acknowledged_at = datetime.now(UTC)
            before = len(load.acknowledged)
            for event in events:
                event_id = UUID(event["event_id"])
                load.acknowledged[event_id] = (event["video_id"], event["event_type"])
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
