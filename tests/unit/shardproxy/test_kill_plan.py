"""Who has to go, and how: a table of cases, and what must hold whatever is seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.connection import Purpose
from shardproxy.kill_plan import (
    FOREIGN,
    KillAction,
    KillAttempt,
    KillPolicy,
    KillReason,
    Session,
    SessionState,
    StatementIdentity,
    plan_kills,
)
from shardproxy.query import QueryClass
from shardproxy.settings import QueryBudgets, ReaperSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = KillPolicy(
    application="viewcounter",
    users=frozenset({"viewcounter", "guard"}),
    query=QueryBudgets(),
    reaper=ReaperSettings(
        slack_seconds=0.25,
        foreign_query_seconds=20.0,
        foreign_idle_seconds=8.0,
        foreign_blocking_seconds=4.0,
        grace_seconds=2.0,
        spared_applications=("pg_dump",),
    ),
)


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def session(*, seconds, pid=7, user="viewcounter", application="viewcounter point", idle=False, opened=None, **more):
    """One that has been doing the same for `seconds`, in a transaction opened `opened` seconds ago."""
    return Session(
        identity=StatementIdentity(pid, ago(3600), ago(seconds)),
        user=user,
        application=application,
        state=SessionState.IDLE_IN_TRANSACTION if idle else SessionState.ACTIVE,
        transaction_start=ago(seconds if opened is None else opened),
        **more,
    )


def plan(*sessions, attempts=None):
    return plan_kills(sessions, POLICY, now=NOW, attempts=attempts or {})


def summarize(*sessions, attempts=None):
    return [
        (kill.session.identity.pid, kill.session_class, kill.reason, kill.action)
        for kill in plan(*sessions, attempts=attempts)
    ]


CANCEL, TERMINATE = KillAction.CANCEL, KillAction.TERMINATE
RUNNING, IDLE, BLOCKING = KillReason.RUNNING, KillReason.IDLE_IN_TRANSACTION, KillReason.BLOCKING


class TestBudgets:
    @pytest.mark.parametrize(
        ("application", "user", "allowed", "session_class"),
        [
            ("viewcounter point", "viewcounter", 1.25, "point"),
            ("viewcounter range", "viewcounter", 3.25, "range"),
            ("viewcounter report", "viewcounter", 10.25, "report"),
            ("viewcounter flush", "viewcounter", 15.25, "flush"),
            ("viewcounter maintenance", "viewcounter", 60.25, "maintenance"),
            ("viewcounter", "viewcounter", 60.25, "maintenance"),
            ("psql", "viewcounter", 20.0, FOREIGN),
            ("", "viewcounter", 20.0, FOREIGN),
            ("viewcounter something", "viewcounter", 20.0, FOREIGN),
            ("metabase", "bi", 20.0, FOREIGN),
        ],
    )
    def test_a_statement_is_cancelled_at_the_budget_of_its_class_and_not_before(
        self, application, user, allowed, session_class
    ):
        just_before = session(seconds=allowed - 0.001, application=application, user=user)
        assert plan(just_before) == []
        kill = plan(session(seconds=allowed, application=application, user=user))[0]
        assert (kill.session_class, kill.reason, kill.action) == (session_class, RUNNING, CANCEL)
        assert (kill.age_seconds, kill.budget_seconds) == (allowed, allowed)

    @pytest.mark.parametrize("application", ["viewcounter point", "viewcounter migrate_shards", "viewcounter"])
    def test_a_name_of_ours_under_another_role_is_foreign(self, application):
        assert summarize(session(seconds=21, application=application, user="bi")) == [(7, FOREIGN, RUNNING, CANCEL)]
        assert plan(session(seconds=19, application=application, user="bi")) == []

    @pytest.mark.parametrize(
        ("application", "user", "allowed"), [("psql", "bi", 8.0), ("viewcounter flush", "viewcounter", 15.25)]
    )
    def test_a_pause_counts_by_its_own_length_and_ends_the_session_at_once(self, application, user, allowed):
        old = {"application": application, "user": user, "idle": True, "opened": 3000}
        assert plan(session(seconds=allowed - 0.001, **old)) == []
        assert [(k.reason, k.action) for k in plan(session(seconds=allowed, **old))] == [(IDLE, TERMINATE)]


class TestBlocking:
    WAITING = session(seconds=0.1, pid=8, application="viewcounter flush", wait_event="tuple", blocked_by=(7,))

    @pytest.mark.parametrize(("idle", "action"), [(True, TERMINATE), (False, CANCEL)])
    def test_a_foreign_transaction_that_holds_up_one_of_ours_has_a_budget_of_its_own(self, idle, action):
        holder = {"seconds": 1, "user": "bi", "application": "psql", "idle": idle}
        assert plan(session(opened=3.9, **holder), self.WAITING) == []
        assert summarize(session(opened=4, **holder), self.WAITING) == [(7, FOREIGN, BLOCKING, action)]

    def test_holding_up_another_foreign_session_is_not_our_business(self):
        waiting = replace(self.WAITING, user="bi")
        assert plan(session(seconds=1, opened=5, user="bi", application="psql"), waiting) == []

    def test_our_own_transactions_are_not_ended_for_blocking_each_other(self):
        assert plan(session(seconds=1, opened=9, application="viewcounter flush"), self.WAITING) == []


class TestConnections:
    IDLE_FOREIGN = replace(session(seconds=8, user="bi", application="psql"), state=SessionState.IDLE)
    IDLE_OURS = replace(session(seconds=999), state=SessionState.IDLE)

    def test_an_idle_session_is_left_alone_while_connections_are_free(self):
        assert plan(self.IDLE_FOREIGN, self.IDLE_OURS) == []

    def test_on_a_full_server_foreign_sessions_that_use_nothing_make_room(self):
        kills = plan_kills([self.IDLE_FOREIGN], POLICY, now=NOW, attempts={}, is_full=True)
        assert [(k.reason, k.action) for k in kills] == [(KillReason.CONNECTIONS, TERMINATE)]
        earlier = NOW - timedelta(seconds=0.001)
        assert plan_kills([self.IDLE_FOREIGN], POLICY, now=earlier, attempts={}, is_full=True) == []

    def test_connections_of_our_pools_are_never_taken_from_them(self):
        assert plan_kills([self.IDLE_OURS], POLICY, now=NOW, attempts={}, is_full=True) == []


class TestEscalation:
    RUNNING_ON = session(seconds=30, user="bi", application="psql")

    @pytest.mark.parametrize(
        ("action", "seconds_ago", "expected"),
        [(CANCEL, 1.9, []), (CANCEL, 2.0, [TERMINATE]), (TERMINATE, 1.9, []), (TERMINATE, 2.0, [TERMINATE])],
    )
    def test_a_statement_that_outlives_its_cancel_by_the_grace_costs_the_session(self, action, seconds_ago, expected):
        attempts = {self.RUNNING_ON.identity: KillAttempt(action, ago(seconds_ago))}
        assert [kill.action for kill in plan(self.RUNNING_ON, attempts=attempts)] == expected

    def test_the_next_statement_of_a_cancelled_session_starts_with_a_cancel_again(self):
        attempts = {replace(self.RUNNING_ON.identity, since=ago(90)): KillAttempt(CANCEL, ago(50))}
        assert [kill.action for kill in plan(self.RUNNING_ON, attempts=attempts)] == [CANCEL]


SPARED = [{"application": name} for name in (f"viewcounter {purpose}" for purpose in Purpose)] + [
    {"wait_event": "SyncRep"},
    {"is_committing": True},
    {"is_vacuuming": True, "application": "psql"},
    {"application": "pg_dump", "user": "backup"},
]


@pytest.mark.parametrize("marks", SPARED, ids=str)
@pytest.mark.parametrize("idle", [False, True])
def test_spared_sessions_are_not_touched_however_old_they_are(marks, idle):
    old = session(seconds=10**6, idle=idle, **marks)
    waiting = session(seconds=0.1, pid=8, application="viewcounter flush", blocked_by=(7,))
    for attempt in (None, KillAttempt(CANCEL, ago(100)), KillAttempt(TERMINATE, ago(100))):
        assert plan(old, waiting, attempts={old.identity: attempt} if attempt else {}) == []


SESSIONS = st.lists(
    st.builds(
        session,
        seconds=st.floats(0, 200),
        opened=st.floats(0, 400),
        pid=st.integers(1, 6),
        user=st.sampled_from(["viewcounter", "guard", "bi", "postgres", ""]),
        application=st.sampled_from(
            ["", "psql", "pg_dump", "viewcounter", *(f"viewcounter {p}" for p in [*QueryClass, *Purpose])]
        ),
        idle=st.booleans(),
        wait_event=st.sampled_from([None, "SyncRep", "ClientRead", "relation"]),
        is_committing=st.booleans(),
        is_vacuuming=st.booleans(),
        blocked_by=st.lists(st.integers(1, 6), max_size=2).map(tuple),
    ),
    unique_by=lambda s: s.identity.pid,
    max_size=6,
)
ATTEMPTS = st.builds(KillAttempt, st.sampled_from(KillAction), st.floats(0, 10).map(ago))


@given(SESSIONS, st.data())
def test_only_sessions_past_a_budget_are_ended_each_once(sessions, data):
    tried = data.draw(st.dictionaries(st.sampled_from([s.identity for s in sessions] or [None]), ATTEMPTS))
    kills = plan(*sessions, attempts=tried)
    assert len({kill.session.identity.pid for kill in kills}) == len(kills)
    for kill in kills:
        gone = kill.session
        assert gone.wait_event != "SyncRep" and not gone.is_committing and not gone.is_vacuuming
        assert gone.application != "pg_dump"
        assert kill.age_seconds >= kill.budget_seconds >= 1.25
        assert kill.action is TERMINATE or (gone.state is SessionState.ACTIVE and gone.identity not in tried)
        if gone.identity in tried:
            assert kill.action is TERMINATE and tried[gone.identity].at <= ago(2)


@given(SESSIONS)
def test_the_plan_does_not_depend_on_the_order_in_which_sessions_are_seen(sessions):
    def by_pid(kills):
        return sorted(kills, key=lambda kill: kill.session.identity.pid)

    assert by_pid(plan(*sessions)) == by_pid(plan(*reversed(sessions)))


@given(SESSIONS)
def test_a_longer_stay_never_saves_a_session(sessions):
    later = plan_kills(sessions, POLICY, now=NOW + timedelta(seconds=5), attempts={})
    now_gone = {kill.session.identity for kill in plan(*sessions)}
    assert now_gone <= {kill.session.identity for kill in later}
