"""Why a step of a move failed; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class MoveStepFailed(Exception, Retryable):
    """A step of a move failed. It is retried with backoff."""


class CopyDiffers(MoveStepFailed):
    """Source and copy differ at the same position, or the copy cannot catch up: the copy is made again."""


class SourceNotOwned(MoveStepFailed):
    """The source shard does not own the partition, or the partition is stopped. Resume a stopped partition with
    `manage.py dead_letters`."""


class HandOverTooSlow(MoveStepFailed):
    """The source was held for `VIEWCOUNTER_MOVE_HOLD_SECONDS` before the copy had drained the last delta.

    The source counts again, and the hand-over is retried when the copy is closer.
    """


class ReplicasBehind(MoveStepFailed):
    """A replica of the source or target shard lagged too far, or did not answer, for too long.

    Repair the replica, or make it not promotable.
    """


class MoveUnsigned(MoveStepFailed):
    """The topology that names the partition's new shard is not signed: start a config service with the signing key."""


class MoverStopping(Exception, Retryable):
    """This mover process is stopping; another mover, or a later run, continues the move."""


class BadPartitions(ValueError, Permanent):
    """The partitions given to a command do not exist, or are not on the given shard."""
