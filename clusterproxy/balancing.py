"""The order in which equally good instances are tried. Pure.

A balancer only orders: every instance stays on the list, so one that fails is followed by the next best.
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
    """The one with the lowest product of recent response time and reads under way plus one."""
    HASH = "hash"
    """The same instance for the same key while it is there; when it goes, only its own keys change their instance."""


NEED_LOADS = frozenset({Balancer.LEAST_CONNECTIONS, Balancer.LEAST_RESPONSE_TIME})


@dataclass(frozen=True, slots=True)
class InstanceLoad:
    """Reads of this process under way on an instance, and its recent response time.

    `response_seconds` is a mean in which old responses fade. It is 0 after a long time without one, so that the
    instance is tried again.
    """

    in_flight: int = 0
    response_seconds: float = 0.0


IDLE = InstanceLoad()

FASTEST_SECONDS = 0.0002
"""The lower bound of a response time, so that an unmeasured instance is tried soon, but not by all reads at once."""


def order_instances(
    instances: Sequence[Instance], *, balancer: Balancer, loads: Mapping[str, InstanceLoad], turn: int, key: int
) -> list[Instance]:
    """All of `instances`, in the order to try them. `turn` grows by one with each read of the process."""
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
