"""Conflicts: events under the id of another, counted event. Read only; there is no action on them."""

from clusterproxy.proxy import ClusterProxy
from viewcounter.deadletters.shard_pages import Page, read_page
from viewcounter.events.partition import get_partition
from viewcounter.storage.conflicts import LIST_CONFLICTS, StoredConflict, list_parameters
from viewcounter.storage.page_keys import PageKey

ConflictPage = Page[StoredConflict]


def list_conflicts(
    cluster: ClusterProxy, *, partition: int | None, video_id: str | None, before: PageKey | None, limit: int
) -> ConflictPage:
    """Raises IndexError for an unknown partition, and the first shard's error when none answered."""
    if video_id is not None and partition is None:
        partition = get_partition(video_id, partition_count=cluster.topology.partition_count)
    return read_page(
        cluster,
        LIST_CONFLICTS,
        list_parameters(video_id=video_id, before=before, limit=limit + 1),
        partitions=None if partition is None else [partition],
        limit=limit,
        read_row=lambda _, row: StoredConflict.from_row(row),
        get_place=lambda conflict: conflict.place,
    )
