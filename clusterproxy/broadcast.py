"""One statement on many instances: on the promotable ones of a shard in turn, on all of the cluster in parallel.

For failover, health checks and operators, not for readers.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clusterproxy.results import ReadResult
from clusterproxy.runtime import Runtime
from configservice.topology.model import Instance, Shard, Topology
from shardproxy.errors import ShardProxyError
from shardproxy.query import Query

MAX_THREADS = 16

Rows = list[dict[str, Any]]


def query_all_instances(
    runtime: Runtime, topology: Topology, query: Query, params: Mapping[str, Any], *, timeout_seconds: float
) -> dict[str, Rows | ShardProxyError]:
    """By instance name: its rows, or its error. Fenced and drained instances are queried too.

    Each has `timeout_seconds` from the time that a thread begins its query.
    """
    instances = [instance for shard in topology.shards for instance in shard.instances]

    def query_instance(instance: Instance) -> Rows | ShardProxyError:
        try:
            deadline_at = time.monotonic() + timeout_seconds
            return runtime.registry.get(instance).read(query, params, deadline_at=deadline_at)
        except ShardProxyError as error:
            return error

    with ThreadPoolExecutor(min(MAX_THREADS, len(instances) or 1), thread_name_prefix="each-instance") as pool:
        return dict(zip([i.name for i in instances], pool.map(query_instance, instances), strict=True))


def query_promotable_instances(
    runtime: Runtime, topology: Topology, shard: Shard, query: Query, params: Mapping[str, Any], *, deadline_at: float
) -> dict[str, ReadResult | ShardProxyError]:
    """By instance name: its result, or its error if it does not answer within its share of the deadline.

    A fenced instance is not promotable: it has to take over the primary's rows first. Nor is a drained one: it is used
    again only when it is close to the primary. The primary is always among them.
    """
    promotable = [i for i in shard.copies if i is shard.primary or (i.promotable and not i.drained)]
    results: dict[str, ReadResult | ShardProxyError] = {}
    for place, instance in enumerate(promotable):
        now = time.monotonic()
        share_seconds = (deadline_at - now) / (len(promotable) - place)
        try:
            rows = runtime.registry.get(instance).read(query, params, deadline_at=now + share_seconds)
        except ShardProxyError as error:
            results[instance.name] = error
        else:
            results[instance.name] = ReadResult(rows, shard.id, instance.name, topology.epoch)
    return results
