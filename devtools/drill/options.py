"""Options of a drill, validated, and the plan that they give."""

from dataclasses import dataclass
from pathlib import Path

from devtools.drill.drill_fault import DrillFault
from devtools.drill.errors import BadDrillOption
from devtools.drill.faults.lost_logs import can_step_clock
from devtools.drill.plan import ClusterPart, PlannedFault, plan_faults, plan_repeats, plan_tightly
from devtools.drill.registry import QUICK_KINDS, QUICK_SEED, choose_faults
from devtools.localcluster.spec import MAX_CONTROL_REPLICAS

MINUTES_MAX = 24 * 60
RATE_MAX = 20_000
REPEATS_MAX = 1000
DISPENSABLE = {"beat": ClusterPart.BEAT, "broker": ClusterPart.BROKER}
"""Parts that counting and reading do not need, by the names of --without. The broker's server is the cache too."""


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """`rate`: events a second. `repeat`: every kind this many times, one by one, however long it takes. `without`:
    parts that are dead from before the first event until the last one is counted."""

    seed: int
    minutes: float = 3.0
    kinds: tuple[str, ...] = ()
    quick: bool = False
    repeat: int = 0
    rate: int = 1000
    without: tuple[str, ...] = ()
    control_replicas: int = 0
    journal_dir: Path | None = None
    can_mount: bool = False
    """Whether this process can mount small disks; else a plan has no full disks."""

    def check(self) -> None:
        """Raises BadDrillOption, naming the option."""
        for name in self.without:
            if name not in DISPENSABLE:
                raise BadDrillOption(f"--without: {name!r} is none of {', '.join(DISPENSABLE)}")
        self.choose_faults()
        if not 0 <= self.control_replicas <= MAX_CONTROL_REPLICAS:
            raise BadDrillOption(f"--control-replicas: must be at least 0 and at most {MAX_CONTROL_REPLICAS}")
        for name, number, most in (
            ("--minutes", self.minutes, MINUTES_MAX),
            ("--rate", self.rate, RATE_MAX),
            ("--repeat", self.repeat or 1, REPEATS_MAX),
        ):
            if not 0 < number <= most:
                raise BadDrillOption(f"{name}: must be more than 0 and at most {most}")
        if self.repeat and not self.kinds:
            raise BadDrillOption("--repeat: name the faults to repeat with --faults")
        if self.journal_dir is not None and not self.journal_dir.is_dir():
            raise BadDrillOption(f"--journal: {self.journal_dir} is not a directory")

    def choose_faults(self) -> list[DrillFault]:
        chosen = choose_faults(
            self.kinds or (QUICK_KINDS if self.quick else ()),
            can_mount=self.can_mount,
            can_step_clock=can_step_clock(),
            has_patroni=self.control_replicas > 0,
        )
        absent = {DISPENSABLE[name] for name in self.without}
        possible = [entry for entry in chosen if not entry.kind.touches & absent]
        if self.kinds and len(possible) < len(chosen):
            raise BadDrillOption(f"--faults: some affect a part that is absent by --without {','.join(self.without)}")
        return possible

    def plan(self) -> list[PlannedFault]:
        """Raises BadDrillOption when no fault fits."""
        kinds = [entry.kind for entry in self.choose_faults()]
        if self.repeat:
            return plan_repeats(self.seed, kinds=kinds, repeat=self.repeat)
        if self.quick:
            return plan_tightly(self.seed, kinds=kinds)
        return plan_faults(self.seed, minutes=self.minutes, kinds=kinds)


def choose_seed(seed: int | None, *, quick: bool, fresh: int) -> int:
    """The given seed; else the fixed one of quick drills; else `fresh`."""
    if seed is not None:
        return seed
    return QUICK_SEED if quick else fresh
