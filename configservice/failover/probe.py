"""Reads the state that the planner needs: probes each instance again, except those that fail the monitor's probes."""

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
"""Like `LogWatch.find_lacking`."""


def probe_shard(
    shard: Shard, probes: Mapping[str, ProbeResult], operator: Operator, *, find_lacking: FindLacking | None = None
) -> ShardView:
    """With `find_lacking`, also the partitions whose missing entries the log no longer holds.

    Probes the primary first, then the others in the order of `shard`: the primary's position can only have grown by
    the time that the others are probed. A frozen instance costs one timeout at most."""
    in_order = sorted(shard.instances, key=lambda i: i != shard.primary)
    members = {i.name: _read_member(i, shard, probes.get(i.name), operator) for i in in_order}
    if find_lacking is not None:
        by_name = {i.name: i for i in shard.instances}
        members |= {
            name: replace(member, lacks=tuple(read_lacking(by_name[name], shard, operator, find_lacking)))
            for name, member in members.items()
            if member.is_standby_now
        }
    return ShardView(shard, members)


def read_lacking(instance: Instance, shard: Shard, operator: Operator, find_lacking: FindLacking) -> list[int]:
    """Partitions whose entries that the instance has not applied the event log no longer holds all.

    Empty if its positions cannot be read: without that right, the config service relies on `promotable` alone.
    """
    try:
        rows = operator.fetch(instance, READ_POSITIONS)
    except (InstanceUnreachable, InstanceRefuses, ActionFailed) as error:
        logger.warning("%s is not compared with the event log: %s", instance.name, error)
        return []
    return find_lacking(shard.id, {row["partition"]: row["position"] for row in rows})


def _read_member(instance: Instance, shard: Shard, probe: ProbeResult | None, operator: Operator) -> ShardMember:
    silent = ShardMember(
        name=instance.name,
        role=instance.role,
        promotable=instance.promotable and not instance.drained,
        silent_seconds=_get_silence(probe, now=time.monotonic()),
    )
    if probe is None or probe.failure_count:
        return silent
    try:
        state = InstanceState.from_row(operator.fetch(instance, PROBE)[0])
        term = operator.find_term(instance)
        upstream = operator.find_upstream(instance) if state.in_recovery else None
    except (InstanceUnreachable, InstanceRefuses, ActionFailed):
        return silent
    follows = next((i.name for i in shard.instances if (i.host, i.port) == upstream), "")
    return replace(silent, state=state, silent_seconds=0.0, term=term, follows=follows)


def _get_silence(probe: ProbeResult | None, *, now: float) -> float:
    if probe is None or probe.answered_at is None:
        return math.inf
    return now - probe.answered_at
