"""Wakes the topology store when something is published, so that nobody waits for the next poll."""

import logging
import threading
from collections.abc import Callable
from random import Random

from clusterproxy.source import PublicationFeed

logger = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
RECONNECT_FIRST_SECONDS = 0.5
RECONNECT_MAX_SECONDS = 5.0


def run_listener(
    feed: PublicationFeed, *, on_news: Callable[[int | None], None], stopping: threading.Event, rng: Random
) -> None:
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
            stopping.wait(compute_reconnect_seconds(failures, rng=rng))
            continue
        if failures:
            logger.info("publications are heard again")
            failures = 0
            on_news(None)
        elif epoch is not None:
            on_news(epoch)
    feed.close()


def compute_reconnect_seconds(failures: int, *, rng: Random) -> float:
    """Doubles with each failure in a row, `failures` from 1; half of it is jitter, so that a fleet spreads."""
    longest = float(min(RECONNECT_MAX_SECONDS, RECONNECT_FIRST_SECONDS * 2 ** min(failures - 1, 16)))
    return longest * (0.5 + 0.5 * rng.random())
