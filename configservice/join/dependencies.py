"""Dependencies of the config service for adding servers: connections with deadlines, shard tables, log floors.

The config service imports no package that provides these, so Django's setting `CLUSTER_TOOLS` names a function that
does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from configservice.failover.kept_log import LogPosition
from configservice.monitoring.connections import InstanceConnection
from configservice.topology.allow_list import AllowList
from configservice.topology.model import Instance, Shard

Progress = Callable[[str], None]


class ConnectTo(Protocol):
    def __call__(self, instance: Instance, *, address: str = "", as_operator: bool = False) -> InstanceConnection:
        """Connects as the instance's own user, or as the role that operates servers.

        `address`, if given, pins the connection, whatever the host name resolves to. Such a connection never sends a
        password in clear text unless the server's certificate is verified, since a user typed in the address.
        """


class PrepareShard(Protocol):
    def __call__(self, shard: Shard, *, cluster_id: str, address: str, progress: Progress) -> None:
        """Creates the tables and the cluster id on its primary. Idempotent. Raises ShardNotPrepared."""


@dataclass(frozen=True, slots=True)
class ClusterTools:
    """`answer_seconds` bounds one statement, and the look-up of a host name.

    `read_floors`: by partition, the position below which the event log holds no entries; raises LogUnavailable.
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
