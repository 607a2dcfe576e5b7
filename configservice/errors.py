"""Errors of the config service; each docstring is the operator's message."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import Permanent, Retryable


@dataclass(frozen=True, slots=True)
class Refusal:
    """`field`: the field of the form or command, empty if none is to blame; `reason`: a sentence for people."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class ConfigServiceError(Exception):
    """Base class of the errors of the config service. Each subclass is Retryable or Permanent: whether the same call
    may succeed later without a change by a person."""


class ClusterNotInitialised(ConfigServiceError, Permanent):
    """No partition has been assigned yet, so there is no topology to publish: run `manage.py init_cluster`."""


class ClusterUnknown(ConfigServiceError, Retryable):
    """This process does not know its cluster id yet: set VIEWCOUNTER_CLUSTER_ID, or let it reach the control database
    once. Until then it does not use the cache."""


class OtherCluster(ConfigServiceError, Permanent):
    """The control database and VIEWCOUNTER_CLUSTER_ID name different clusters: one of the two is wrong."""


class BadSigningKey(ConfigServiceError, Permanent):
    """The file of VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE does not hold a private key for signing topologies."""


class NotSignable(ConfigServiceError, Permanent):
    """The newest topology in the control database is of another cluster, so it is not signed. See decision 0010."""


class NoSigner(ConfigServiceError, Retryable):
    """No config service is running to sign a new topology, so no process would accept it. Start a config service."""


class PartitionCountFixed(ConfigServiceError, Permanent):
    """The partition count is fixed when a cluster is created: another count would map videos to other partitions."""


class BadClusterFile(ConfigServiceError, Permanent):
    """The file of `--instances` does not describe a cluster; the message names the field."""


class ControlDatabaseUnavailable(ConfigServiceError, Retryable):
    """The control database does not answer. Counting and reading continue; the topology cannot change."""


class TopologyCacheUnavailable(ConfigServiceError, Retryable):
    """The topology cache does not answer or holds no valid snapshot. Processes read the control database instead."""


class TopologyCacheEmpty(TopologyCacheUnavailable):
    """The topology cache is empty, for example after a restart. The first process that detects this fills it."""


class TopologyCacheDamaged(TopologyCacheUnavailable):
    """The topology cache holds a value that is not a published snapshot. A config service replaces it."""


class RegistryUnavailable(ConfigServiceError, Retryable):
    """The cache, which holds the service registry, does not answer. Only the display of services depends on it."""


class LogUnavailable(ConfigServiceError, Retryable):
    """The event log does not answer the config service, or is another cluster's. No entries are trimmed meanwhile."""


class WitnessUnavailable(ConfigServiceError, Retryable):
    """The cache, which holds the reports of shard proxies, does not answer: they cannot confirm a dead primary."""


class MoveNotPossible(ConfigServiceError, Permanent):
    """The partition cannot be moved as requested, or its move is past the requested step; the message says why."""


class MoveTaken(ConfigServiceError, Retryable):
    """Another mover has claimed this move, or it was aborted: the mover that gets this error must stop."""


class UnknownMove(ConfigServiceError, Permanent):
    """There is no move with this number."""


class InstanceUnreachable(ConfigServiceError, Retryable):
    """An instance did not answer the config service."""


class InstanceGone(InstanceUnreachable):
    """The instance refused or closed the connection: no server listens at its address."""


class InstanceSilent(InstanceUnreachable):
    """The instance did not answer in time: it is frozen, cut off, or very slow."""


class InstanceRefuses(ConfigServiceError, Retryable):
    """The instance is up but rejects the connection: wrong password, no such database, or too many connections."""


class InstanceUnusable(InstanceRefuses):
    """The password reference or SSL mode of the instance does not allow a connection. None was attempted."""


class CandidateRefused(ConfigServiceError, Permanent):
    """A server may not join the cluster, for the reasons in `refusals`. Nothing was changed."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals = tuple(refusals)


class ShardNotPrepared(ConfigServiceError, Retryable):
    """The tables of a new shard could not be created; the message is the server's. It was not added: try again."""


class UnknownInstance(ConfigServiceError, Permanent):
    """There is no instance of that name; the message lists the known ones."""


class DrainRefused(ConfigServiceError, Permanent):
    """An instance cannot be drained, undrained or removed; the message says why. Nothing was changed."""


class ActionFailed(ConfigServiceError, Permanent):
    """An instance answered a statement of the config service with an error; the message is the server's.

    `permission denied` means that the role of VIEWCOUNTER_CONFIGSERVICE_USER lacks a right; docs/operations/failover.md
    lists them.
    """


class LeaseLost(ConfigServiceError, Retryable):
    """Another config service leads, or the control database does not answer. This process made no change."""


class UnknownShard(ConfigServiceError, Permanent):
    """There is no shard of that name; the message lists the known ones."""


class FailoverRefused(ConfigServiceError, Permanent):
    """A requested failover or switchover is not possible; the message says why. Nothing was changed."""


class FailoverUnderWay(ConfigServiceError, Retryable):
    """A failover or switchover of the shard is already running. Wait for its end."""


class NoLeader(ConfigServiceError, Retryable):
    """No config service leads, so the request would not be carried out: start `manage.py run_configservice`."""


class InvariantBroken(ConfigServiceError, Permanent):
    """The failover planner chose a step that could lose writes or make two primaries. The step was not taken."""


class DurabilityRefused(ConfigServiceError, Permanent):
    """The shard cannot have the requested durability; `field` is the wrong field. Nothing was changed."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class RestoreRefused(ConfigServiceError, Permanent):
    """The topology cannot be rebuilt from these shards and this document; the message lists every reason. Nothing was
    changed."""


class GenerationTaken(ConfigServiceError, Retryable):
    """Another control database has been rebuilt meanwhile with this generation. Nothing was changed: look which one is
    right before you repeat."""
