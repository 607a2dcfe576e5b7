"""Plans which standbys a shard's commits wait for, from the topology and the standbys that are up. Pure.

The rule is PostgreSQL's `synchronous_standby_names`, a setting of the primary that a reload changes. It lists standbys
by instance name, which must be the `application_name` of their WAL streams.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, combinations

import msgspec

from configservice.monitoring.probe_result import ProbeResult
from configservice.topology.model import Durability, Instance, Role, Shard, StandbyLoss

NO_STANDBY = "no-standby"
"""Listed if commits must wait and the shard has no standby: a name that no standby can have."""


@dataclass(frozen=True, slots=True)
class SynchronousPlan:
    """`setting`: value of `synchronous_standby_names`. Commits wait for `waited_for` of the listed standbys.

    Degraded while that is fewer than `wanted`, the number that the shard's durability requires.
    """

    setting: str
    wanted: int
    waited_for: int

    @property
    def is_degraded(self) -> bool:
        return self.waited_for < self.wanted


def list_expected(shard: Shard) -> tuple[Instance, ...]:
    """The instances that commits may wait for. Fenced ones are included: an old primary is expected to come back, and
    its confirmations are valid, since only a copy of the primary can stream from it. Without it, a shard whose only
    replica was promoted would look complete."""
    return tuple(i for i in shard.instances if i.role is not Role.PRIMARY and not i.drained)


def count_wanted(shard: Shard) -> int:
    """How many standbys a commit has to wait for."""
    if shard.durability is Durability.ASYNC:
        return 0
    return shard.quorum if shard.durability is Durability.QUORUM else len(list_expected(shard))


def plan_synchronous(shard: Shard, *, living: Collection[str]) -> SynchronousPlan:
    """`living`: names of standbys that stream and confirm.

    While enough of them are up, all standbys are listed, so that the loss of a spare one changes no setting.
    """
    wanted = count_wanted(shard)
    if wanted == 0:
        return SynchronousPlan("", 0, 0)
    names = sorted(i.name for i in list_expected(shard))
    alive = [name for name in names if name in living]
    if shard.on_standby_loss is StandbyLoss.BLOCK or len(alive) >= wanted:
        return SynchronousPlan(build_setting(wanted, names or [NO_STANDBY]), wanted, wanted)
    return SynchronousPlan(build_setting(len(alive), alive), wanted, len(alive))


def plan_for_promotion(shard: Shard, *, candidate: str, living: Collection[str]) -> SynchronousPlan:
    """The setting that the candidate needs before its first commit, since settings are not replicated.

    The old primary will be fenced. With the old primary's setting, the candidate could wait for dead standbys.
    """
    roles: dict[str, Role] = {i.name: Role.FENCED if i.role is Role.PRIMARY else i.role for i in shard.instances}
    roles[candidate] = Role.PRIMARY
    instances = tuple(msgspec.structs.replace(i, role=roles[i.name]) for i in shard.instances)
    return plan_synchronous(msgspec.structs.replace(shard, instances=instances), living=living)


def list_settings(shard: Shard) -> frozenset[str]:
    """Every setting that a plan for this shard may have, for any set of standbys that are up."""
    names = [i.name for i in list_expected(shard)]
    subsets = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
    return frozenset(plan_synchronous(shard, living=living).setting for living in subsets)


def build_setting(count: int, names: Collection[str]) -> str:
    """`ANY count (names)`; empty for a count of 0. Quoted, since a name may contain a dash."""
    if count == 0:
        return ""
    return f"ANY {count} ({', '.join(_quote(name) for name in names)})"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def find_living(
    shard: Shard, probes: Mapping[str, ProbeResult], *, now: float, patience_seconds: float
) -> frozenset[str] | None:
    """Standbys that stream from the primary and have not been silent for `patience_seconds`; None while unknown.

    Silence is checked too, since a primary lists a frozen standby until its own timeout, which may take a minute.
    """
    primary = None if shard.primary is None else probes.get(shard.primary.name)
    if primary is None or primary.state is None or not primary.answers:
        return None
    streaming = set(primary.state.streaming)
    return frozenset(
        i.name
        for i in list_expected(shard)
        if i.name in streaming and not _is_silent(probes.get(i.name), now=now, patience_seconds=patience_seconds)
    )


def _is_silent(probe: ProbeResult | None, *, now: float, patience_seconds: float) -> bool:
    return probe is not None and probe.failed_at is not None and now - probe.failed_at > patience_seconds


class DurabilityState(StrEnum):
    MET = "met"
    DEGRADED = "degraded"
    """Commits wait for fewer standbys than required: the next failure may lose commits, which the log then replays."""
    BLOCKED = "blocked"
    """Commits wait for standbys that are missing: events wait in the log."""
    UNKNOWN = "unknown"
    """The primary does not answer, or does not allow reading its standbys."""


@dataclass(frozen=True, slots=True)
class SeenOnPrimary:
    """`synchronous`: names of streaming standbys that commits wait for; `setting`: the server's current setting.

    `oldest_wait_seconds`: the longest current wait of a commit for standbys; 0 for none.
    """

    setting: str
    synchronous: tuple[str, ...]
    oldest_wait_seconds: float


def classify_durability(
    shard: Shard, seen: SeenOnPrimary | None, *, patience_seconds: float
) -> tuple[DurabilityState, str]:
    """The state with a short reason. A commit counts as blocked after a wait of `patience_seconds`."""
    wanted = count_wanted(shard)
    if wanted == 0:
        return DurabilityState.MET, ""
    if seen is None:
        return DurabilityState.UNKNOWN, "the primary does not answer"
    present = len({i.name for i in list_expected(shard)} & set(seen.synchronous))
    reason = f"commits wait for {present} of {wanted} replicas"
    if seen.oldest_wait_seconds > patience_seconds:
        return DurabilityState.BLOCKED, f"{reason}; one has waited for {seen.oldest_wait_seconds:.0f} s"
    if present >= wanted:
        return DurabilityState.MET, ""
    if shard.on_standby_loss is StandbyLoss.BLOCK and seen.setting:
        return DurabilityState.BLOCKED, reason
    return DurabilityState.DEGRADED, reason
