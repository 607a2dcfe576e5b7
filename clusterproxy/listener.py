"""Refreshes the topology store on every publication, instead of at its next poll."""

import logging
import math
import time
from collections.abc import Callable

from clusterproxy.source import PublicationFeed
from runtime.backoff import Backoff
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
RECONNECT = Backoff(first_seconds=0.5, max_seconds=5.0, jitter=0.5)


class PublicationListener:
    """Listens in a thread from `start` to `stop`. A feed that is down is retried with a growing, jittered delay.

    `on_published` gets the epoch of each publication, and None when the feed is back: one may have been missed.
    """

    def __init__(self, feed: PublicationFeed, *, on_published: Callable[[int | None], None]) -> None:
        self._feed = feed
        self._on_published = on_published
        self._outage = OutageLog(
            logger,
            failed="the feed of publications is down, polling goes on",
            recovered="the feed of publications is up again",
        )
        self._has_connected = False
        self.heard_at = -math.inf
        """When the feed was last known to be up, by the monotonic clock."""
        self._task = PeriodicTask("topology-feed", self._listen, interval_seconds=0.0, on_end=feed.close)

    @property
    def is_up(self) -> bool:
        """Whether publications reach this process, as far as it knows."""
        return self._has_connected and self._outage.failures == 0

    def start(self) -> None:
        self._task.start()

    def stop(self, *, timeout_seconds: float = 0.0) -> None:
        self._task.stop(timeout_seconds=timeout_seconds)

    def _listen(self) -> float:
        try:
            epoch = self._feed.wait(WAIT_SECONDS)
        except Exception as error:  # whatever the feed raises: polling finds the same topology a little later
            self._outage.report_failure(error)
            self._on_published(None)  # polls now, and from here on more often
            return RECONNECT.compute_seconds(self._outage.failures)
        if self._outage.failures:
            self._on_published(None)
        elif epoch is not None:
            self._on_published(epoch)
        self._outage.report_success()
        self._has_connected = True
        self.heard_at = time.monotonic()
        return 0.0
