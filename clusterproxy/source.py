"""Where topology comes from: the seam towards the config service, and the order in which its places are asked."""

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from clusterproxy.errors import SourceUnavailable
from configservice.topology import Topology

logger = logging.getLogger(__name__)


class TopologySource(Protocol):
    def fetch(self, known_epoch: int) -> Topology | None:
        """The source's snapshot, or None if it has none or its epoch is `known_epoch`.

        May raise anything when the source is down; must give up within a few seconds of its own accord.
        """


class PublicationFeed(Protocol):
    """Says at once that something was published; what, the source tells. Used by one thread at a time."""

    def wait(self, timeout_seconds: float) -> int | None:
        """The epoch of a publish, None if there was none within the time. Connects by itself, also after a failure.

        May raise anything when its server is down; must give up within a few seconds of its own accord.
        """

    def close(self) -> None:
        """Gives up its connection. The next `wait` would make a new one."""


class FirstAnswer:
    """Asks sources in order until one answers: cheap ones (a cache) come before the true one.

    A cache that missed a publish answers for ever with what it has, so every `thorough_seconds`, and while nothing is
    known, all are asked and the newest counts. Used by one thread at a time.
    """

    def __init__(self, sources: Sequence[TopologySource], *, thorough_seconds: float = 5.0) -> None:
        self._sources = tuple(sources)
        self._thorough_seconds = thorough_seconds
        self._thorough_at = 0.0

    def fetch(self, known_epoch: int) -> Topology | None:
        """Raises SourceUnavailable when not one source answers."""
        thorough = known_epoch == 0 or time.monotonic() >= self._thorough_at
        newest: Topology | None = None
        failures: list[str] = []
        for source in self._sources:
            try:
                found = source.fetch(known_epoch)
            except Exception as error:  # sources are foreign (Redis, Django); any of their errors means the same here
                failures.append(f"{type(error).__name__}: {error}")
                continue
            if found is not None and (newest is None or found.epoch > newest.epoch):
                newest = found
            if not thorough:
                break
        if len(failures) == len(self._sources):
            raise SourceUnavailable("; ".join(failures))
        if failures:
            logger.debug("a topology source is down: %s", "; ".join(failures))
        if thorough:
            self._thorough_at = time.monotonic() + self._thorough_seconds
        return newest
