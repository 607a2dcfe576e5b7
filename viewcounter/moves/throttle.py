"""Throttle of a mover: before each block it waits until the replicas of both shards keep up."""

import time
from collections.abc import Mapping

from configservice.topology.model import Shard
from viewcounter.moves.errors import ReplicasBehind
from viewcounter.moves.work import Work


def find_obstacle(shard: Shard, lags: Mapping[str, float | None], *, max_lag_seconds: float) -> str | None:
    """Pure. Why a mover must not write now; None if it may.

    A promotable replica of unknown lag counts as behind: it may be the next primary. Other replicas count only if
    their lag is known.
    """
    for replica in shard.replicas:
        lag_seconds = lags.get(replica.name)
        if lag_seconds is None and replica.promotable:
            return f"replication lag of {replica.name} is unknown"
        if lag_seconds is not None and lag_seconds > max_lag_seconds:
            return f"{replica.name} lags by {lag_seconds:.1f} s"
    return None


def wait_for_replicas(work: Work) -> None:
    """Raises ReplicasBehind after `throttle_seconds`, and the errors of `Work.check`."""
    settings = work.settings
    ends_at = time.monotonic() + settings.throttle_seconds
    while True:
        work.check()
        obstacle = _find_any_obstacle(work)
        if obstacle is None:
            return
        if time.monotonic() >= ends_at:
            raise ReplicasBehind(f"waited {settings.throttle_seconds:g} s: {obstacle}")
        time.sleep(settings.poll_seconds)


def _find_any_obstacle(work: Work) -> str | None:
    cluster = work.tools.cluster
    for shard_id in (work.move.source_id, work.move.target_id):
        obstacle = find_obstacle(
            cluster.topology.get_shard(shard_id),
            cluster.get_replica_lags(shard_id),
            max_lag_seconds=work.settings.max_lag_seconds,
        )
        if obstacle is not None:
            return obstacle
    return None
