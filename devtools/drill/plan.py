"""The plan of faults: kind, time and duration of each. Pure; the same seed gives the same plan.

Every kind comes alone first, in a random order; then, while there is time, pairs that affect different parts.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from devtools.drill.errors import BadDrillOption


class ClusterPart(StrEnum):
    """A part that a fault affects. Two faults of one part never overlap: each would explain the errors of the other."""

    GATEWAY = "gateway"
    WORKERS = "workers"
    BEAT = "beat"
    CONFIG_SERVICE = "config service"
    SHARD_PROXY = "shard proxy"
    LOG = "log"
    BROKER = "broker"
    CONTROL = "control database"
    SHARDS = "shards"
    CLIENTS = "clients"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `hold_seconds`: minimum and maximum time between strike and heal."""

    name: str
    touches: frozenset[ClusterPart]
    hold_seconds: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """Strikes `at_seconds` after the start of the load, or later, when the affected parts are healthy. `roll`: seed of
    the choice of its target."""

    kind: str
    at_seconds: float
    hold_seconds: float
    roll: int


@dataclass(frozen=True, slots=True)
class Pace:
    """`first_seconds`: load before the first fault; `last_seconds`: load after the last one. `heal_seconds`: planned
    time of a part to recover; the drill may wait longer. `apart_seconds`: between strikes on different parts."""

    first_seconds: float = 5.0
    last_seconds: float = 5.0
    heal_seconds: float = 4.0
    calm_seconds: tuple[float, float] = (1.0, 4.0)
    apart_seconds: float = 0.0


UNHURRIED = Pace()
QUICK = Pace(first_seconds=2.0, last_seconds=1.0, heal_seconds=3.0, calm_seconds=(0.0, 0.5), apart_seconds=2.5)


def plan_faults(seed: int, *, minutes: float, kinds: Sequence[Kind], pace: Pace = UNHURRIED) -> list[PlannedFault]:
    """At least one fault, in the order of their times. Raises BadDrillOption if none fits."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
    ends_at = minutes * 60 - pace.last_seconds
    waiting = rng.sample(kinds, len(kinds))
    plan: list[PlannedFault] = []
    at_seconds = pace.first_seconds
    while True:
        together = [waiting.pop()] if waiting else _choose_together(rng, kinds)
        faults = [
            PlannedFault(kind.name, round(at_seconds, 1), _choose_hold(rng, kind), rng.getrandbits(16))
            for kind in together
        ]
        if at_seconds + max(fault.hold_seconds for fault in faults) + pace.heal_seconds > ends_at:
            break
        plan += faults
        at_seconds += max(f.hold_seconds for f in faults) + pace.heal_seconds + rng.uniform(*pace.calm_seconds)
    if not plan:
        raise BadDrillOption(f"--minutes: {minutes:g} is too short for a single fault")
    return plan


def plan_tightly(seed: int, *, kinds: Sequence[Kind], pace: Pace = QUICK) -> list[PlannedFault]:
    """Every kind once, each as soon as the fault before on the same part should have healed."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
    free_at: dict[ClusterPart, float] = {}
    plan: list[PlannedFault] = []
    waiting = rng.sample(kinds, len(kinds))
    next_at = pace.first_seconds
    while waiting:
        # The kind that can strike first; of equals the one drawn first.
        kind = min(waiting, key=lambda kind: max(next_at, *(free_at.get(part, 0.0) for part in kind.touches)))
        waiting.remove(kind)
        at_seconds = max(next_at, *(free_at.get(part, 0.0) for part in kind.touches)) + rng.uniform(*pace.calm_seconds)
        next_at = at_seconds + pace.apart_seconds
        hold_seconds = _choose_hold(rng, kind)
        free_at |= dict.fromkeys(kind.touches, at_seconds + hold_seconds + pace.heal_seconds)
        plan.append(PlannedFault(kind.name, round(at_seconds, 1), hold_seconds, rng.getrandbits(16)))
    return plan


def _choose_hold(rng: random.Random, kind: Kind) -> float:
    return round(rng.uniform(*kind.hold_seconds), 1)


def _choose_together(rng: random.Random, kinds: Sequence[Kind]) -> list[Kind]:
    first = rng.choice(kinds)
    others = [kind for kind in kinds if not kind.touches & first.touches]
    return [first, rng.choice(others)] if others else [first]


def plan_repeats(seed: int, *, kinds: Sequence[Kind], repeat: int, pace: Pace = UNHURRIED) -> list[PlannedFault]:
    """Every kind `repeat` times, one after the other."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
    plan = []
    at_seconds = pace.first_seconds
    for kind in [kind for _ in range(repeat) for kind in kinds]:
        hold_seconds = _choose_hold(rng, kind)
        plan.append(PlannedFault(kind.name, round(at_seconds, 1), hold_seconds, rng.getrandbits(16)))
        at_seconds += hold_seconds + pace.heal_seconds + rng.uniform(*pace.calm_seconds)
    return plan
