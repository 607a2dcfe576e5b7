"""Where topology comes from: the seam towards the config service, and the order in which its places are asked."""

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from clusterproxy.errors import SourceUnavailable
from clusterproxy.trust import BelievedSnapshot, TopologyTrust
from configservice.topology.published_snapshot import PublishedSnapshot

logger = logging.getLogger(__name__)


class TopologySource(Protocol):
    @property
    def place(self) -> str:
        """In words, for logs and readiness: "the cache"."""

    @property
    def is_open(self) -> bool:
        """Whether others than our own processes may write there: then only what is signed is believed."""

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        """The snapshot that is there, which nobody has judged yet; None if there is none, or the one that is `held`.

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
    """Asks sources in order until one gives a believable answer: cheap ones (a cache) come before the true one.

    A cache that missed a publish answers for ever with what it has, so every `thorough_seconds`, and while nothing is
    known, all are asked and the newest counts. While the cluster is not known, the last, the true one, is asked first:
    only it can say whose topology is ours. Used by one thread at a time.
    """

    def __init__(
        self, sources: Sequence[TopologySource], trust: TopologyTrust, *, thorough_seconds: float = 5.0
    ) -> None:
        self._sources = tuple(sources)
        self._trust = trust
        self._thorough_seconds = thorough_seconds
        self._thorough_at = 0.0

    def fetch(self) -> BelievedSnapshot | None:
        """Something else than what is held, if a source has it. Raises SourceUnavailable when not one answers."""
        held = None if self._trust.held is None else self._trust.held.published
        thorough = held is None or time.monotonic() >= self._thorough_at
        newest: BelievedSnapshot | None = None
        failures: list[str] = []
        knows_cluster = self._trust.known.cluster_id is not None
        for source in self._sources if knows_cluster else reversed(self._sources):
            try:
                found = self._ask(source, held)
            except Exception as error:  # sources are foreign (Redis, Django); any of their errors means the same here
                failures.append(f"{type(error).__name__}: {error}")
                continue
            if found is not None and (newest is None or found.topology.epoch > newest.topology.epoch):
                newest = found
            if not thorough or (found is not None and not knows_cluster):
                break
        if len(failures) == len(self._sources):
            raise SourceUnavailable("; ".join(failures))
        if failures:
            logger.debug("a topology source is down: %s", "; ".join(failures))
        if thorough:
            self._thorough_at = time.monotonic() + self._thorough_seconds
        return newest

    def _ask(self, source: TopologySource, held: PublishedSnapshot | None) -> BelievedSnapshot | None:
        """A refused snapshot is as good as no answer: the next source is asked."""
        published = source.fetch(held)
        if published is None:
            self._trust.clear(source.place)
            return None
        return self._trust.check(published, place=source.place, is_open=source.is_open)
