"""Which errors of clients a fault explains."""

import pytest

from devtools.drill.attempts import PostAttempt
from devtools.drill.verdict import ActiveFault, ExpectedErrors, find_unexplained

LOG_AWAY = ActiveFault("kill-log", 10.0, 12.0, ExpectedErrors(posts=frozenset({"503"}), grace_seconds=2.0))


def attempt(outcome, started_at, ended_at):
    return PostAttempt("client-0", started_at, started_at, ended_at, outcome)


@pytest.mark.parametrize(
    ("outcome", "started_at", "ended_at", "is_explained"),
    [
        ("202", 1.0, 1.1, True),
        ("503", 10.5, 10.6, True),
        ("503", 9.0, 10.0, True),  # in flight when it struck
        ("503", 13.9, 15.0, True),  # begun within the grace
        ("503", 9.0, 9.9, False),  # over before it struck
        ("503", 14.1, 14.2, False),  # begun after the grace
        ("500", 10.5, 10.6, False),  # no such excuse
        ("reset", 10.5, 10.6, False),
    ],
)
def test_a_failed_post_is_explained_only_by_a_fault_in_force_that_excuses_it(
    outcome, started_at, ended_at, is_explained
):
    found = find_unexplained([attempt(outcome, started_at, ended_at)], [], [LOG_AWAY], started_at=0.0)
    assert (found == []) is is_explained


def test_what_excuses_posts_excuses_no_reads():
    assert find_unexplained([], [attempt("503", 10.5, 10.6)], [LOG_AWAY], started_at=8.0) == [
        "read of client-0, sent at 2.5 s: 503 at 2.6 s"
    ]


@pytest.mark.parametrize("outcome", ["partial", "stale", "timeout", "404"])
def test_an_answer_that_is_not_whole_is_an_error(outcome):
    assert len(find_unexplained([], [attempt(outcome, 1.0, 1.5)], [], started_at=0.0)) == 1


def test_many_of_a_kind_are_counted_and_not_all_listed():
    found = find_unexplained([attempt("500", n, n + 0.1) for n in range(50)], [], [], started_at=0.0)
    assert len(found) == 21
    assert found[-1] == "and 30 more posts: {'500': 50}"
