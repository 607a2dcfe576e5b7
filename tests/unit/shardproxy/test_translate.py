"""Driver errors become typed errors, which decide whether a caller may retry."""

import psycopg
import pytest
from psycopg import errors as pg

from runtime.errors import Permanent, Retryable
from shardproxy.connection import ClientDeadlinePassed
from shardproxy.errors import (
    BadStatement,
    Conflict,
    DeadlineExceeded,
    InstanceUnavailable,
    OutcomeUnknown,
    OutOfResources,
    ReadOnlyInstance,
    ShardProxyError,
    StatementTimeout,
)
from shardproxy.translate import translate, translate_in_commit


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (pg.QueryCanceled(), StatementTimeout),
        (pg.ReadOnlySqlTransaction(), ReadOnlyInstance),
        (pg.SerializationFailure(), Conflict),
        (pg.DeadlockDetected(), Conflict),
        (pg.LockNotAvailable(), Conflict),
        (pg.AdminShutdown(), InstanceUnavailable),
        (pg.CrashShutdown(), InstanceUnavailable),
        (pg.CannotConnectNow(), InstanceUnavailable),
        (pg.IdleInTransactionSessionTimeout(), InstanceUnavailable),
        (pg.ConnectionFailure(), InstanceUnavailable),
        (pg.IoError(), InstanceUnavailable),
        (pg.DiskFull(), OutOfResources),
        (pg.TooManyConnections(), OutOfResources),
        (pg.UniqueViolation(), BadStatement),
        (pg.UndefinedTable(), BadStatement),
        (pg.NumericValueOutOfRange(), BadStatement),
        (pg.DataCorrupted(), BadStatement),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), BadStatement),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), BadStatement),
        (ClientDeadlinePassed(), DeadlineExceeded),
    ],
)
def test_translation_on_a_living_connection(raised, expected):
    error = translate(raised, instance="shard1a", connection_lost=False)
    assert type(error) is expected
    assert error.sqlstate == getattr(raised, "sqlstate", None)
    assert error.instance == "shard1a"


def test_an_error_without_code_on_a_lost_connection_is_the_servers():
    error = translate(psycopg.OperationalError("server closed the connection"), instance="a", connection_lost=True)
    assert type(error) is InstanceUnavailable


@pytest.mark.parametrize(
    ("raised", "lost", "expected"),
    [
        (psycopg.OperationalError("server closed the connection"), True, OutcomeUnknown),
        (ClientDeadlinePassed(), True, OutcomeUnknown),
        (pg.AdminShutdown(), True, OutcomeUnknown),
        (pg.SerializationFailure(), False, Conflict),
        (pg.ForeignKeyViolation(), False, BadStatement),
        (pg.QueryCanceled(), False, StatementTimeout),
    ],
)
def test_only_a_hang_up_in_commit_leaves_the_outcome_open(raised, lost, expected):
    assert type(translate_in_commit(raised, instance="a", connection_lost=lost)) is expected


def test_messages_do_not_repeat_the_statement():
    raised = pg.UndefinedTable('relation "secrets" does not exist\nLINE 1: SELECT secret FROM secrets')
    assert str(translate(raised, instance="a", connection_lost=False)) == 'a: relation "secrets" does not exist'


def test_every_error_is_either_retryable_or_permanent():
    kinds = ShardProxyError.__subclasses__()
    assert len(kinds) == 12
    assert [kind for kind in kinds if issubclass(kind, Retryable) == issubclass(kind, Permanent)] == []
