"""Lists and closes losses of the event log, over all shards."""

from collections.abc import Iterator, Sequence

from clusterproxy.proxy import ClusterProxy
from shardproxy.query import QueryClass
from viewcounter.deadletters.shard_pages import Page, read_page
from viewcounter.loglosses.errors import LossesUnconfirmed
from viewcounter.storage.log_losses import (
    LIST_LOG_LOSSES,
    LossKey,
    LossOutcome,
    StoredLoss,
    close_log_losses,
    list_parameters,
    lock_partitions_to_close,
)
from viewcounter.storage.page_keys import PageKey

LossPage = Page[StoredLoss]
PAGE_SIZE = 500


def list_losses(
    cluster: ClusterProxy, *, partition: int | None, only_open: bool, before: PageKey | None, limit: int
) -> LossPage:
    """Raises IndexError for an unknown partition, and the first shard's error when none answered."""
    return read_page(
        cluster,
        LIST_LOG_LOSSES,
        list_parameters(only_open=only_open, before=before, limit=limit + 1),
        partitions=None if partition is None else [partition],
        limit=limit,
        read_row=lambda _, row: StoredLoss.from_row(row),
        get_place=lambda loss: loss.place,
    )


def iterate_losses(cluster: ClusterProxy, *, only_open: bool, partition: int | None = None) -> Iterator[StoredLoss]:
    """All pages, newest first. Raises LossesUnconfirmed instead of leaving out the rows of a shard."""
    place: PageKey | None = None
    while True:
        page = list_losses(cluster, partition=partition, only_open=only_open, before=place, limit=PAGE_SIZE)
        if page.missing_shards:
            names = ", ".join(cluster.topology.get_shard(shard_id).name for shard_id in page.missing_shards)
            raise LossesUnconfirmed(f"no answer from {names}")
        yield from page.items
        place = page.next_key
        if place is None:
            return


def accept_losses(cluster: ClusterProxy, keys: Sequence[LossKey], *, actor: str, reason: str) -> frozenset[LossKey]:
    """Close these losses: their events are lost for good, and positions in them stay lost. Returns those that were
    open. Raises the errors of the shards, of which some may have been changed."""
    closed: set[LossKey] = set()
    for shard in cluster.topology.shards:
        here = cluster.topology.get_partitions_of(shard.id)
        own = sorted(key for key in set(keys) if key.partition in here)
        if not own:
            continue
        with cluster.shard_transaction(shard.id, query_class=QueryClass.MAINTENANCE) as connection:
            held = lock_partitions_to_close(connection, {key.partition for key in own})
            closed |= close_log_losses(
                connection,
                [key for key in own if key.partition in held],
                outcome=LossOutcome.ACCEPTED,
                actor=actor,
                reason=reason,
            )
    return frozenset(closed)
