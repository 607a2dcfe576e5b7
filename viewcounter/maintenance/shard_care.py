"""Care for every shard in turn: making day partitions. A shard that is down delays only itself."""

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
            logger.warning("day partitions of raw events not made on %s: %s", shard.name, error)
        else:
            if created:
                logger.info("made day partitions on %s: %s", shard.name, ", ".join(map(str, created)))
