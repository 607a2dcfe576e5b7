"""Counts requests and their outcomes cheaply: plain integers at each request, metrics once a second.

A metric shared over processes costs more than a microsecond a step, a plain integer a tenth of that.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import Counter as Metric

from runtime.metrics import BUFFERED_EVENTS, EVENTS_ACCEPTED, EVENTS_REJECTED, IGNORED_FIELDS, INGEST_REQUESTS
from viewcounter.ingest.faults import ItemProblem

PUBLISH_SECONDS = 1.0
MAX_IGNORED_LABELS = 30
OTHER_NAMES = "(other)"
_PLAIN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$-]{0,63}", re.ASCII)


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
        self._ignored: Counter[str] = Counter()
        self._labels_of_ignored: set[str] = set()
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

    def count_ignored(self, names: Iterable[str]) -> None:
        """Clients choose the names, so only the first MAX_IGNORED_LABELS plain ones of a process become labels."""
        for name in names:
            if name not in self._labels_of_ignored:
                if len(self._labels_of_ignored) < MAX_IGNORED_LABELS and _PLAIN_NAME.fullmatch(name):
                    self._labels_of_ignored.add(name)
                else:
                    name = OTHER_NAMES  # noqa: PLW2901
            self._ignored[name] += 1

    def publish(self) -> None:
        self._is_scheduled = False
        for outcome, count in self._requests.items():
            INGEST_REQUESTS.labels(outcome).inc(count)
        for code, count in self._rejected.items():
            EVENTS_REJECTED.labels(code).inc(count)
        for name, count in self._ignored.items():
            IGNORED_FIELDS.labels(name).inc(count)
        EVENTS_ACCEPTED.inc(self._accepted_count)
        BUFFERED_EVENTS.set(self._get_buffered_count())
        self._requests.clear()
        self._rejected.clear()
        self._ignored.clear()
        self._accepted_count = 0
