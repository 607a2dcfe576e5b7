"""Wakes the topology store when something is published, so that nobody waits for the next poll."""

import logging
import threading
from collections.abc import Callable

from clusterproxy.source import PublicationFeed
from runtime.backoff import Backoff

logger = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
RECONNECT = Backoff(first_seconds=0.5, max_seconds=5.0, jitter=0.5)


def run_listener(feed: PublicationFeed, *, on_news: Callable[[int | None], None], stopping: threading.Event) -> None:
    """Until `stopping` is set. A feed that is down is tried again with a growing, jittered delay; polling goes on.

    `on_news` gets the epoch of each publish, and None when the feed is back: something may have been missed.
    """
    failures = 0
    while not stopping.is_set():
        try:
            epoch = feed.wait(WAIT_SECONDS)
        except Exception as error:  # the feed is foreign; whatever it raises, polling finds the same a little later
            if failures == 0:
                logger.warning("publications are not heard, polling goes on: %s", error)
            failures += 1
            stopping.wait(RECONNECT.compute_seconds(failures))
            continue
        if failures:
            logger.info("publications are heard again")
            failures = 0
            on_news(None)
        elif epoch is not None:
            on_news(epoch)
    feed.close()
