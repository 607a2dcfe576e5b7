"""What can be wrong with a question, and with the place that should answer it."""

from runtime.errors import Permanent, Retryable


class InvalidQuery(Permanent, ValueError):
    """The client asked for something that cannot be answered as asked. Permanent: it must ask differently.

    `field` is the name of the parameter, `code` is stable for programs, `message` is for people.
    """

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.code = code
        self.message = message


class PartitionElsewhere(Retryable, Exception):
    """The shard that answered does not hold the partition: it is moving, or the shard is being set up.

    Retryable: the topology has been refreshed, the next attempt is routed anew. If it stays, compare the
    partition's assignment with `partition_state` on its shard.
    """

    def __init__(self, partition: int, *, shard_id: int) -> None:
        super().__init__(f"partition {partition} is not on shard {shard_id}")
        self.partition = partition
        self.shard_id = shard_id


class SketchesBehind(Retryable, Exception):
    """More raw events would have to be read than an answer may: sketches of closed hours are not made yet.

    Retryable: they are made within minutes, or served from what was kept. If it stays, look at
    viewcounter_sketches_due_buckets and the task `sketch`.
    """
