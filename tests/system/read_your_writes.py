"""Post, then get with the position in the answer: the event that was just acknowledged must be counted.

Each thread alone writes to its own videos, so it knows each count exactly: fewer is a stale answer, more a doubled
event. What is refused (503, 504, a connection that breaks) is asked again and is neither.
"""

import random
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import msgspec
import urllib3

from tests.pace import limit

VIDEOS_A_THREAD = 8
GIVE_UP_SECONDS = limit(120.0)
PAUSE_SECONDS = 0.05


class ReadYourWrites:
    """Runs `pairs` pairs on `threads` threads; `wait` returns when all are done."""

    def __init__(self, url: str, key: str, *, pairs: int, threads: int, seed: int, consistency: str = "") -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._options = f"&consistency={consistency}" if consistency else ""
        self._seed = seed
        self._left = pairs
        self._lock = threading.Lock()  # guards what follows, and `_left`
        self.stale: list[dict[str, Any]] = []
        self.doubled: list[dict[str, Any]] = []
        self.outcomes: Counter[str] = Counter()
        self.instances: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._left = 0
        for thread in self._threads:
            thread.join()

    @property
    def done(self) -> int:
        return len(self.seconds)

    def wait(self, *, within_seconds: float) -> None:
        deadline = time.monotonic() + within_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), f"not done: {self.describe()}"
        self.check()

    def check(self) -> None:
        """Fails with what was seen so far if a thread has given up."""
        assert self.errors == [], f"{self.errors[0]!r}: {self.describe()}"

    def describe(self) -> str:
        seconds = sorted(self.seconds) or [0.0]
        p50, p99 = (seconds[min(len(seconds) - 1, int(len(seconds) * share))] for share in (0.5, 0.99))
        return (
            f"{self.done} pairs, {len(self.stale)} stale, {len(self.doubled)} doubled; from the post to the answer "
            f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, longest {seconds[-1] * 1000:.0f} ms; "
            f"refused {dict(self.outcomes)}; answered by {dict(self.instances)}"
        )

    def _run(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=10))
        written: Counter[str] = Counter()
        try:
            while self._take():
                video = f"own-{self._seed}-{number}-{rng.randrange(VIDEOS_A_THREAD)}"
                started_at = time.monotonic()
                positions = self._post(pool, video, event_id=UUID(int=rng.getrandbits(128), version=4))
                written[video] += 1
                body = self._get(pool, video, positions)
                self._judge(video, written[video], body, seconds=time.monotonic() - started_at)
        except BaseException as error:  # the test's thread raises it
            self.errors.append(error)

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _post(self, pool: urllib3.PoolManager, video: str, *, event_id: UUID) -> dict[str, str]:
        event = {"event_id": str(event_id), "video_id": video, "event_type": "view", "occurred_at": _now()}
        answer = self._until(pool, "POST", "/v1/events", 202, body=msgspec.json.encode(event))
        positions: dict[str, str] = answer["positions"]
        return positions

    def _get(self, pool: urllib3.PoolManager, video: str, positions: dict[str, str]) -> dict[str, Any]:
        wanted = ",".join(f"{partition}:{position}" for partition, position in positions.items())
        path = f"/v1/videos/{video}/counts?min_position={wanted}&explain=route{self._options}"
        return self._until(pool, "GET", path, 200)

    def _until(
        self, pool: urllib3.PoolManager, method: str, path: str, status: int, body: bytes | None = None
    ) -> dict[str, Any]:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                answer = pool.request(method, self._url + path, body=body, headers=self._headers)
            except urllib3.exceptions.HTTPError as error:
                outcome = type(error).__name__
            else:
                found: dict[str, Any] = msgspec.json.decode(answer.data)
                if answer.status == status:
                    return found
                outcome = found["code"]
                assert answer.status in (503, 504), found
            with self._lock:
                self.outcomes[outcome] += 1
            assert time.monotonic() < deadline, f"{method} {path} is refused for ever: {outcome}"
            time.sleep(PAUSE_SECONDS)

    def _judge(self, video: str, written: int, body: dict[str, Any], *, seconds: float) -> None:
        seen = body["counts"]["view"]
        with self._lock:
            self.seconds.append(seconds)
            self.instances.update(route["instance"] for route in body["meta"].get("route", ()))
            if seen != written:
                wrong = self.stale if seen < written else self.doubled
                wrong.append({"video": video, "written": written, "body": body})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
