"""Steady load that remembers what it was told: which events were acknowledged, whatever happens to the service."""

import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import msgspec
import urllib3

BATCH_EVENTS = 100
VIDEO_COUNT = 300
SETTLE_SECONDS = 90.0
PAUSE_SECONDS = 0.1
EVENT_TYPES = ("view", "view", "view", "like", "share", "watch_time")


class LoadClient:
    """Threads that send batches, and the same batch again until it is acknowledged, and some of them once more.

    Started and stopped as a context; after `settle` every event sent is in `acknowledged`. Nothing but the answers of
    the service decides what is acknowledged.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        seed: int,
        threads: int = 3,
        resend_share: float = 0.05,
        between_seconds: float = 0.0,
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._seed = seed
        self._resend_share = resend_share
        self._between_seconds = between_seconds
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._lock = threading.Lock()  # guards what follows
        self.acknowledged: dict[UUID, dict[str, Any]] = {}
        self.statuses: Counter[str] = Counter()
        self.refused: list[Any] = []
        self.last_acknowledged_at = datetime.now(UTC)
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle()

    def settle(self) -> None:
        """No new batches; those under way go on until they are acknowledged. Raises when they never are."""
        self._give_up_at = time.monotonic() + SETTLE_SECONDS
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=SETTLE_SECONDS + 10)
        assert not any(thread.is_alive() for thread in self._threads), "a sender hangs"
        assert time.monotonic() < self._give_up_at, f"not everything was acknowledged: {self.statuses}"

    def expect_counts(self) -> Counter[tuple[str, str]]:
        """Distinct acknowledged events by (video, event type)."""
        return Counter((event["video_id"], event["event_type"]) for event in self.acknowledged.values())

    def _run(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=5))
        while not self._stop.is_set():
            batch = [self._make_event(rng) for _ in range(BATCH_EVENTS)]
            repeats = 2 if rng.random() < self._resend_share else 1
            for _ in range(repeats):
                self._send_until_acknowledged(pool, batch)
            self._stop.wait(self._between_seconds)

    @staticmethod
    def _make_event(rng: random.Random) -> dict[str, Any]:
        event_type = rng.choice(EVENT_TYPES)
        event = {
            "event_id": str(UUID(int=rng.getrandbits(128), version=4)),
            "video_id": f"video-{rng.randrange(VIDEO_COUNT)}",
            "event_type": event_type,
            "occurred_at": (datetime.now(UTC) - timedelta(seconds=rng.randrange(7200))).isoformat(),
        }
        return event | ({"value": rng.randrange(100)} if event_type == "watch_time" else {})

    def _send_until_acknowledged(self, pool: urllib3.PoolManager, batch: list[dict[str, Any]]) -> None:
        body = msgspec.json.encode(batch)
        while time.monotonic() < self._give_up_at:
            try:
                answer = pool.request("POST", f"{self._url}/v1/events", body=body, headers=self._headers)
            except urllib3.exceptions.HTTPError as error:
                self._note(type(error).__name__)
            else:
                self._note(str(answer.status))
                if answer.status == 202:
                    self._acknowledge(batch)
                    return
                if answer.status not in (500, 503):
                    with self._lock:
                        self.refused.append((answer.status, answer.data[:500]))
                    return
            time.sleep(PAUSE_SECONDS)

    def _note(self, what: str) -> None:
        with self._lock:
            self.statuses[what] += 1

    def _acknowledge(self, batch: list[dict[str, Any]]) -> None:
        with self._lock:
            self.last_acknowledged_at = datetime.now(UTC)
            for event in batch:
                self.acknowledged[UUID(event["event_id"])] = event
