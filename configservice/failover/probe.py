"""Reads what the planner looks at: each instance asked anew, except those that the monitor knows not to answer."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from configservice.errors import ActionFailed, InstanceRefuses, InstanceUnreachable
from configservice.failover.kept_log import READ_POSITIONS
from configservice.failover.operator import Operator
from configservice.failover.view import ShardMember, ShardView
from configservice.monitoring.probe_result import PROBE, InstanceState, ProbeResult
from configservice.topology.model import Instance, Shard

logger = logging.getLogger(__name__)

FindLacking = Callable[[int, Mapping[int, str]], list[int]]
"""As `LogWatch.find_lacking`."""


def probe_shard(
    shard: Shard, sightings: Mapping[str, ProbeResult], operator: Operator, *, find_lacking: FindLacking | None = None
) -> ShardView:
    """With `find_lacking`, also what standbys lack.

    In the order that `shard` names its instances, but the primary first: what it has written can only have grown by
    the time the others are asked. A frozen instance costs one bound at most."""
    in_order = sorted(shard.instances, key=lambda i: i != shard.primary)
    members = {i.name: _read_member(i, shard, sightings.get(i.name), operator) for i in in_order}
    if find_lacking is not None:
        by_name = {i.name: i for i in shard.instances}
        members |= {
            name: replace(member, lacks=tuple(read_lacking(by_name[name], shard, operator, find_lacking)))
            for name, member in members.items()
            if member.is_standby_now
        }
    return ShardView(shard, members)


def read_lacking(instance: Instance, shard: Shard, operator: Operator, find_lacking: FindLacking) -> list[int]:
    """Partitions of which the event log no longer holds what the instance has not applied.

    None of one that does not say how far it is: without that right, the config service goes by `promotable` alone.
    """
    try:
        rows = operator.fetch(instance, READ_POSITIONS)
    except (InstanceUnreachable, InstanceRefuses, ActionFailed) as error:
        logger.warning("%s is not compared with the event log: %s", instance.name, error)
        return []
    return find_lacking(shard.id, {row["partition"]: row["position"] for row in rows})


def _read_member(instance: Instance, shard: Shard, sighting: ProbeResult | None, operator: Operator) -> ShardMember:
    silent = ShardMember(
        name=instance.name,
        role=instance.role,
        promotable=instance.promotable and not instance.drained,
        silent_seconds=_get_silence(sighting, now=time.monotonic()),
    )
    if sighting is None or sighting.failure_count:
        return silent
    try:
        state = InstanceState.from_row(operator.fetch(instance, PROBE)[0])
        term = operator.find_term(instance)
        upstream = operator.find_upstream(instance) if state.in_recovery else None
    except (InstanceUnreachable, InstanceRefuses, ActionFailed):
        return silent
    follows = next((i.name for i in shard.instances if (i.host, i.port) == upstream), "")
    return replace(silent, state=state, silent_seconds=0.0, term=term, follows=follows)


def _get_silence(sighting: ProbeResult | None, *, now: float) -> float:
    if sighting is None or sighting.answered_at is None:
        return math.inf
    return now - sighting.answered_at
