"""Which client errors are explained by an active fault. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from devtools.drill.attempts import PostAttempt

SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class ExpectedErrors:
    """Outcomes that clients may see while a fault is active, and until `grace_seconds` after it has healed."""

    posts: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    grace_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault, from just before its strike until the affected parts were healthy again."""

    kind: str
    from_at: float
    until_at: float
    expected_errors: ExpectedErrors


def find_unexplained(
    posts: Iterable[PostAttempt], reads: Iterable[PostAttempt], faults: Sequence[ActiveFault], *, started_at: float
) -> list[str]:
    """A line for each, with times in seconds after `started_at`; at most SHOWN_MAX of a kind, then their number."""
    said = []
    for what, attempts in (("post", posts), ("read", reads)):
        wrong = [a for a in attempts if not a.is_fine and not _is_explained(a, faults, is_post=what == "post")]
        said += [
            f"{what} of {a.client}, sent at {a.started_at - started_at:.1f} s: {a.outcome} at "
            f"{a.ended_at - started_at:.1f} s"
            for a in wrong[:SHOWN_MAX]
        ]
        if len(wrong) > SHOWN_MAX:
            said.append(f"and {len(wrong) - SHOWN_MAX} more {what}s: {dict(Counter(a.outcome for a in wrong))}")
    return said


def _is_explained(attempt: PostAttempt, faults: Sequence[ActiveFault], *, is_post: bool) -> bool:
    return any(
        attempt.outcome in (fault.expected_errors.posts if is_post else fault.expected_errors.reads)
        and attempt.started_at <= fault.until_at + fault.expected_errors.grace_seconds
        and attempt.ended_at >= fault.from_at
        for fault in faults
    )
