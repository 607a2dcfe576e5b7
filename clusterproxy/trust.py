"""Which topology snapshots this process accepts, from whatever place: signed ones of its own cluster.

Invariants: the cluster's id and the number of partitions, once known, never change in a process; the disk copy hands
them to the next one. An event that was put into a partition of another count would never be applied. And where public
keys are configured, a snapshot without a valid signature is accepted only from the control database or the disk copy,
and only until the first signed one was seen: the previous release signs nothing.
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
"""Values that are fixed for the life of a cluster differ: one of two such places belongs to another cluster."""


class SnapshotRefused(ClusterProxyError, Permanent):
    """A place holds a topology that this process must not use; the current one stays in use. See decision 0010."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AcceptedSnapshot:
    """A published snapshot and the topology in it."""

    published: PublishedSnapshot
    topology: Topology
    is_signed: bool = False
    """By one of the configured keys."""


@dataclass(frozen=True, slots=True)
class KnownCluster:
    """The values that every snapshot must have; None: not known yet."""

    cluster_id: str | None = None
    partition_count: int | None = None
    has_signed: bool = False
    """A signed snapshot of it has been seen."""


OnRefused = Callable[[str], None]
"""Gets the reason of every refusal. Called in the polling thread: must return at once."""


class TopologyTrust:
    """Thread-safe. A refusal is logged once, and recorded by its place until that place holds another snapshot."""

    def __init__(self, *, cluster_id: str = "", public_keys: str = "", on_refused: OnRefused | None = None) -> None:
        """`cluster_id` of the settings; empty: of the first snapshot. `public_keys` as in the settings; without any,
        signatures are not verified. Raises ValueError."""
        PublicKeys.parse(public_keys)
        self._public_keys = public_keys
        self.known = KnownCluster(cluster_id or None)
        self.held: AcceptedSnapshot | None = None
        """The newest that was accepted."""
        self._on_refused = on_refused
        self._refusals: dict[str, SnapshotRefused] = {}
        self._lock = threading.Lock()  # guards `_refusals`, which readiness probes read

    @property
    def refusals(self) -> dict[str, SnapshotRefused]:
        """By the place that holds the refused snapshot."""
        with self._lock:
            return dict(self._refusals)

    @property
    def verifies(self) -> bool:
        return bool(self._public_keys)

    def check(self, published: PublishedSnapshot, *, place: str, is_open: bool = False) -> AcceptedSnapshot:
        """`is_open`: others than our own processes may write to `place`. Raises SnapshotRefused."""
        try:
            is_signed = self._check_signature(published, is_open=is_open)
            accepted = check_snapshot(published, self.known, self.held, is_signed=is_signed)
        except SnapshotRefused as refusal:
            self._record(place, refusal)
            raise
        self.clear(place)
        return accepted

    def hold(self, accepted: AcceptedSnapshot) -> None:
        """Snapshots that are older, or of another cluster, are refused from now on."""
        topology = accepted.topology
        self.held = accepted
        self.known = KnownCluster(
            self.known.cluster_id or topology.cluster_id or None,
            self.known.partition_count or topology.partition_count,
            self.known.has_signed or accepted.is_signed,
        )

    def is_newer(self, published: PublishedSnapshot) -> bool:
        """Whether it is acceptable and of a higher version than the held one."""
        try:
            self._check_signature(published, is_open=False)
            found = check_snapshot(published, self.known, self.held)
        except SnapshotRefused:
            return False
        return self.held is None or found.topology.version > self.held.topology.version

    def clear(self, place: str) -> None:
        """The place holds no snapshot that is refused."""
        with self._lock:
            gone = self._refusals.pop(place, None)
        if gone is not None:
            logger.info("the topology in %s is accepted again", place)

    def _check_signature(self, published: PublishedSnapshot, *, is_open: bool) -> bool:
        """Whether it is signed. Raises SnapshotRefused where it must be."""
        if PublicKeys.parse(self._public_keys).verify(published):  # a file of keys may have changed
            return True
        if published.signatures and self.verifies:
            signers = ", ".join(published.signatures)
            raise SnapshotRefused(
                RefusalReason.WRONG_SIGNATURE, f"its signatures are by {signers}, not by a configured key"
            )
        if is_open or self.known.has_signed:
            raise SnapshotRefused(RefusalReason.UNSIGNED, "it has no signature")
        return False

    def _record(self, place: str, refusal: SnapshotRefused) -> None:
        with self._lock:
            before = self._refusals.get(place)
            self._refusals[place] = refusal
        if before is None or str(before) != str(refusal):
            logger.error("the topology in %s is refused: %s", place, refusal)
        if self._on_refused is not None:
            self._on_refused(refusal.reason.value)


def check_snapshot(
    published: PublishedSnapshot, known: KnownCluster, held: AcceptedSnapshot | None, *, is_signed: bool = False
) -> AcceptedSnapshot:
    """Pure; its signature has been checked before. Raises SnapshotRefused."""
    try:
        topology = published.decode()
    except msgspec.DecodeError as error:
        raise SnapshotRefused(RefusalReason.UNREADABLE, f"it is not a snapshot: {error}") from error
    if known.cluster_id is not None and topology.cluster_id != known.cluster_id:
        message = f"it is of cluster {topology.cluster_id or '(unnamed)'}, this process belongs to {known.cluster_id}"
        raise SnapshotRefused(RefusalReason.OTHER_CLUSTER, message)
    if known.partition_count is not None and topology.partition_count != known.partition_count:
        message = f"it has {topology.partition_count} partitions, this cluster has {known.partition_count}"
        raise SnapshotRefused(RefusalReason.OTHER_PARTITION_COUNT, message)
    if held is not None:
        _check_order(topology, held.topology)
    return AcceptedSnapshot(published, topology, is_signed)


def _check_order(topology: Topology, held: Topology) -> None:
    if topology.version < held.version:
        message = (
            f"it has {topology.version}, this process {held.version}: was the control database restored or created"
            " anew? `manage.py restore_topology` makes every process accept it."
        )
        raise SnapshotRefused(RefusalReason.OLDER_EPOCH, message)
    if topology.version == held.version and topology != held:
        message = f"its content differs from that of {topology.version} in this process"
        raise SnapshotRefused(RefusalReason.SAME_EPOCH_OTHER_CONTENT, message)
