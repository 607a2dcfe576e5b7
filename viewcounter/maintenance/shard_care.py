"""Creates the day partitions of raw events on every shard in turn. A shard that is down delays no other one."""

import logging
from datetime import date

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from shardproxy.errors import ShardProxyError
from viewcounter.storage.raw_days import ensure_raw_days

logger = logging.getLogger(__name__)


def ensure_raw_days_everywhere(cluster: ClusterProxy, *, today: date) -> None:
    for shard in cluster.topology.shards:
        try:
            with cluster.shard_transaction(shard.id) as connection:
                created = ensure_raw_days(connection, today=today)
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("cannot create day partitions of raw events on %s: %s", shard.name, error)
        else:
            if created:
                logger.info("created day partitions of raw events on %s: %s", shard.name, ", ".join(map(str, created)))
