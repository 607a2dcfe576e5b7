"""The topology that this process uses: the newest that it accepts, from any source.

Invariant: the version never goes below that of the disk copy or of any topology accepted since, so a source that was
restored from an old copy, or is made to repeat one, cannot move routes back.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clusterproxy.disk_copy import PLACE, find_disk_copy, write_disk_copy
from clusterproxy.errors import NoTopology
from clusterproxy.listener import PublicationListener
from clusterproxy.settings import ClusterSettings
from clusterproxy.source import FirstAnswer, PublicationFeed, TopologySource
from clusterproxy.trust import CONTRADICTIONS, AcceptedSnapshot, OnRefused, SnapshotRefused, TopologyTrust
from configservice.topology.model import Topology, TopologyVersion
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0
NONE_YET = TopologyVersion(0, 0)


class TopologyStore:
    """Thread-safe; owned by one process. Only its own thread polls the sources, so callers wait a bounded time.

    `sources` in the order of `FirstAnswer`. `on_change` runs in that thread with every new topology, before callers
    get it. A second thread listens to `feed`, which announces publications; without one the sources are only polled.
    """

    def __init__(
        self,
        sources: Sequence[TopologySource],
        settings: ClusterSettings,
        *,
        state_dir: Path,
        on_change: Callable[[Topology], None],
        on_refused: OnRefused | None = None,
        feed: PublicationFeed | None = None,
    ) -> None:
        self.trust = TopologyTrust(
            cluster_id=settings.id,
            public_keys=settings.topology_public_keys,
            on_refused=on_refused,
        )
        self._source = FirstAnswer(sources, self.trust)
        self._authoritative_place = sources[-1].place
        self._settings = settings
        self._state_dir = state_dir
        self._on_change = on_change
        self._current: Topology | None = None
        self._outage = OutageLog(
            logger,
            failed="no topology source answers, the process keeps its topology",
            recovered="a topology source answers again",
        )
        self._is_closed = False
        self._started_count = 0
        self._finished_count = 0
        self._fetched_at = 0.0
        self._heard_at = -math.inf
        # Guards the counters and `_is_closed`; never held during a poll.
        self._changed = threading.Condition()
        self._poll = PeriodicTask("topology-poll", self._run_poll, interval_seconds=settings.topology_poll_seconds)
        self._listener = None if feed is None else PublicationListener(feed, on_published=self.on_published)

    def get_current(self) -> Topology:
        """Raises NoTopology. The first call starts polling and waits a bounded time for the first result."""
        current = self._current
        if current is not None:
            return current
        self._start()
        with self._changed:
            self._changed.wait_for(lambda: self._finished_count > 0, self._settings.topology_first_wait_seconds)
        current = self._current
        if current is None:
            refusals = "; ".join(f"{place} is refused: {why}" for place, why in self.trust.refusals.items())
            raise NoTopology(refusals or "no topology source answers and there is no disk copy")
        return current

    def refresh(self, *, known: TopologyVersion, timeout_seconds: float, is_sure: bool = False) -> bool:
        """Whether there is newer topology than `known`; polls the sources now, unless they just were polled.

        `is_sure`: the caller has seen that there is newer topology, so it waits until the sources may be polled again.
        """
        if self._get_version() > known:
            return True
        self._start()
        with self._changed:
            rest = self._fetched_at + self._settings.topology_refresh_min_seconds - time.monotonic()
            if is_sure and 0 < rest < timeout_seconds:
                if self._changed.wait_for(lambda: self._get_version() > known or self._is_closed, rest):
                    return self._get_version() > known  # another caller has caused a poll meanwhile
                rest = 0.0
            if rest <= 0:
                # A poll under way may have begun before the caller's failure: wait for one that begins now.
                target = self._started_count + 1
                self._poll.wake()
                self._changed.wait_for(lambda: self._finished_count >= target or self._is_closed, timeout_seconds)
        return self._get_version() > known

    @property
    def unheard_seconds(self) -> float:
        """Time since a source or the feed has answered last; a publication of since then is not known here."""
        heard_at = self._heard_at if self._listener is None else max(self._heard_at, self._listener.heard_at)
        return time.monotonic() - heard_at

    def on_published(self, epoch: int | None) -> None:
        """Starts a poll unless `epoch` is the current one. Returns at once.

        Also for a lower epoch: after a rebuild of the control database it may be of a higher generation.
        """
        if epoch is None or epoch != self._get_version().epoch:
            self._poll.wake()

    def close(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        self._poll.stop()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._poll.stop(timeout_seconds=STOP_SECONDS)
        if self._listener is not None:
            self._listener.stop(timeout_seconds=STOP_SECONDS)

    def _start(self) -> None:
        self._poll.start()
        if self._listener is not None:
            self._listener.start()

    def _run_poll(self) -> float:
        """Seconds until the next poll."""
        with self._changed:
            self._started_count += 1
        try:
            self._update()
        finally:
            with self._changed:
                self._finished_count += 1
                self._fetched_at = time.monotonic()
                self._changed.notify_all()
        settings = self._settings
        # Without a topology nothing works, and what will be published may have been pushed before.
        if self._current is None or self._listener is None or not self._listener.is_up:
            return settings.topology_poll_seconds
        return max(settings.topology_poll_seconds, settings.topology_fed_poll_seconds)

    def _get_version(self) -> TopologyVersion:
        return self._current.version if self._current is not None else NONE_YET

    def _update(self) -> None:
        """Switches to a newer topology if a source has one. An old topology is better than none.

        A process that starts takes nothing older than the disk copy; an unsigned disk copy only counts if no source
        has a topology.
        """
        is_starting = self._current is None
        if is_starting and self.trust.held is None:
            self._hold_disk_copy(even_unsigned=not self.trust.verifies)
        found = self._fetch()
        if is_starting and found is None and self.trust.held is None:
            self._hold_disk_copy(even_unsigned=True)
        if found is not None:
            self._accept(found)
            self._write_disk_copy(found)
        elif self._current is None and self.trust.held is not None and not self._is_disk_copy_contradicted():
            copy = self.trust.held
            if self._outage.failures:
                logger.warning("starting with the disk copy of the topology, %s", copy.topology.version)
            self._accept(copy)

    def _fetch(self) -> AcceptedSnapshot | None:
        """Never raises."""
        try:
            found = self._source.fetch()
        except Exception as error:  # whatever the sources raise: the current topology stays in use
            self._outage.report_failure(error)
            return None
        self._outage.report_success()
        self._heard_at = time.monotonic()
        return found

    def _hold_disk_copy(self, *, even_unsigned: bool) -> None:
        """From then on topologies that are older, or of another cluster, are refused."""
        published = find_disk_copy(self._state_dir)
        if published is None or not (even_unsigned or published.signatures):
            return
        try:
            self.trust.hold(self.trust.check(published, place=PLACE))
        except SnapshotRefused:
            return  # `check` has logged it

    def _is_disk_copy_contradicted(self) -> bool:
        """Whether the control database describes another cluster: then an operator must decide which one is right."""
        refusal = self.trust.refusals.get(self._authoritative_place)
        return refusal is not None and refusal.reason in CONTRADICTIONS

    def _write_disk_copy(self, accepted: AcceptedSnapshot) -> None:
        """Processes share the file: one with older topology must not overwrite a newer copy."""
        on_disk = find_disk_copy(self._state_dir)
        if on_disk is not None and self.trust.is_newer(on_disk):
            return
        try:
            write_disk_copy(self._state_dir, accepted.published)
        except OSError as error:
            logger.warning("cannot write the disk copy of the topology: %s", error)
        else:
            self.trust.clear(PLACE)

    def _accept(self, accepted: AcceptedSnapshot) -> None:
        """The process uses it, and refuses older ones, from here on."""
        if self._current is None or accepted.topology != self._current:
            self._on_change(accepted.topology)
        self.trust.hold(accepted)
        self._current = accepted.topology
