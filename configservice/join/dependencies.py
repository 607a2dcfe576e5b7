"""What the config service needs of others to take a server in: connections with deadlines, and the shard's tables.

It depends on nobody, so the settings name who gives it: `CLUSTER_TOOLS`, the dotted path of a function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from configservice.failover.kept_log import LogPosition
from configservice.join.allow_list import AllowList
from configservice.monitoring.connections import InstanceConnection
from configservice.topology.model import Instance, Shard

Progress = Callable[[str], None]


class ConnectTo(Protocol):
    def __call__(self, instance: Instance, *, address: str = "", as_operator: bool = False) -> InstanceConnection:
        """As its own user, or as the role that operates servers.

        `address`, if given, is where it connects to, whatever the name means by now. Such a connection never sends a
        password in clear text unless the server's certificate has been verified: the address is somebody's word.
        """


class PrepareShard(Protocol):
    def __call__(self, shard: Shard, *, cluster_id: str, address: str, progress: Progress) -> None:
        """Gives its primary the tables and the name of the cluster. May run twice. Raises ShardNotPrepared."""


@dataclass(frozen=True, slots=True)
class ClusterTools:
    """`answer_seconds` bounds one question, the look-up of a name included.

    `read_floors`: below which position the event log holds nothing of each of these partitions; raises LogUnavailable.
    """

    allow_list: AllowList
    answer_seconds: float
    max_lag_bytes: int
    schema_version: str
    connect: ConnectTo
    prepare_shard: PrepareShard
    read_floors: Callable[[Sequence[int]], Mapping[int, LogPosition]]


def get_cluster_tools() -> ClusterTools:
    build: Callable[[], ClusterTools] = import_string(settings.CLUSTER_TOOLS)
    return build()
