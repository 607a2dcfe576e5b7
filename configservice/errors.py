"""What can go wrong in the config service; each docstring is the operator's message."""


class ConfigServiceError(Exception):
    """`retryable` says whether the same call may succeed later without anybody changing anything."""

    retryable = False


class ClusterNotInitialised(ConfigServiceError):
    """No partitions have been assigned yet, so there is nothing to publish: run `manage.py init_cluster`."""


class PartitionCountFixed(ConfigServiceError):
    """The number of partitions is fixed when a cluster is made: another number would send videos elsewhere."""


class BadClusterFile(ConfigServiceError):
    """The file given as `--instances` does not describe a cluster; the message names the field."""


class ControlDatabaseUnavailable(ConfigServiceError):
    """The control database does not answer. Counting and reading go on; topology cannot change."""

    retryable = True


class TopologyCacheUnavailable(ConfigServiceError):
    """The topology cache does not answer or holds nonsense. Processes ask the control database instead."""

    retryable = True


class TopologyCacheEmpty(TopologyCacheUnavailable):
    """The topology cache was restarted without its content. The first process that notices fills it again."""


class RegistryUnavailable(ConfigServiceError):
    """The cache, which holds the service registry, does not answer. Nothing depends on it but what is shown."""

    retryable = True


class MoveNotPossible(ConfigServiceError):
    """The partition cannot be moved as asked, or its move is past the step in question; the message says why."""


class MoveTaken(ConfigServiceError):
    """Another mover is at this move, or it was aborted: whoever holds old knowledge of it must stop."""

    retryable = True


class UnknownMove(ConfigServiceError):
    """No move has this number."""
