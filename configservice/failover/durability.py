"""Whom a shard's commits wait for: planned from the topology and from which standbys live. Pure.

PostgreSQL keeps the rule in `synchronous_standby_names`, a setting of the primary that a reload changes; a standby goes
by its instance's name, which must be the `application_name` it streams under.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, combinations

import msgspec

from configservice.monitoring.probe_result import ProbeResult
from configservice.topology.model import Durability, Instance, Role, Shard, StandbyLoss

NOBODY = "no-standby"
"""Listed where commits must wait and there is nobody to wait for: a name that no standby can have."""


@dataclass(frozen=True, slots=True)
class SynchronousPlan:
    """`setting` is the value of `synchronous_standby_names`; commits wait for `waited_for` of the standbys listed.

    It is degraded while that is fewer than the `wanted` of the shard's durability.
    """

    setting: str
    wanted: int
    waited_for: int

    @property
    def is_degraded(self) -> bool:
        return self.waited_for < self.wanted


def list_expected(shard: Shard) -> tuple[Instance, ...]:
    """Whom commits may wait for. A fenced instance is among them: an old primary is to come back, and what it confirms
    it has, since only a copy of this primary's rows can stream from it. Without it, a shard whose replica was promoted
    would seem to have everybody."""
    return tuple(i for i in shard.instances if i.role is not Role.PRIMARY and not i.drained)


def count_wanted(shard: Shard) -> int:
    """How many standbys a commit is to wait for."""
    if shard.durability is Durability.ASYNC:
        return 0
    return shard.quorum if shard.durability is Durability.QUORUM else len(list_expected(shard))


def plan_synchronous(shard: Shard, *, living: Collection[str]) -> SynchronousPlan:
    """`living`: names of standbys that stream and acknowledge what they get.

    As long as enough of them live, all standbys are listed: losing a spare one changes nothing.
    """
    wanted = count_wanted(shard)
    if wanted == 0:
        return SynchronousPlan("", 0, 0)
    names = sorted(i.name for i in list_expected(shard))
    alive = [name for name in names if name in living]
    if shard.on_standby_loss is StandbyLoss.BLOCK or len(alive) >= wanted:
        return SynchronousPlan(build_setting(wanted, names or [NOBODY]), wanted, wanted)
    return SynchronousPlan(build_setting(len(alive), alive), wanted, len(alive))


def plan_for_promotion(shard: Shard, *, candidate: str, living: Collection[str]) -> SynchronousPlan:
    """What the candidate must have set before its first commit, as the setting does not travel.

    The old primary will be fenced. Told the old primary's own setting instead, it would wait for the dead.
    """
    roles: dict[str, Role] = {i.name: Role.FENCED if i.role is Role.PRIMARY else i.role for i in shard.instances}
    roles[candidate] = Role.PRIMARY
    instances = tuple(msgspec.structs.replace(i, role=roles[i.name]) for i in shard.instances)
    return plan_synchronous(msgspec.structs.replace(shard, instances=instances), living=living)


def list_settings(shard: Shard) -> frozenset[str]:
    """Every setting that a plan for this shard may have, whoever lives."""
    names = [i.name for i in list_expected(shard)]
    subsets = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
    return frozenset(plan_synchronous(shard, living=living).setting for living in subsets)


def build_setting(count: int, names: Collection[str]) -> str:
    """`ANY count (names)`; empty for none. Quoted: a name with a dash would else not be read as one."""
    if count == 0:
        return ""
    return f"ANY {count} ({', '.join(_quote(name) for name in names)})"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def find_living(
    shard: Shard, sightings: Mapping[str, ProbeResult], *, now: float, patience_seconds: float
) -> frozenset[str] | None:
    """Standbys that stream from the primary and have not been silent for longer than that; None: nobody can tell.

    A frozen standby is still listed by its primary until that gives it up, which may take a minute.
    """
    primary = None if shard.primary is None else sightings.get(shard.primary.name)
    if primary is None or primary.state is None or not primary.answers:
        return None
    streaming = set(primary.state.streaming)
    return frozenset(
        i.name
        for i in list_expected(shard)
        if i.name in streaming and not _is_silent(sightings.get(i.name), now=now, patience_seconds=patience_seconds)
    )


def _is_silent(sighting: ProbeResult | None, *, now: float, patience_seconds: float) -> bool:
    return sighting is not None and sighting.failed_at is not None and now - sighting.failed_at > patience_seconds


class DurabilityState(StrEnum):
    MET = "met"
    DEGRADED = "degraded"
    """Commits wait for fewer standbys than they should: the next loss may lose commits, which the log then replays."""
    BLOCKED = "blocked"
    """Commits wait for standbys that are not there: events wait in the log."""
    UNKNOWN = "unknown"
    """The primary does not answer, or does not let us see its standbys."""


@dataclass(frozen=True, slots=True)
class SeenOnPrimary:
    """`synchronous` are the names of streaming standbys that a commit waits for; `setting` as the server has it.

    `oldest_wait_seconds`: the longest that a commit has been waiting for standbys; 0 for none.
    """

    setting: str
    synchronous: tuple[str, ...]
    oldest_wait_seconds: float


def judge_durability(
    shard: Shard, seen: SeenOnPrimary | None, *, patience_seconds: float
) -> tuple[DurabilityState, str]:
    """What it comes to now, and in a few words why. A commit may wait `patience_seconds` without being blocked."""
    wanted = count_wanted(shard)
    if wanted == 0:
        return DurabilityState.MET, ""
    if seen is None:
        return DurabilityState.UNKNOWN, "the primary does not answer"
    present = len({i.name for i in list_expected(shard)} & set(seen.synchronous))
    told = f"{present} of {wanted} replicas hold a commit before it is answered"
    if seen.oldest_wait_seconds > patience_seconds:
        return DurabilityState.BLOCKED, f"{told}; one has waited for {seen.oldest_wait_seconds:.0f} s"
    if present >= wanted:
        return DurabilityState.MET, ""
    if shard.on_standby_loss is StandbyLoss.BLOCK and seen.setting:
        return DurabilityState.BLOCKED, told
    return DurabilityState.DEGRADED, told
