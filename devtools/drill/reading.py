"""Readers of single videos' counts and, now and then, of a list over all shards."""

import json
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import urllib3

from devtools.drill.attempts import AttemptLog, PostAttempt
from devtools.drill.outcomes import PATIENCE, name_error, name_read

TOP_EVERY = 10
"""One read in this many is a list over all shards."""
TOP_PATH = "/v1/top?event_type=view&function=count&limit=10"


class ReadClient:
    """Threads that each read every `every_seconds`, at fixed instants. `failed`: reads without a complete answer."""

    def __init__(
        self, url: str, key: str, *, videos: Sequence[str], threads: int = 1, every_seconds: float = 0.02
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._videos = videos
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"reader-{number}", daemon=True)
            for number in range(threads)
        ]
        self.attempts = AttemptLog()
        self._lock = threading.Lock()  # guards what follows
        self.failed: list[str] = []
        self.answered = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, reader: int) -> None:
        try:
            self._read_all(reader)
        except Exception as error:  # a reader that stopped silently would make the result look better
            now = time.monotonic()
            self._note(PostAttempt(f"reader-{reader}", now, now, now, type(error).__name__), repr(error))

    def _read_all(self, reader: int) -> None:
        pool = urllib3.PoolManager(retries=False, timeout=PATIENCE)
        started_at, number = time.monotonic(), 0
        while not self._stopping.is_set():
            due_at = started_at + number * self._every_seconds
            if self._stopping.wait(max(0.0, due_at - time.monotonic())):
                return
            number += 1
            video = self._videos[(number * 7 + reader) % len(self._videos)]
            self._read(pool, reader, TOP_PATH if number % TOP_EVERY == 0 else f"/v1/videos/{video}/counts", due_at)

    def _read(self, pool: urllib3.PoolManager, reader: int, path: str, due_at: float) -> None:
        began_at, detail = time.monotonic(), ""
        try:
            answer = pool.request("GET", self._url + path, headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            outcome = name_error(error)
        else:
            meta = json.loads(answer.data)["meta"] if answer.status == 200 else {}
            outcome = name_read(answer.status, meta)
            detail = "" if outcome == "200" else answer.data[:300].decode(errors="replace")
        self._note(PostAttempt(f"reader-{reader}", due_at, began_at, time.monotonic(), outcome), f"{path} {detail}")

    def _note(self, attempt: PostAttempt, what: str) -> None:
        self.attempts.add(attempt)
        with self._lock:
            if attempt.is_fine:
                self.answered += 1
            else:
                self.failed.append(f"{attempt.outcome}: {what}")
