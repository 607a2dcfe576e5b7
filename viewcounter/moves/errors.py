"""Why a step of a move was not made; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class MoveStepFailed(Exception, Retryable):
    """The step is tried again after a while."""


class CopyDiffers(MoveStepFailed):
    """Source and copy are not equal at one position, or the copy cannot be brought up to date: it is made again."""


class SourceNotOwned(MoveStepFailed):
    """The partition is stopped, or not where the topology says. Resume a stopped one: `manage.py dead_letters`."""


class HandOverTooSlow(MoveStepFailed):
    """The source was held for `VIEWCOUNTER_MOVE_HOLD_SECONDS` and the last delta was not there.

    It goes on counting, and the next attempt comes when the copy is closer.
    """


class ReplicasBehind(MoveStepFailed):
    """A replica of one of the two shards is too far behind, or does not answer, for too long.

    Bring it back, or make it not promotable.
    """


class MoveUnsigned(MoveStepFailed):
    """The topology that names the partition's new shard is not signed yet: start a config service with the key."""


class MoverStopping(Exception):
    """This process is to end; the move goes on elsewhere or later."""


class BadPartitions(ValueError, Permanent):
    """The partitions given for a command are not some of those there are."""
