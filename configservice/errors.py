"""What can go wrong in the config service; each docstring is the operator's message."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import Permanent, Retryable


@dataclass(frozen=True, slots=True)
class Refusal:
    """`field` is that of the form or command, empty for the whole; `reason` a sentence for people."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class ConfigServiceError(Exception):
    """Base of every error of the config service. Each is Retryable or Permanent: whether the same call may succeed
    later without anybody changing anything."""


class ClusterNotInitialised(ConfigServiceError, Permanent):
    """No partitions have been assigned yet, so there is nothing to publish: run `manage.py init_cluster`."""


class ClusterUnknown(ConfigServiceError, Retryable):
    """This process does not know yet which cluster it belongs to: set VIEWCOUNTER_CLUSTER_ID, or let it reach the
    control database once. What it would keep in the cache is not kept meanwhile."""


class OtherCluster(ConfigServiceError, Permanent):
    """The control database describes another cluster than VIEWCOUNTER_CLUSTER_ID names: one of the two is wrong."""


class BadSigningKey(ConfigServiceError, Permanent):
    """The file named by VIEWCOUNTER_TOPOLOGY_SIGNING_KEY_FILE is no private key that topologies can be signed with."""


class NotSignable(ConfigServiceError, Permanent):
    """The newest topology in the control database is not this cluster's: it is not signed. See decision 0010."""


class NoSigner(ConfigServiceError, Retryable):
    """What is published now would reach nobody: no config service runs that could sign it. Start one."""


class PartitionCountFixed(ConfigServiceError, Permanent):
    """The number of partitions is fixed when a cluster is made: another number would send videos elsewhere."""


class BadClusterFile(ConfigServiceError, Permanent):
    """The file given as `--instances` does not describe a cluster; the message names the field."""


class ControlDatabaseUnavailable(ConfigServiceError, Retryable):
    """The control database does not answer. Counting and reading go on; topology cannot change."""


class TopologyCacheUnavailable(ConfigServiceError, Retryable):
    """The topology cache does not answer or holds nonsense. Processes ask the control database instead."""


class TopologyCacheEmpty(TopologyCacheUnavailable):
    """The topology cache was restarted without its content. The first process that notices fills it again."""


class TopologyCacheDamaged(TopologyCacheUnavailable):
    """The topology cache holds something that is no published snapshot. A config service puts it right."""


class RegistryUnavailable(ConfigServiceError, Retryable):
    """The cache, which holds the service registry, does not answer. Nothing depends on it but what is shown."""


class LogUnavailable(ConfigServiceError, Retryable):
    """The event log does not answer the config service, or is not this cluster's. Nothing is trimmed meanwhile."""


class WitnessUnavailable(ConfigServiceError, Retryable):
    """The cache, through which shard proxies say what they see, does not answer: nobody's word but one's own."""


class MoveNotPossible(ConfigServiceError, Permanent):
    """The partition cannot be moved as asked, or its move is past the step in question; the message says why."""


class MoveTaken(ConfigServiceError, Retryable):
    """Another mover is at this move, or it was aborted: whoever holds old knowledge of it must stop."""


class UnknownMove(ConfigServiceError, Permanent):
    """No move has this number."""


class InstanceUnreachable(ConfigServiceError, Retryable):
    """An instance did not answer the config service."""


class InstanceGone(InstanceUnreachable):
    """It refuses connections or hung up: nobody listens there. Known at once."""


class InstanceSilent(InstanceUnreachable):
    """It did not answer in time: frozen, cut off, or very slow."""


class InstanceRefuses(ConfigServiceError, Retryable):
    """It is there and will not have us: wrong password, no such database, too many connections. It is alive."""


class InstanceUnusable(InstanceRefuses):
    """Its password is not where its reference points, or its SSL mode could drop TLS. The server has not been asked."""


class CandidateRefused(ConfigServiceError, Permanent):
    """A server may not join the cluster, for each of `refusals`. Nothing was changed."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals = tuple(refusals)


class ShardNotPrepared(ConfigServiceError, Retryable):
    """A new shard did not get its tables; the message is the server's. It is not part of the cluster: try again."""


class UnknownInstance(ConfigServiceError, Permanent):
    """There is no instance of that name; the message lists those there are."""


class DrainRefused(ConfigServiceError, Permanent):
    """An instance cannot be drained, used again or removed as it is; the message says why. Nothing was changed."""


class ActionFailed(ConfigServiceError, Permanent):
    """An instance answered a statement of the config service with an error; the message is the server's.

    `permission denied` means that the role of VIEWCOUNTER_CONFIGSERVICE_USER lacks a right; docs/operations/failover.md
    lists them.
    """


class LeaseLost(ConfigServiceError, Retryable):
    """Another config service leads, or the control database does not answer: this one changes nothing."""


class UnknownShard(ConfigServiceError, Permanent):
    """There is no shard of that name; the message lists those there are."""


class FailoverRefused(ConfigServiceError, Permanent):
    """A failover or switchover was asked for that cannot be done; the message says why. Nothing was changed."""


class FailoverUnderWay(ConfigServiceError, Retryable):
    """The shard has a failover or switchover under way. Wait for its end."""


class NoLeader(ConfigServiceError, Retryable):
    """No config service leads, so nobody would carry the request out: start `manage.py run_configservice`."""


class InvariantBroken(ConfigServiceError, Permanent):
    """The planner of failovers was about to do what would lose writes or make two primaries. Nothing was done."""


class DurabilityRefused(ConfigServiceError, Permanent):
    """A durability that the shard cannot have; `field` is what is wrong with it. Nothing was changed."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field
