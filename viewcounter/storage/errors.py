"""What a shard's tables can refuse; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class StorageError(Exception):
    """A shard's tables are not in the state this process expects."""


class PositionMoved(StorageError, Retryable):
    """The partition's position, epoch or state is not the one this flush was made for. Nothing was written.

    Retryable: another worker was faster, the partition has moved, or it is held. Read the state again.
    """


class TooManyDeadLetters(StorageError, Permanent):
    """Writing this flush's dead letters would pass a limit. Nothing was written; the partition stops.

    Permanent: find the cause, then let the partition go on, `manage.py dead_letters resume`. `reason` is a StopReason.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class PartitionNotHere(StorageError, Retryable):
    """The shard has no row for this partition: topology and shard disagree. Run `manage.py migrate_shards`."""


class PartitionBeingMoved(StorageError, Retryable):
    """The partition is being copied to another shard, or has just changed it. Its rollups, retention, recounts and dead
    letters wait until it is there and the topology says so: what they changed would be missing in the copy.

    Retryable: a mover that died holds them up for a minute at most (`VIEWCOUNTER_MOVE_MAINTENANCE_HOLD_SECONDS`).
    """


class MaintenanceHoldLost(StorageError, Retryable):
    """Something but flushes may have changed the partition since its copy was made, or another mover is at it.

    Retryable: the copy is compared again, and made again if it differs.
    """


class CopyTaken(StorageError, Retryable):
    """The copy of a partition is gone, or another mover has taken it over.

    Retryable: the move is looked at again.
    """


class MoverReplaced(StorageError, Retryable):
    """Another mover has taken the move over, and this one stops. Nothing was changed.

    Retryable: the move is looked at again.
    """


class CleanUpOutOfDate(StorageError, Permanent):
    """Rows were to be removed because their partition had left the shard, and it has come back. Nothing was removed.

    Permanent for a mover that was replaced; the one that has the move looks at it again.
    """


class SchemaVersionMismatch(StorageError, Permanent):
    """The shard's schema is not the one this release was built for. Run `manage.py migrate_shards`."""
