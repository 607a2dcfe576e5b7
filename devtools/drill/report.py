"""The report of a drill, as data. Times are seconds after the start of the load."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from devtools.drill.attempts import PostAttempt, Second, count_by_second, find_percentile
from devtools.drill.incidents import Incident
from devtools.drill.losses import NOTHING_LOST, LossReport


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """`failed_posts` and `failed_reads`: requests that overlapped the fault and failed."""

    kind: str
    victim: str
    struck_seconds: float
    healed_seconds: float | None
    written_again_seconds: float | None
    failed_posts: int
    failed_reads: int
    error: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Times from the strike to the next write of the shard, over all faults of a kind that affect a primary."""

    kind: str
    count: int
    median_written_again_seconds: float
    worst_written_again_seconds: float


@dataclass(frozen=True, slots=True)
class ClientReport:
    answers: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    worst_ms: float | None


@dataclass(frozen=True, slots=True)
class DrillReport:
    """The guarantee held if `violations` is empty."""

    seed: int
    load_seconds: float
    acknowledged: int
    duplicates_sent: int
    refused: int
    poison: int
    posts: ClientReport
    reads: ClientReport
    incidents: list[IncidentReport]
    violations: list[str]
    losses: LossReport = NOTHING_LOST
    post_seconds: list[Second] = field(default_factory=list)
    read_seconds: list[Second] = field(default_factory=list)

    @property
    def has_held(self) -> bool:
        return not self.violations

    def summarize(self) -> list[Summary]:
        times: dict[str, list[float]] = {}
        for incident in self.incidents:
            if incident.written_again_seconds is not None:
                times.setdefault(incident.kind, []).append(incident.written_again_seconds)
        return [Summary(kind, len(found), median(found), max(found)) for kind, found in times.items()]

    def encode(self) -> dict[str, Any]:
        return {"has_held": self.has_held, **asdict(self), "summary": [asdict(s) for s in self.summarize()]}


def report_client(attempts: Sequence[PostAttempt]) -> ClientReport:
    milliseconds = [attempt.latency_seconds * 1000 for attempt in attempts if attempt.is_fine]
    return ClientReport(
        answers=dict(Counter(attempt.outcome for attempt in attempts)),
        p50_ms=find_percentile(milliseconds, 0.5),
        p99_ms=find_percentile(milliseconds, 0.99),
        worst_ms=max(milliseconds, default=None),
    )


def report_incident(
    incident: Incident, posts: Sequence[PostAttempt], reads: Sequence[PostAttempt], *, started_at: float
) -> IncidentReport:
    until = incident.healed_at or float("inf")

    def count(attempts: Sequence[PostAttempt]) -> int:
        return sum(not a.is_fine and a.ended_at >= incident.struck_at and a.started_at <= until for a in attempts)

    return IncidentReport(
        kind=incident.kind,
        victim=incident.victim,
        struck_seconds=round(incident.struck_at - started_at, 2),
        healed_seconds=None if incident.healed_at is None else round(incident.healed_at - started_at, 2),
        written_again_seconds=incident.written_again_seconds,
        failed_posts=count(posts),
        failed_reads=count(reads),
        error=incident.error,
    )


def build_seconds(attempts: Sequence[PostAttempt], *, started_at: float, ended_at: float) -> list[Second]:
    return count_by_second(attempts, started_at=started_at, seconds=int(ended_at - started_at))
