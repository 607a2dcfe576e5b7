"""A transaction on a shard's primary, also when the instance turns out not to be the primary any longer."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from clusterproxy.errors import ShardUnavailable
from clusterproxy.plan import plan_write
from clusterproxy.runtime import Runtime
from configservice.topology.model import Durability, Shard, Topology
from shardproxy.errors import (
    HigherGeneration,
    InstanceUnavailable,
    LowerTerm,
    OutcomeUnknown,
    ReadOnlyInstance,
)
from shardproxy.instance import RowConnection
from shardproxy.query import QueryClass

Locate = Callable[[Topology], tuple[Shard, tuple[int, ...]]]
"""The shard to write to, and the partitions it is for (named in errors)."""

_PRIMARY_MAY_HAVE_MOVED = (ReadOnlyInstance, LowerTerm, HigherGeneration, InstanceUnavailable, OutcomeUnknown)


@contextmanager
def open_transaction(
    runtime: Runtime, locate: Locate, *, query_class: QueryClass, deadline_at: float
) -> Iterator[RowConnection]:
    """BEGIN is tried once more on newer topology. The body never is: only its author knows how to repeat it.

    Every failure that a change of primary explains refreshes the topology, so that the caller's next attempt goes to
    the new primary.
    """
    runtime.health.start()
    known = runtime.store.get_current().version
    try:
        with ExitStack() as stack:
            yield _begin(runtime, stack, locate, query_class=query_class, deadline_at=deadline_at)
    except _PRIMARY_MAY_HAVE_MOVED:
        runtime.refresh_topology(known=known, deadline_at=deadline_at)
        raise


def _begin(
    runtime: Runtime, stack: ExitStack, locate: Locate, *, query_class: QueryClass, deadline_at: float
) -> RowConnection:
    topology = runtime.store.get_current()
    try:
        return _begin_on_primary(runtime, topology, stack, locate, query_class=query_class, deadline_at=deadline_at)
    except (ReadOnlyInstance, LowerTerm, HigherGeneration, InstanceUnavailable, ShardUnavailable):
        newer = runtime.find_newer_topology(topology, deadline_at=deadline_at)
        if newer is None:
            raise
    return _begin_on_primary(runtime, newer, stack, locate, query_class=query_class, deadline_at=deadline_at)


def _begin_on_primary(
    runtime: Runtime,
    topology: Topology,
    stack: ExitStack,
    locate: Locate,
    *,
    query_class: QueryClass,
    deadline_at: float,
) -> RowConnection:
    shard, partitions = locate(topology)
    primary = plan_write(topology, shard).primary
    if primary is None:
        raise ShardUnavailable(shard=shard.name, partitions=partitions, reason="it has no primary", failures={})
    return stack.enter_context(
        runtime.registry.get(primary).transaction(
            query_class,
            deadline_at=deadline_at,
            min_term=shard.term,
            cluster_id=topology.cluster_id,
            generation=topology.generation,
            waits_for_standbys=shard.durability is not Durability.ASYNC,
        )
    )
