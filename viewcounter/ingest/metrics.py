"""Counts requests and their outcomes cheaply: plain integers at each request, metrics once a second.

A metric shared over processes costs more than a microsecond a step, a plain integer a tenth of that.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import Counter as Metric

from runtime.metrics import BUFFERED_EVENTS, EVENTS_ACCEPTED, EVENTS_REJECTED, INGEST_REQUESTS
from viewcounter.ingest.decoding import ItemProblem

PUBLISH_SECONDS = 1.0


class RequestMeter:
    """Counts by the labels of one metric. Otherwise as `IngestMeter`."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._is_scheduled = False

    def count(self, *labels: str, by: int = 1) -> None:
        self._counts[labels] += by
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(PUBLISH_SECONDS, self.publish)

    def publish(self) -> None:
        self._is_scheduled = False
        for labels, count in self._counts.items():
            self._metric.labels(*labels).inc(count)
        self._counts.clear()


class IngestMeter:
    """Lives on one event loop; every method is called there. Counts of a killed process since its last publication are
    lost."""

    def __init__(self, get_buffered_count: Callable[[], int]) -> None:
        self._get_buffered_count = get_buffered_count
        self._requests: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._accepted_count = 0
        self._is_scheduled = False

    def count_request(self, outcome: str) -> None:
        self._requests[outcome] += 1
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(PUBLISH_SECONDS, self.publish)

    def count_events(self, *, accepted: int, problems: Iterable[ItemProblem]) -> None:
        self._accepted_count += accepted
        for problem in problems:
            self._rejected[problem.code] += 1

    def publish(self) -> None:
        self._is_scheduled = False
        for outcome, count in self._requests.items():
            INGEST_REQUESTS.labels(outcome).inc(count)
        for code, count in self._rejected.items():
            EVENTS_REJECTED.labels(code).inc(count)
        EVENTS_ACCEPTED.inc(self._accepted_count)
        BUFFERED_EVENTS.set(self._get_buffered_count())
        self._requests.clear()
        self._rejected.clear()
        self._accepted_count = 0
