"""Failure detection: a primary is dead only if this process cannot reach it *and* a witness confirms it. Pure.

A witness that reaches the primary overrules a failed probe: then the config service is cut off, not the primary.
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
    """Report of one witness about a shard's primary; `why` is for people."""

    witness: str
    liveness: Liveness
    why: str


class Witness(Protocol):
    """Observes a primary in another way than by this process's probes."""

    def observe_primary(self, shard: Shard, probes: Mapping[str, ProbeResult], *, now: float) -> Iterable[Observation]:
        """Must not block. An observation may be a moment old, but not older than the primary's first failed probe."""


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
    """Whether the primary of the shard is dead. Never for a shard without a primary."""
    primary = shard.primary
    if primary is None:
        return PrimaryVerdict(False, "the shard has no primary")
    probe = probes.get(primary.name)
    if probe is None:
        return PrimaryVerdict(False, f"{primary.name} is not monitored yet")
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
    """Why the probes alone would declare the instance dead; None if they would not."""
    if probe.failure_count == 0:
        return None
    if probe.answered_at is None and now - probe.watched_since < settings.first_sight_seconds:
        return None
    if probe.is_gone and probe.failure_count >= REFUSALS_OF_THE_DEAD:
        return f"refuses connections ({probe.failure})"
    silent_seconds = now - (probe.watched_since if probe.answered_at is None else probe.answered_at)
    if silent_seconds >= settings.primary_silence_seconds:
        return f"has been silent for {silent_seconds:.1f} s ({probe.failure})"
    return None


class StandbyWitness:
    """The shard's standbys as witnesses: a running primary sends them messages all the time over the WAL stream."""

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
            return Observation(replica.name, Liveness.UNKNOWN, "is not a standby")
        if not state.is_receiving or state.stream_silence_seconds is None:
            return Observation(replica.name, Liveness.DEAD, "its WAL stream is broken")
        if any((i.host, i.port) == (state.sender_host, state.sender_port) for i in shard.replicas):
            return Observation(replica.name, Liveness.UNKNOWN, "it follows another replica")
        silent_seconds = state.stream_silence_seconds + (now - answered_at)
        if silent_seconds >= self._get_patience_seconds(state):
            return Observation(
                replica.name, Liveness.DEAD, f"its WAL stream has been silent for {silent_seconds:.1f} s"
            )
        return Observation(replica.name, Liveness.ALIVE, f"its WAL stream had a message {silent_seconds:.1f} s ago")

    def _get_patience_seconds(self, state: InstanceState) -> float:
        """An idle primary sends nothing until the standby requests a reply."""
        if state.stream_timeout_seconds == 0:
            return math.inf
        requested_after_seconds = state.stream_timeout_seconds / 2
        return max(
            self._settings.stream_silence_seconds, requested_after_seconds + self._settings.stream_answer_seconds
        )
