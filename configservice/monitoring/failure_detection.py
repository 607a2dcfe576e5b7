"""Is a primary dead? Only if this process cannot reach it *and* somebody else says so. Pure.

A witness that sees the primary alive is believed over a probe that does not: whoever cannot reach a living primary is
the one that is cut off.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from configservice.monitoring.probe_result import InstanceState, ProbeResult
from configservice.settings import ConfigServiceSettings
from configservice.topology.model import Instance, Shard

REFUSALS_OF_THE_DEAD = 2


class Liveness(StrEnum):
    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one witness says of a shard's primary, and why, for people."""

    witness: str
    liveness: Liveness
    why: str


class Witness(Protocol):
    """Somebody who knows of a primary by another way than our probes."""

    def observe_primary(self, shard: Shard, probes: Mapping[str, ProbeResult], *, now: float) -> Iterable[Observation]:
        """Must not wait: what it says may be a moment old, but not older than the primary's first failure."""


@dataclass(frozen=True, slots=True)
class PrimaryVerdict:
    is_dead: bool
    why: str


def classify_primary(
    shard: Shard,
    probes: Mapping[str, ProbeResult],
    witnesses: Iterable[Witness],
    *,
    now: float,
    settings: ConfigServiceSettings,
) -> PrimaryVerdict:
    """Whether the shard needs another primary. A shard without one has nothing to be judged."""
    primary = shard.primary
    if primary is None:
        return PrimaryVerdict(False, "it has no primary")
    probe = probes.get(primary.name)
    if probe is None:
        return PrimaryVerdict(False, f"{primary.name} is not watched yet")
    unreachable = describe_unreachable(probe, now=now, settings=settings)
    if unreachable is None:
        return PrimaryVerdict(False, f"{primary.name} answers")
    observations = [o for witness in witnesses for o in witness.observe_primary(shard, probes, now=now)]
    alive = next((o for o in observations if o.liveness is Liveness.ALIVE), None)
    if alive is not None:
        return PrimaryVerdict(False, f"{primary.name} {unreachable}, but {alive.witness}: {alive.why}")
    dead = next((o for o in observations if o.liveness is Liveness.DEAD), None)
    if dead is None:
        return PrimaryVerdict(False, f"{primary.name} {unreachable}, but no witness confirms it")
    return PrimaryVerdict(True, f"{primary.name} {unreachable}; {dead.witness}: {dead.why}")


def describe_unreachable(probe: ProbeResult, *, now: float, settings: ConfigServiceSettings) -> str | None:
    """Why the probes alone would call it dead; None if they would not."""
    if probe.failure_count == 0:
        return None
    if probe.answered_at is None and now - probe.watched_since < settings.first_sight_seconds:
        return None
    if probe.is_gone and probe.failure_count >= REFUSALS_OF_THE_DEAD:
        return f"refuses ({probe.failure})"
    silent_seconds = now - (probe.watched_since if probe.answered_at is None else probe.answered_at)
    if silent_seconds >= settings.primary_silence_seconds:
        return f"has been silent for {silent_seconds:.1f} s ({probe.failure})"
    return None


class StandbyWitness:
    """The shard's own standbys: they hear from a living primary all the time, by a connection of theirs."""

    def __init__(self, settings: ConfigServiceSettings) -> None:
        self._settings = settings

    def observe_primary(self, shard: Shard, probes: Mapping[str, ProbeResult], *, now: float) -> Iterable[Observation]:
        primary = shard.primary
        suspect = None if primary is None else probes.get(primary.name)
        if suspect is None or suspect.failed_at is None:
            return
        for replica in shard.replicas:
            probe = probes.get(replica.name)
            if probe is not None:
                yield self._observe(replica, probe, shard, since=suspect.failed_at, now=now)

    def _observe(self, replica: Instance, probe: ProbeResult, shard: Shard, *, since: float, now: float) -> Observation:
        state, answered_at = probe.state, probe.answered_at
        if state is None or answered_at is None or not probe.answers or answered_at < since:
            return Observation(replica.name, Liveness.UNKNOWN, "has not answered since")
        if not state.in_recovery:
            return Observation(replica.name, Liveness.UNKNOWN, "is no standby")
        if not state.is_receiving or state.stream_silence_seconds is None:
            return Observation(replica.name, Liveness.DEAD, "its WAL stream is broken")
        if any((i.host, i.port) == (state.sender_host, state.sender_port) for i in shard.replicas):
            return Observation(replica.name, Liveness.UNKNOWN, "it follows another replica")
        silent_seconds = state.stream_silence_seconds + (now - answered_at)
        if silent_seconds >= self._get_patience_seconds(state):
            return Observation(
                replica.name, Liveness.DEAD, f"its WAL stream has been silent for {silent_seconds:.1f} s"
            )
        return Observation(replica.name, Liveness.ALIVE, f"its WAL stream spoke {silent_seconds:.1f} s ago")

    def _get_patience_seconds(self, state: InstanceState) -> float:
        """An idle primary says nothing until it is asked."""
        if state.stream_timeout_seconds == 0:
            return math.inf
        asked_after_seconds = state.stream_timeout_seconds / 2
        return max(self._settings.stream_silence_seconds, asked_after_seconds + self._settings.stream_answer_seconds)
