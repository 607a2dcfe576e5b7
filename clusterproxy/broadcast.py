"""One statement on every instance of the cluster at the same time: for those who look after it, not for its users."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clusterproxy.runtime import Runtime
from configservice.topology.model import Instance, Topology
from shardproxy.errors import ShardProxyError
from shardproxy.query import Query

MAX_THREADS = 16

Rows = list[dict[str, Any]]


def query_all_instances(
    runtime: Runtime, topology: Topology, query: Query, params: Mapping[str, Any], *, timeout_seconds: float
) -> dict[str, Rows | ShardProxyError]:
    """By instance name: its rows, or why there are none. Fenced and drained ones are asked too.

    Each has `timeout_seconds`, from when one of the threads gets to it.
    """
    instances = [instance for shard in topology.shards for instance in shard.instances]

    def ask(instance: Instance) -> Rows | ShardProxyError:
        try:
            deadline_at = time.monotonic() + timeout_seconds
            return runtime.registry.get(instance).read(query, params, deadline_at=deadline_at)
        except ShardProxyError as error:
            return error

    with ThreadPoolExecutor(min(MAX_THREADS, len(instances) or 1), thread_name_prefix="each-instance") as pool:
        return dict(zip([i.name for i in instances], pool.map(ask, instances), strict=True))
