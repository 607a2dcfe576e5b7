"""Which of the things that clients saw are explained by a fault that was in force. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from devtools.drill.attempts import PostAttempt

SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class ExpectedErrors:
    """What clients may see while a fault is in force, and `grace_seconds` after it has healed."""

    posts: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    grace_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault from when it was about to strike until everything it had hurt was whole again."""

    kind: str
    from_at: float
    until_at: float
    excuses: ExpectedErrors


def find_unexplained(
    posts: Iterable[PostAttempt], reads: Iterable[PostAttempt], faults: Sequence[ActiveFault], *, started_at: float
) -> list[str]:
    """A line each, times in seconds after `started_at`; at most SHOWN_MAX of a kind, then how many more."""
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
        attempt.outcome in (fault.excuses.posts if is_post else fault.excuses.reads)
        and attempt.started_at <= fault.until_at + fault.excuses.grace_seconds
        and attempt.ended_at >= fault.from_at
        for fault in faults
    )
