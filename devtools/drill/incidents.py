"""Injects the planned faults, each in a thread of its own at its time, and records their times."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from devtools.drill.context import FaultContext
from devtools.drill.drill_fault import DrillFault
from devtools.drill.faults.fault import Fault
from devtools.drill.plan import ClusterPart, PlannedFault
from devtools.drill.verdict import ActiveFault
from devtools.drill.writes import WriteWatch

WRITTEN_SECONDS = 60.0


@dataclass(slots=True)
class Incident:
    """Instants of the monotonic clock. `written_again_seconds`: from the strike to the next write, for a primary."""

    kind: str
    victim: str
    struck_at: float
    healed_at: float | None = None
    written_again_seconds: float | None = None
    error: str = ""


OnIncident = Callable[[Incident], None]


class Incidents:
    """The faults of a plan.

    Invariant: of two faults that affect the same part, the second strikes after the first has healed.
    """

    def __init__(
        self,
        context: FaultContext,
        plan: Sequence[PlannedFault],
        *,
        entries: Mapping[str, DrillFault],
        writes: WriteWatch,
        on_incident: OnIncident,
    ) -> None:
        self._context = context
        self._plan = plan
        self._entries = entries
        self._writes = writes
        self._on_incident = on_incident
        self._busy = {part: threading.Lock() for part in ClusterPart}
        self._giving_up = threading.Event()
        self._lock = threading.Lock()  # guards _incidents
        self._incidents: list[Incident] = []

    def run(self, *, started_at: float) -> None:
        """Blocks until the last fault has healed. Interrupted, it raises at once and no other fault strikes."""
        threads = [
            threading.Thread(target=self._run_one, args=(planned, started_at), name=planned.kind, daemon=True)
            for planned in self._plan
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except BaseException:
            self._giving_up.set()
            raise

    def read(self) -> list[Incident]:
        with self._lock:
            return sorted(self._incidents, key=lambda incident: incident.struck_at)

    def list_active(self) -> list[ActiveFault]:
        """For the verdict. A fault that never healed is active until the end."""
        return [
            ActiveFault(i.kind, i.struck_at, i.healed_at or float("inf"), self._entries[i.kind].expected_errors)
            for i in self.read()
        ]

    def _run_one(self, planned: PlannedFault, started_at: float) -> None:
        if self._giving_up.wait(max(0.0, started_at + planned.at_seconds - time.monotonic())):
            return
        entry = self._entries[planned.kind]
        rng = random.Random(planned.roll)  # noqa: S311 - repeatable, guards nothing
        with ExitStack() as stack:
            for part in sorted(entry.kind.touches):  # always in this order, so that no two threads deadlock
                stack.enter_context(self._busy[part])
            if not self._giving_up.is_set():
                self._do(entry.make(self._context, rng), planned)

    def _do(self, fault: Fault, planned: PlannedFault) -> None:
        incident = Incident(planned.kind, "", time.monotonic())
        try:
            fault.strike()
            struck_at = time.monotonic()
            incident.victim = fault.victim
            with self._lock:
                self._incidents.append(incident)
            self._on_incident(incident)
            self._giving_up.wait(planned.hold_seconds)
            fault.heal()
            if fault.shard is not None:
                incident.written_again_seconds = self._await_write(fault.shard, fault.victim, struck_at)
            incident.healed_at = time.monotonic()
        except Exception as error:  # the drill must not pass without this fault, whatever the error is
            incident.error = f"{type(error).__name__}: {error}"
            with self._lock:
                if incident not in self._incidents:
                    self._incidents.append(incident)
        self._on_incident(incident)

    def _await_write(self, shard: str, victim: str, struck_at: float) -> float:
        """Raises NotReady."""
        found: list[float] = []

        def find_obstacle() -> str | None:
            at = self._writes.find_write_after(shard, struck_at=struck_at, victim=victim)
            if at is None:
                return "no position has advanced"
            found.append(at - struck_at)
            return None

        self._context.await_none(find_obstacle, what=f"{shard} to take writes again", seconds=WRITTEN_SECONDS)
        return round(found[0], 3)
