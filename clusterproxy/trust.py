"""Which snapshots this process believes, whatever place they come from: only those of its own cluster, and signed.

Invariants: the cluster's id and the number of partitions, once known, never change in a process; the disk copy hands
them to the next one. An event that was put into a partition of another count would never be applied. And where public
keys are configured, a snapshot without a valid signature is believed only of the control database or the disk copy, and
only until the first signed one was seen: the release before signs nothing.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from clusterproxy.errors import ClusterProxyError
from configservice.topology.model import Topology
from configservice.topology.published_snapshot import PublishedSnapshot
from configservice.topology.signing import PublicKeys
from runtime.errors import Permanent

logger = logging.getLogger(__name__)


class RefusalReason(StrEnum):
    UNREADABLE = "unreadable"
    UNSIGNED = "unsigned"
    WRONG_SIGNATURE = "wrong_signature"
    OTHER_CLUSTER = "other_cluster"
    OTHER_PARTITION_COUNT = "other_partition_count"
    OLDER_EPOCH = "older_epoch"
    SAME_EPOCH_OTHER_CONTENT = "same_epoch_other_content"


CONTRADICTIONS = frozenset({RefusalReason.OTHER_CLUSTER, RefusalReason.OTHER_PARTITION_COUNT})
"""What is fixed for the life of a cluster differs: of two places that contradict each other so, one is not ours."""


class SnapshotRefused(ClusterProxyError, Permanent):
    """A place holds a topology that is not this process's to believe; what it knows stays in use. See decision 0010."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class BelievedSnapshot:
    """What was published, and what it means."""

    published: PublishedSnapshot
    topology: Topology
    is_signed: bool = False
    """By a key of ours."""


@dataclass(frozen=True, slots=True)
class KnownCluster:
    """What every snapshot must agree with; None: not known yet."""

    cluster_id: str | None = None
    partition_count: int | None = None
    has_signed: bool = False
    """A signed snapshot of it has been seen."""


OnRefused = Callable[[str], None]
"""Told the reason of every refusal. Called in the polling thread: must return at once."""


class TopologyTrust:
    """Thread-safe. A refusal is logged once, and remembered by its place until that place holds something else."""

    def __init__(
        self, *, cluster_id: str = "", public_keys: PublicKeys | None = None, on_refused: OnRefused | None = None
    ) -> None:
        """`cluster_id`: of the settings; empty where the first snapshot says it. No keys: nothing is verified."""
        self._public_keys = public_keys or PublicKeys({})
        self.known = KnownCluster(cluster_id or None)
        self.held: BelievedSnapshot | None = None
        """The newest that was believed."""
        self._on_refused = on_refused
        self._refusals: dict[str, SnapshotRefused] = {}
        self._lock = threading.Lock()  # guards `_refusals`, which readiness probes read

    @property
    def refusals(self) -> dict[str, SnapshotRefused]:
        """By the place that holds what is refused."""
        with self._lock:
            return dict(self._refusals)

    @property
    def verifies(self) -> bool:
        return bool(self._public_keys)

    def check(self, published: PublishedSnapshot, *, place: str, is_open: bool = False) -> BelievedSnapshot:
        """`is_open`: others than our own processes may write there. Raises SnapshotRefused."""
        try:
            is_signed = self._check_signature(published, is_open=is_open)
            believed = judge_snapshot(published, self.known, self.held, is_signed=is_signed)
        except SnapshotRefused as refusal:
            self._remember(place, refusal)
            raise
        self.clear(place)
        return believed

    def hold(self, believed: BelievedSnapshot) -> None:
        """From now on this is what the process knows."""
        topology = believed.topology
        self.held = believed
        self.known = KnownCluster(
            self.known.cluster_id or topology.cluster_id or None,
            self.known.partition_count or topology.partition_count,
            self.known.has_signed or believed.is_signed,
        )

    def is_newer(self, published: PublishedSnapshot) -> bool:
        """Whether it is believable and of a higher epoch than what is held."""
        try:
            self._check_signature(published, is_open=False)
            found = judge_snapshot(published, self.known, self.held)
        except SnapshotRefused:
            return False
        return self.held is None or found.topology.epoch > self.held.topology.epoch

    def clear(self, place: str) -> None:
        """The place holds nothing that would be refused."""
        with self._lock:
            gone = self._refusals.pop(place, None)
        if gone is not None:
            logger.info("%s holds a topology of ours again", place)

    def _check_signature(self, published: PublishedSnapshot, *, is_open: bool) -> bool:
        """Whether it is signed. Raises SnapshotRefused where it must be."""
        if self._public_keys.verify(published):
            return True
        if published.signatures and self.verifies:
            signers = ", ".join(published.signatures)
            raise SnapshotRefused(RefusalReason.WRONG_SIGNATURE, f"no key of ours has signed it, but {signers}")
        if is_open or self.known.has_signed:
            raise SnapshotRefused(RefusalReason.UNSIGNED, "nobody has signed it")
        return False

    def _remember(self, place: str, refusal: SnapshotRefused) -> None:
        with self._lock:
            before = self._refusals.get(place)
            self._refusals[place] = refusal
        if before is None or str(before) != str(refusal):
            logger.error("the topology in %s is refused: %s", place, refusal)
        if self._on_refused is not None:
            self._on_refused(refusal.reason.value)


def judge_snapshot(
    published: PublishedSnapshot, known: KnownCluster, held: BelievedSnapshot | None, *, is_signed: bool = False
) -> BelievedSnapshot:
    """Pure; of one whose signature has been looked at. Raises SnapshotRefused."""
    try:
        topology = published.decode()
    except msgspec.DecodeError as error:
        raise SnapshotRefused(RefusalReason.UNREADABLE, f"it is no snapshot: {error}") from error
    if known.cluster_id is not None and topology.cluster_id != known.cluster_id:
        message = f"it is cluster {topology.cluster_id or '(unnamed)'}'s, this process belongs to {known.cluster_id}"
        raise SnapshotRefused(RefusalReason.OTHER_CLUSTER, message)
    if known.partition_count is not None and topology.partition_count != known.partition_count:
        message = f"it has {topology.partition_count} partitions, this cluster was made with {known.partition_count}"
        raise SnapshotRefused(RefusalReason.OTHER_PARTITION_COUNT, message)
    if held is not None:
        _check_order(topology, held.topology)
    return BelievedSnapshot(published, topology, is_signed)


def _check_order(topology: Topology, held: Topology) -> None:
    if topology.epoch < held.epoch:
        message = (
            f"it has epoch {topology.epoch}, this process epoch {held.epoch}: was the control database restored or made"
            " anew? To accept the older one, remove topology.json in the state folder and restart."
        )
        raise SnapshotRefused(RefusalReason.OLDER_EPOCH, message)
    if topology.epoch == held.epoch and topology != held:
        message = f"its epoch {topology.epoch} is another one than the epoch {topology.epoch} that this process knows"
        raise SnapshotRefused(RefusalReason.SAME_EPOCH_OTHER_CONTENT, message)
