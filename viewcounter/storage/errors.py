"""Errors of statements on a shard's tables; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class StorageError(Exception):
    """A shard's tables are not in the state this process expects."""


class PositionMoved(StorageError, Retryable):
    """The partition's position, epoch or state is not the one that this flush expects. Nothing was written.

    Retryable: another worker has flushed, or the partition has moved or is held. Read its state again.
    """


class TooManyDeadLetters(StorageError, Permanent):
    """The dead letters of this flush pass a limit. Nothing was written; the partition stops.

    Permanent: find the cause, then resume the partition with `manage.py dead_letters resume`. `reason` is a StopReason.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class PartitionNotHere(StorageError, Retryable):
    """The shard has no row for this partition: topology and shard disagree. Run `manage.py migrate_shards`."""


class PartitionBeingMoved(StorageError, Retryable):
    """The partition is being copied to another shard, or has just been handed over. Its rollups, retention, recounts
    and dead letters wait until the topology names the new shard: their changes would be missing in the copy.

    Retryable: a mover that died delays them by at most `VIEWCOUNTER_MOVE_MAINTENANCE_HOLD_SECONDS`.
    """


class MaintenanceHoldLost(StorageError, Retryable):
    """Maintenance may have changed the partition since its copy was made, or another mover has claimed the move.

    Retryable: the copy is compared again, and made again if it differs.
    """


class CopyTaken(StorageError, Retryable):
    """The copy of a partition does not exist, or another mover has taken it over.

    Retryable: read the state of the move again.
    """


class MoverReplaced(StorageError, Retryable):
    """Another mover has taken the move over; this one stops. Nothing was changed.

    Retryable: read the state of the move again.
    """


class CleanUpOutOfDate(StorageError, Permanent):
    """The partition whose rows were to be deleted has come back to this shard. Nothing was deleted.

    Permanent for a mover that was replaced; the mover that holds the lease reads the state of the move again.
    """


class SchemaVersionMismatch(StorageError, Permanent):
    """The schema of the shard does not match this release. Run `manage.py migrate_shards`."""
