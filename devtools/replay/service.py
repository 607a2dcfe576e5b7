"""The service as a client sees it: typed requests over HTTP, retried while that makes sense, each within a deadline."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from threading import Event as Signal
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from devtools.replay.answers import AnsweredCounts, AnsweredTop, PostAnswer, SeriesAnswer
from devtools.replay.dataset import SampleChannel, SampleVideo
from devtools.replay.errors import DeadlinePassed, ServiceRefused, ServiceUnreachable
from runtime.backoff import Backoff

CATALOGUE_MAX_ITEMS = 1000
COUNTS_MAX_VIDEOS = 500

_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_BACKOFF = Backoff(first_seconds=0.1, max_seconds=5.0)

T = TypeVar("T")


class RetryPause:
    """Waits between attempts: at least as long as the server wants, never past the deadline."""

    def __init__(self, *, deadline: float, stop: Signal) -> None:
        self._deadline = deadline
        self._stop = stop
        self._attempts = 0

    def wait(self, *, reason: str, at_least_seconds: float = 0) -> None:
        """Raises DeadlinePassed with `reason` when the next attempt would come too late or the run is being stopped."""
        self._attempts += 1
        delay = max(_BACKOFF.compute_seconds(self._attempts), at_least_seconds)
        if time.monotonic() + delay >= self._deadline or self._stop.wait(delay):
            raise DeadlinePassed(f"gave up after {self._attempts} attempts; the last one: {reason}")


@dataclass
class ReplayTarget:
    """One client of the service. Safe to share between threads.

    `deadline` is on the monotonic clock and ends every retry; `stop` ends them at once.
    """

    url: str
    key: str
    request_seconds: float
    deadline: float
    connections: int
    stop: Signal = field(default_factory=Signal)
    retries: int = 0
    """Attempts repeated so far. Only for the report: racing threads may miss one."""

    def __post_init__(self) -> None:
        self._pool = urllib3.PoolManager(
            maxsize=self.connections,
            block=True,
            retries=False,
            timeout=urllib3.Timeout(total=self.request_seconds),
        )
        self._headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "User-Agent": "viewcounter-replay",
        }
        self._json = msgspec.json.Encoder()

    def close(self) -> None:
        self._pool.clear()

    def create_retry_pause(self) -> RetryPause:
        return RetryPause(deadline=self.deadline, stop=self.stop)

    def check_answers(self) -> None:
        """Raises ServiceUnreachable at once when nobody listens: no retries, the operator is waiting."""
        try:
            self._pool.request("GET", f"{self.url}/healthz")
        except urllib3.exceptions.HTTPError as error:
            raise ServiceUnreachable(
                f"no viewcounter answers at {self.url} ({error}); start one with bin/up"
            ) from error

    def import_catalogue(self, *, channels: Iterable[SampleChannel], videos: Iterable[SampleVideo]) -> None:
        """Channels first: videos refer to them. Repeating it changes nothing."""
        for name, items in (("channels", channels), ("videos", videos)):
            for page in split_pages(items, size=CATALOGUE_MAX_ITEMS):
                self._call("POST", "/v1/catalogue/import", body=self._json.encode({name: page}))

    def post_events(self, body: bytes, *, is_gzip: bool) -> PostAnswer:
        """One batch. Retried with the very same bytes until the service says what became of it."""
        headers = {"Content-Encoding": "gzip"} if is_gzip else {}
        answer = self._call("POST", "/v1/events", body=body, headers=headers, also_answers=(422,))
        return _decode(answer, PostAnswer)

    def read_counts(self, video_ids: Sequence[str]) -> AnsweredCounts:
        """All-time counts of up to COUNTS_MAX_VIDEOS videos."""
        body = self._json.encode({"video_ids": video_ids})
        return _decode(self._call("POST", "/v1/counts/query", body=body), AnsweredCounts)

    def read_hours(self, video_id: str, *, event_type: str, start: datetime, end: datetime) -> SeriesAnswer:
        query = {
            "event_type": event_type,
            "function": "count",
            "interval": "hour",
            "start_time": start.isoformat(),
            "end_time": end.isoformat(),
        }
        return _decode(
            self._call("GET", f"/v1/videos/{quote(video_id, safe='')}/stats?{urlencode(query)}"), SeriesAnswer
        )

    def read_top(self, *, event_type: str, limit: int) -> AnsweredTop:
        query = urlencode({"event_type": event_type, "limit": limit})
        return _decode(self._call("GET", f"/v1/top?{query}"), AnsweredTop)

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        also_answers: tuple[int, ...] = (),
    ) -> urllib3.BaseHTTPResponse:
        """The first answer that says something final. Raises ServiceRefused for one that refuses."""
        headers = self._headers | (headers or {})
        pause = self.create_retry_pause()
        while True:
            at_least_seconds = 0.0
            try:
                answer = self._pool.request(method, f"{self.url}{path}", body=body, headers=headers)
            except urllib3.exceptions.HTTPError as error:
                reason = f"{method} {path}: {error}"
            else:
                if answer.status < 300 or answer.status in also_answers:
                    return answer
                reason = f"{method} {path}: {answer.status} {answer.data[:500].decode(errors='replace')}"
                if answer.status not in _RETRYABLE_STATUSES:
                    raise ServiceRefused(reason)
                at_least_seconds = _parse_retry_after(answer.headers.get("Retry-After"))
            self.retries += 1
            pause.wait(reason=reason, at_least_seconds=at_least_seconds)


def split_pages(items: Iterable[T], *, size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _decode(answer: urllib3.BaseHTTPResponse, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.data, type=kind)
    except msgspec.DecodeError as error:
        shown = answer.data[:500].decode(errors="replace")
        raise ServiceRefused(f"an answer that is not {kind.__name__} ({error}): {answer.status} {shown}") from error


def _parse_retry_after(header: str | None) -> float:
    """Seconds only: our service never sends a date."""
    return float(header) if header and header.isdecimal() else 0.0
