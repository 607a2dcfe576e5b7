"""Topology sources: the seam towards the config service, and the order in which sources are polled."""

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from clusterproxy.errors import SourceUnavailable
from clusterproxy.trust import AcceptedSnapshot, TopologyTrust
from configservice.topology.published_snapshot import PublishedSnapshot

logger = logging.getLogger(__name__)


class TopologySource(Protocol):
    @property
    def place(self) -> str:
        """In words, for logs and readiness checks: "the cache"."""

    @property
    def is_open(self) -> bool:
        """Whether others than our own processes may write there: then only signed topologies are accepted."""

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        """The snapshot there, unchecked; None if there is none, or if it is the one that is `held`.

        May raise anything when the source is down; must time out within a few seconds.
        """


class PublicationFeed(Protocol):
    """Announces publications at once; their content comes from the source. Used by one thread at a time."""

    def wait(self, timeout_seconds: float) -> int | None:
        """The epoch of a publication, None if there was none within the time. Connects by itself, also after a failure.

        May raise anything when its server is down; must time out within a few seconds.
        """

    def close(self) -> None:
        """Closes its connection. The next `wait` would open a new one."""


class FirstAnswer:
    """Polls sources in order until one has an acceptable topology: a cache first, the authoritative source last.

    A cache that missed a publication would serve an old topology for ever. So every `thorough_seconds`, and while no
    topology is held, all sources are polled and the newest wins. While the cluster id is unknown, the authoritative
    source is polled first: only it can say which cluster is ours. Used by one thread at a time.
    """

    def __init__(
        self, sources: Sequence[TopologySource], trust: TopologyTrust, *, thorough_seconds: float = 15.0
    ) -> None:
        self._sources = tuple(sources)
        self._trust = trust
        self._thorough_seconds = thorough_seconds
        self._thorough_at = 0.0

    def fetch(self) -> AcceptedSnapshot | None:
        """A topology other than the held one, if a source has one. Raises SourceUnavailable when no source answers."""
        held = None if self._trust.held is None else self._trust.held.published
        thorough = held is None or time.monotonic() >= self._thorough_at
        newest: AcceptedSnapshot | None = None
        failures: list[str] = []
        knows_cluster = self._trust.known.cluster_id is not None
        for source in self._sources if knows_cluster else reversed(self._sources):
            try:
                found = self._poll(source, held)
            except Exception as error:  # sources are foreign (Redis, Django); any of their errors means the same here
                failures.append(f"{type(error).__name__}: {error}")
                continue
            if found is not None and (newest is None or found.topology.version > newest.topology.version):
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

    def _poll(self, source: TopologySource, held: PublishedSnapshot | None) -> AcceptedSnapshot | None:
        """Raises SnapshotRefused; then the next source is polled."""
        published = source.fetch(held)
        if published is None:
            self._trust.clear(source.place)
            return None
        return self._trust.check(published, place=source.place, is_open=source.is_open)
