"""A read of one shard: the instances of its plan are tried in turn, under one deadline, until one answers."""

import time

from clusterproxy.fresh_read import read_fresh
from clusterproxy.plan import Consistency
from clusterproxy.results import ReadResult
from clusterproxy.runtime import Runtime
from clusterproxy.shard_read import ReadRequest, ShardRead
from configservice.topology.model import Shard, Topology


def read_shard(runtime: Runtime, topology: Topology, shard: Shard, request: ReadRequest) -> ReadResult:
    """Rows from the first candidate that answers, or that answers as fresh as the request requires.

    Raises StatementTimeout and BadStatement as they come, what `ShardRead.summarize` makes of the failures when no
    instance answered, and what `read_fresh` raises.
    """
    read = ShardRead(runtime, topology, shard, request)
    if request.requirement is not None:
        return read_fresh(read, request.requirement)
    if request.consistency is Consistency.QUORUM:
        raise ValueError("a quorum read needs a requirement, whose probe reads the progress of instances")
    candidates = read.plan.candidates
    for place, candidate in enumerate(candidates, start=1):
        if time.monotonic() >= request.deadline_at:
            break
        if read.is_shed_for(candidate.instance):
            continue
        rows = read.query(candidate.instance, request.query, request.params, is_last=place == len(candidates))
        if rows is not None:
            return read.finish(candidate, rows)
    raise read.summarize()
