"""The service under replay: requests, queries and answers of the client library, repeated until one deadline.

`Client.track` refuses the bad events that a replay must send, so batches are prepared here and answers to them are read
here; everything else is the library's.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from threading import Event as Signal
from typing import Any, TypeVar

import httpx2
import msgspec
from viewcounter_client import Options, ViewcounterError, wire
from viewcounter_client.queries import Answer, Query

from devtools.replay.dataset import SampleChannel, SampleVideo
from devtools.replay.errors import BadReplayOption, DeadlinePassed, ServiceRefused, ServiceUnreachable
from runtime.backoff import Backoff

CATALOGUE_MAX_ITEMS = 1000
COUNTS_MAX_VIDEOS = 500

_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
"""Without 500, which the library repeats: a replay must show a defect of the service, not wait for its end."""
_BACKOFF = Backoff(first_seconds=0.1, max_seconds=5.0)
_JSON = {"Content-Type": "application/json"}

T = TypeVar("T")


class RefusedItem(msgspec.Struct, frozen=True):
    index: int
    code: str
    message: str = ""
    field: str | None = None
    retryable: bool = False


class PostAnswer(msgspec.Struct, frozen=True):
    """The answer to one batch. `positions`: the log positions of the accepted events by partition, `term-seq`."""

    accepted: int
    rejected: int
    items: tuple[RefusedItem, ...] = ()
    positions: dict[str, str] = {}


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
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line for each request
        limits = httpx2.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
        # A transport of its own: a proxy of the environment must not stand between a replay and this machine's cluster.
        transport = httpx2.HTTPTransport(limits=limits)
        options = Options(request_timeout_seconds=self.request_seconds, connect_timeout_seconds=self.request_seconds)
        try:
            self._http = httpx2.Client(**wire.build_settings(self.url, self.key, options), transport=transport)
        except (ValueError, httpx2.InvalidURL) as error:
            raise BadReplayOption(f"--url or --key: {error}") from error

    def close(self) -> None:
        self._http.close()

    def create_retry_pause(self) -> RetryPause:
        return RetryPause(deadline=self.deadline, stop=self.stop)

    def check_answers(self) -> None:
        """Raises ServiceUnreachable at once when nothing listens: no retries, the operator is waiting."""
        try:
            self._http.get("/healthz")
        except httpx2.HTTPError as error:
            raise ServiceUnreachable(
                f"no viewcounter answers at {self.url} ({error}); start one with bin/up"
            ) from error

    def import_catalogue(self, *, channels: Iterable[SampleChannel], videos: Iterable[SampleVideo]) -> None:
        """Channels first: videos refer to them. Repeating it changes nothing."""
        for name, items in (("channels", channels), ("videos", videos)):
            for page in split_pages(items, size=CATALOGUE_MAX_ITEMS):
                body = msgspec.json.encode({name: page})
                self._request("POST", "/v1/catalogue/import", content=body, headers=_JSON)

    def post_events(self, body: bytes, *, is_gzip: bool) -> PostAnswer:
        """One batch. Retried with the very same bytes until the service says what became of it."""
        headers = _JSON | {"Content-Encoding": "gzip"} if is_gzip else _JSON
        response = self._request("POST", wire.EVENTS_PATH, also_answers=(422,), content=body, headers=headers)
        try:
            return msgspec.json.decode(response.content, type=PostAnswer)
        except msgspec.DecodeError as error:
            raise ServiceRefused(f"not an answer of viewcounter to a batch ({error}): {_show(response)}") from error

    def query(self, query: Query[Answer]) -> Answer:
        """The answer to a query of the client library."""
        response = self._request(query.method, query.path, **wire.encode_query(query))
        try:
            return wire.parse_answer(query, response)
        except ViewcounterError as error:
            raise ServiceRefused(f"{query.method} {query.path}: {error}") from error

    def _request(
        self, method: str, path: str, *, also_answers: tuple[int, ...] = (), **arguments: Any
    ) -> httpx2.Response:
        """The first response that is final. Raises ServiceRefused for one that refuses the request."""
        pause = self.create_retry_pause()
        while True:
            at_least_seconds = 0.0
            try:
                response = self._http.request(method, path, **arguments)
            except httpx2.HTTPError as error:
                reason = f"{method} {path}: {type(error).__name__}: {error}"
            else:
                if response.status_code < 300 or response.status_code in also_answers:
                    return response
                reason = f"{method} {path}: {_show(response)}"
                if response.status_code not in _RETRYABLE_STATUSES:
                    raise ServiceRefused(reason)
                at_least_seconds = _parse_retry_after(response.headers.get("Retry-After"))
            self.retries += 1
            pause.wait(reason=reason, at_least_seconds=at_least_seconds)


def split_pages(items: Iterable[T], *, size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _show(response: httpx2.Response) -> str:
    return f"{response.status_code} {response.content[:500].decode(errors='replace')}"


def _parse_retry_after(header: str | None) -> float:
    """Seconds only: our service never sends a date."""
    return float(header) if header and header.isdecimal() else 0.0
