"""The topology that this process acts on: the newest that it believes, from wherever it could be had.

Invariant: the epoch never goes below that of the disk copy or of anything seen since, so a source that was restored
from an old copy, or is made to repeat one, cannot move routes back.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from clusterproxy.disk_copy import PLACE, find_disk_copy, write_disk_copy
from clusterproxy.errors import NoTopology
from clusterproxy.listener import PublicationListener
from clusterproxy.settings import ClusterSettings
from clusterproxy.source import FirstAnswer, PublicationFeed, TopologySource
from clusterproxy.trust import CONTRADICTIONS, BelievedSnapshot, OnRefused, SnapshotRefused, TopologyTrust
from configservice.topology.model import Topology
from configservice.topology.signing import PublicKeys
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0


class TopologyStore:
    """Thread-safe; owned by one process. Only its own thread asks the sources, so a slow one delays nobody for long.

    `sources` in the order of `FirstAnswer`. `on_change` runs in that thread with every new snapshot, before anybody
    sees it. `feed`, listened to by a second thread, says when to ask; without one the sources are polled only.
    """

    def __init__(
        self,
        sources: Sequence[TopologySource],
        settings: ClusterSettings,
        *,
        on_change: Callable[[Topology], None],
        on_refused: OnRefused | None = None,
        feed: PublicationFeed | None = None,
    ) -> None:
        self.trust = TopologyTrust(
            cluster_id=settings.cluster_id,
            public_keys=PublicKeys.parse(settings.topology_public_keys),
            on_refused=on_refused,
        )
        self._source = FirstAnswer(sources, self.trust)
        self._true_place = sources[-1].place
        self._settings = settings
        self._on_change = on_change
        self._current: Topology | None = None
        self._outage = OutageLog(
            logger,
            failed="no topology source answers, the process goes on with the topology that it has",
            recovered="a topology source answers again",
        )
        self._is_closed = False
        self._started_count = 0
        self._finished_count = 0
        self._fetched_at = 0.0
        # Guards the counters and `_is_closed`; never held while the source is asked.
        self._changed = threading.Condition()
        self._poll = PeriodicTask("topology-poll", self._look, interval_seconds=settings.topology_poll_seconds)
        self._listener = None if feed is None else PublicationListener(feed, on_news=self.hear_of)

    def get_current(self) -> Topology:
        """Raises NoTopology. The first call starts polling and waits a moment for the first answer."""
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

    def refresh(self, *, known_epoch: int, timeout_seconds: float, is_sure: bool = False) -> bool:
        """Whether there is something newer than `known_epoch`; has the source asked now, unless it just was.

        `is_sure`: the caller has seen that there is. Then it is worth waiting until the source may be asked again.
        """
        if self._get_epoch() > known_epoch:
            return True
        self._start()
        with self._changed:
            rest = self._fetched_at + self._settings.topology_refresh_min_seconds - time.monotonic()
            if is_sure and 0 < rest < timeout_seconds:
                if self._changed.wait_for(lambda: self._get_epoch() > known_epoch or self._is_closed, rest):
                    return self._get_epoch() > known_epoch  # somebody else has asked meanwhile
                rest = 0.0
            if rest <= 0:
                # An answer under way may be older than the trouble the caller has seen: wait for one asked for now.
                target = self._started_count + 1
                self._poll.wake()
                self._changed.wait_for(lambda: self._finished_count >= target or self._is_closed, timeout_seconds)
        return self._get_epoch() > known_epoch

    def hear_of(self, epoch: int | None) -> None:
        """Has the source asked now if `epoch` is news, or unknown. Returns at once."""
        if epoch is None or epoch > self._get_epoch():
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

    def _look(self) -> None:
        with self._changed:
            self._started_count += 1
        try:
            self._look_for_topology()
        finally:
            with self._changed:
                self._finished_count += 1
                self._fetched_at = time.monotonic()
                self._changed.notify_all()

    def _get_epoch(self) -> int:
        return self._current.epoch if self._current is not None else 0

    def _look_for_topology(self) -> None:
        """Takes over a newer snapshot if a source has one. Old topology beats none.

        The disk copy binds a process that starts; one that nobody has signed only where the sources say nothing.
        """
        is_starting = self._current is None
        if is_starting and self.trust.held is None:
            self._hold_disk_copy(even_unsigned=not self.trust.verifies)
        found = self._fetch()
        if is_starting and found is None and self.trust.held is None:
            self._hold_disk_copy(even_unsigned=True)
        if found is not None:
            self._accept(found)
            self._keep(found)
        elif self._current is None and self.trust.held is not None and not self._is_disk_copy_contradicted():
            copy = self.trust.held
            if self._outage.failures:
                logger.warning("starting with the disk copy of the topology, epoch %d", copy.topology.epoch)
            self._accept(copy)

    def _fetch(self) -> BelievedSnapshot | None:
        """Never raises."""
        try:
            found = self._source.fetch()
        except Exception as error:  # the sources are foreign; whatever they raise, what is known stays in use
            self._outage.report_failure(error)
            return None
        self._outage.report_success()
        return found

    def _hold_disk_copy(self, *, even_unsigned: bool) -> None:
        """From then on nothing that is older, or of another cluster, is taken from a source."""
        published = find_disk_copy(self._settings.state_dir)
        if published is None or not (even_unsigned or published.signatures):
            return
        try:
            self.trust.hold(self.trust.check(published, place=PLACE))
        except SnapshotRefused:
            return  # the trust has said so

    def _is_disk_copy_contradicted(self) -> bool:
        """Whether the control database describes another cluster: then it is for a person to say which one is ours."""
        refusal = self.trust.refusals.get(self._true_place)
        return refusal is not None and refusal.reason in CONTRADICTIONS

    def _keep(self, believed: BelievedSnapshot) -> None:
        """Other processes share the file; one that is behind must not write over a newer copy."""
        on_disk = find_disk_copy(self._settings.state_dir)
        if on_disk is not None and self.trust.is_newer(on_disk):
            return
        try:
            write_disk_copy(self._settings.state_dir, believed.published)
        except OSError as error:
            logger.warning("cannot keep a disk copy of the topology: %s", error)
        else:
            self.trust.clear(PLACE)

    def _accept(self, believed: BelievedSnapshot) -> None:
        """The process acts on it and is bound by it from here on."""
        if self._current is None or believed.topology != self._current:
            self._on_change(believed.topology)
        self.trust.hold(believed)
        self._current = believed.topology
