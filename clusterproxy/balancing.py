"""The order in which instances that are equally good are asked. Pure.

Each balancer only orders: every instance stays on the list, so whoever fails is followed by the next best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import xxhash

from configservice.topology.model import Instance


class Balancer(StrEnum):
    ROUND_ROBIN = "round_robin"
    """Each in turn."""
    LEAST_CONNECTIONS = "least_connections"
    """The one with the fewest reads of this process under way; equal ones in turn."""
    LEAST_RESPONSE_TIME = "least_response_time"
    """The one that answers soonest: its recent response time, times one more than its reads under way."""
    HASH = "hash"
    """The same key asks the same one as long as it is there; when it goes, only its own keys ask another."""


NEED_LOADS = frozenset({Balancer.LEAST_CONNECTIONS, Balancer.LEAST_RESPONSE_TIME})


@dataclass(frozen=True, slots=True)
class InstanceLoad:
    """What this process has under way on an instance, and how long answers took lately.

    `response_seconds` is a mean in which old answers fade, 0 when there was none for long: then it is tried again.
    """

    in_flight: int = 0
    response_seconds: float = 0.0


IDLE = InstanceLoad()

FASTEST_SECONDS = 0.0002
"""Nothing counts as faster, so that one that has not been measured is tried soon, but not by everybody at once."""


def order_instances(
    instances: Sequence[Instance], *, balancer: Balancer, loads: Mapping[str, InstanceLoad], turn: int, key: int
) -> list[Instance]:
    """All of `instances`, the one to be asked first in front. `turn` grows by one with each read of the process."""
    if len(instances) < 2:
        return list(instances)
    if balancer is Balancer.HASH:
        return sorted(instances, key=lambda i: _weigh(key, i.name), reverse=True)
    start = turn % len(instances)
    rotated = [*instances[start:], *instances[:start]]
    if balancer is Balancer.LEAST_CONNECTIONS:
        return sorted(rotated, key=lambda i: loads.get(i.name, IDLE).in_flight)
    if balancer is Balancer.LEAST_RESPONSE_TIME:
        return sorted(rotated, key=lambda i: _estimate_seconds(loads.get(i.name, IDLE)))
    return rotated


def _weigh(key: int, name: str) -> int:
    """Rendezvous hashing: the highest weight wins, and is the same in every process."""
    return xxhash.xxh3_64_intdigest(f"{key}/{name}".encode())


def _estimate_seconds(load: InstanceLoad) -> float:
    return max(load.response_seconds, FASTEST_SECONDS) * (load.in_flight + 1)
