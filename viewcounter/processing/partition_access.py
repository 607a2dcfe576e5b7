"""What a drain needs of the cluster: the topology, reads and transactions on the shard of a partition.

The cluster proxy is one; a mover, whose copy no route leads to yet, brings another.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from clusterproxy.plan import Consistency
from clusterproxy.results import ReadResult
from configservice.topology.model import Topology
from shardproxy.instance import RowConnection
from shardproxy.query import Query, QueryClass


class PartitionAccess(Protocol):
    """As `ClusterProxy`, with the same errors."""

    @property
    def topology(self) -> Topology: ...

    def read(
        self,
        partition: int,
        query: Query,
        params: Mapping[str, Any],
        *,
        consistency: Consistency = Consistency.EVENTUAL,
    ) -> ReadResult: ...

    def transaction(
        self,
        partition: int,
        *,
        query_class: QueryClass = QueryClass.FLUSH,
        deadline_seconds: float | None = None,
    ) -> AbstractContextManager[RowConnection]: ...

    def refresh_topology(self) -> None: ...
