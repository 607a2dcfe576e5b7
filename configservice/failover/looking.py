"""Reads what the planner looks at: each instance asked anew, except those that the monitor knows not to answer."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace

from configservice.errors import ActionFailed, InstanceRefuses, InstanceUnreachable
from configservice.failover.operator import Operator
from configservice.failover.view import Member, ShardView
from configservice.observation import PROBE, InstanceState, Sighting
from configservice.topology import Instance, Shard


def read_view(shard: Shard, sightings: Mapping[str, Sighting], operator: Operator) -> ShardView:
    """In the order that `shard` names its instances, but the primary first: what it has written can only have grown by
    the time the others are asked. A frozen instance costs one bound at most."""
    in_order = sorted(shard.instances, key=lambda i: i != shard.primary)
    members = {i.name: _read_member(i, shard, sightings.get(i.name), operator) for i in in_order}
    return ShardView(shard, members)


def _read_member(instance: Instance, shard: Shard, sighting: Sighting | None, operator: Operator) -> Member:
    silent = Member(
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


def _get_silence(sighting: Sighting | None, *, now: float) -> float:
    if sighting is None or sighting.answered_at is None:
        return math.inf
    return now - sighting.answered_at
