"""Options of a drill, validated, and the plan that they give."""

from dataclasses import dataclass
from pathlib import Path

from devtools.drill.errors import BadDrillOption
from devtools.drill.plan import PlannedFault, plan_faults, plan_repeats, plan_tightly
from devtools.drill.registry import QUICK_KINDS, QUICK_SEED, DrillFault, choose_faults

MINUTES_MAX = 24 * 60
RATE_MAX = 20_000
REPEATS_MAX = 1000


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """`rate`: events a second. `repeat`: every kind this many times, one by one, however long it takes."""

    seed: int
    minutes: float = 3.0
    kinds: tuple[str, ...] = ()
    quick: bool = False
    repeat: int = 0
    rate: int = 1000
    journal_dir: Path | None = None
    can_mount: bool = False
    """Whether this process can mount small disks; else a plan has no full disks."""

    def check(self) -> None:
        """Raises BadDrillOption, naming the option."""
        self.choose_faults()
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
        return choose_faults(self.kinds or (QUICK_KINDS if self.quick else ()), can_mount=self.can_mount)

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
