"""Targets of statistics: one video, or the videos that belong to a channel now.

A channel's statistics are those of its videos with all their events, whenever they came: a video that changes its
channel takes its whole past along. Which videos belong to it is as each shard has copied the catalogue.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Topology
from shardproxy.query import Query
from viewcounter.cache.read_cache import Rows
from viewcounter.events.partition import get_partition
from viewcounter.queries.freshness import ReadOptions
from viewcounter.queries.reading import StatementRead, build_video_read
from viewcounter.queries.scattering import build_scatter_read
from viewcounter.storage.channels import BUCKETS_OF_CHANNEL, TOTAL_OF_CHANNEL
from viewcounter.storage.ranges import BUCKETS_OF_VIDEOS
from viewcounter.storage.reads import TOTAL_OF_VIDEO
from viewcounter.storage.sketch_reads import SKETCHES_OF_CHANNEL, SKETCHES_OF_VIDEOS


class TargetKind(StrEnum):
    VIDEO = "video"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class StatsTarget:
    kind: TargetKind
    id: str

    @classmethod
    def video(cls, video_id: str) -> "StatsTarget":
        return cls(TargetKind.VIDEO, video_id)

    @classmethod
    def channel(cls, channel_id: str) -> "StatsTarget":
        return cls(TargetKind.CHANNEL, channel_id)

    @property
    def statements(self) -> "Statements":
        return _STATEMENTS[self.kind]

    def locate(self, topology: Topology) -> dict[str, int]:
        """The partition of a video by its id. Empty for a channel, whose videos may be in any partition."""
        if self.kind is TargetKind.CHANNEL:
            return {}
        return {self.id: get_partition(self.id, partition_count=topology.partition_count)}


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements for statistics of one kind of target, and what the keys of their cache entries begin with."""

    total: Query
    buckets: Query
    sketches: Query
    key_prefix: str


_STATEMENTS = {
    TargetKind.VIDEO: Statements(TOTAL_OF_VIDEO, BUCKETS_OF_VIDEOS, SKETCHES_OF_VIDEOS, key_prefix=""),
    TargetKind.CHANNEL: Statements(TOTAL_OF_CHANNEL, BUCKETS_OF_CHANNEL, SKETCHES_OF_CHANNEL, key_prefix="channel-"),
}


def build_target_read(
    cluster: ClusterProxy,
    target: StatsTarget,
    statement: Query,
    params: Mapping[str, Any],
    *,
    key: str,
    period_end: datetime | None = None,
    options: ReadOptions,
    condense: Callable[[Rows], Rows] | None = None,
) -> StatementRead:
    """A video's rows from its shard, a channel's from all shards. Rows of a channel are never final: videos may join
    or leave it at any time."""
    key = f"{target.statements.key_prefix}{key}:{target.id}"
    if target.kind is TargetKind.CHANNEL:
        params = {**params, "channel_id": target.id}
        return build_scatter_read(cluster, statement, params, key=key, options=options, condense=condense)
    return build_video_read(
        cluster,
        statement,
        {**params, "partitions": list(target.locate(cluster.topology).values())},
        video_id=target.id,
        options=options,
        key=key,
        period_end=period_end,
        condense=condense,
    )


def find_catalogue_revision(rows: Iterable[Mapping[str, Any]]) -> int:
    """The lowest revision in a channel's rows; a partition without a copy of the catalogue has none, hence 0."""
    return min(row["catalogue_revision"] or 0 for row in rows)
