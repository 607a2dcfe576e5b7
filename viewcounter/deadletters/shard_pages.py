"""Pages of rows of all shards: dead letters, conflicts. Newest first, merged from a page of each shard."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from shardproxy.query import Query
from viewcounter.storage.page_keys import PageKey

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Newest first. `next_key`: key of the next page. `missing_shards` did not answer: their rows are missing."""

    items: list[Item]
    next_key: PageKey | None
    missing_shards: tuple[int, ...]


def read_page(
    cluster: ClusterProxy,
    query: Query,
    parameters: Mapping[str, Any],
    *,
    partitions: Sequence[int] | None,
    limit: int,
    read_row: Callable[[int, Mapping[str, Any]], Item],
    get_place: Callable[[Item], PageKey],
) -> Page[Item]:
    """`parameters` request one row more than `limit` from each shard; `read_row` gets the shard's id.

    Raises IndexError for an unknown partition, and the first shard's error when none answered.
    """
    scattered = cluster.scatter(query, parameters, partitions=partitions, consistency=Consistency.STRONG)
    if scattered.missing and not scattered.results:
        raise next(iter(scattered.missing.values()))
    found = [read_row(shard_id, row) for shard_id, result in scattered.results.items() for row in result.rows]
    found.sort(key=get_place, reverse=True)
    page = found[:limit]
    return Page(
        items=page,
        next_key=get_place(page[-1]) if len(found) > limit else None,
        missing_shards=tuple(sorted(scattered.missing)),
    )
