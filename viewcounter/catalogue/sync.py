"""Copies changed channels and videos to the shards, each shard from its own revision on.

The revision up to which a shard has copied is stored on the shard, by partition, in the transaction that writes the
copies: the task may be interrupted, repeated or run concurrently. A shard that is down delays no other shard.
"""

import logging
from collections.abc import Mapping

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Shard
from runtime.metrics import CATALOGUE_LAG_CHANGES
from shardproxy.errors import ShardProxyError
from shardproxy.query import QueryClass
from viewcounter.catalogue.lookup import Changes, count_changes, read_changes
from viewcounter.catalogue.models import Channel
from viewcounter.config import get_config
from viewcounter.events.partition import get_partition
from viewcounter.storage.catalogue import (
    CatalogueChanges,
    ChannelCopy,
    VideoCopy,
    apply_catalogue_changes,
    read_catalogue_cursor,
)

logger = logging.getLogger(__name__)


def sync_catalogue(cluster: ClusterProxy, *, batch: int) -> int:
    """Copy up to `batch` changes to every shard.

    Returns the number of changes copied to all shards together; the caller repeats until it is 0, when every reachable
    shard is up to date. Unreachable shards are logged and continue at a later call.
    """
    taken = 0
    topology = cluster.topology
    for shard in topology.shards:
        epochs = {p: topology.assignments[p].epoch for p in topology.get_partitions_of(shard.id)}
        if not epochs:
            continue
        try:
            taken += _sync_shard(cluster, shard, epochs=epochs, batch=batch)
        except (ShardProxyError, ClusterProxyError) as error:
            logger.warning("cannot copy the catalogue to shard %s now: %s", shard.name, error)
    return taken


def _sync_shard(cluster: ClusterProxy, shard: Shard, *, epochs: Mapping[int, int], batch: int) -> int:
    """`epochs`: of the partitions that the shard owns by the topology."""
    seconds = get_config().catalogue.sync_shard_seconds
    with cluster.shard_transaction(
        shard.id, query_class=QueryClass.MAINTENANCE, deadline_seconds=seconds
    ) as connection:
        cursor = read_catalogue_cursor(connection, partitions=epochs.keys())
    changes = read_changes(after=cursor, batch=batch)
    lag = CATALOGUE_LAG_CHANGES.labels(shard.name)
    if not changes:
        lag.set(0)
        return 0
    lag.set(count_changes(after=cursor))
    copies = plan_copies(changes, partitions=frozenset(epochs), partition_count=cluster.topology.partition_count)
    with cluster.shard_transaction(
        shard.id, query_class=QueryClass.MAINTENANCE, deadline_seconds=seconds
    ) as connection:
        written = apply_catalogue_changes(connection, copies, epochs=epochs)
    if len(written) < len(epochs):
        moved = sorted(epochs.keys() - written)
        logger.info(
            "copying the catalogue to shard %s waits for a topology that shows where partitions %s are",
            shard.name,
            moved,
        )
        return 0
    lag.set(count_changes(after=changes.revision))
    return len(changes)


def plan_copies(changes: Changes, *, partitions: frozenset[int], partition_count: int) -> CatalogueChanges:
    """The part of `changes` that a shard with these partitions needs: its videos, their channels, renamed channels.

    The channels of its videos are included in their present state, whatever their revision: the shard may not have
    them yet.
    """
    videos = [
        VideoCopy(video.video_id, partition, video.channel_id, video.title, video.revision)
        for video in changes.videos
        if (partition := get_partition(video.video_id, partition_count=partition_count)) in partitions
    ]
    channel_ids = {video.channel_id for video in videos if video.channel_id is not None}
    return CatalogueChanges(
        revision=changes.revision,
        changed_channels=[_copy_channel(channel) for channel in changes.channels],
        channels_of_videos=[_copy_channel(channel) for channel in Channel.objects.filter(pk__in=channel_ids)],
        videos=videos,
    )


def _copy_channel(channel: Channel) -> ChannelCopy:
    return ChannelCopy(channel.channel_id, channel.title, channel.revision)
