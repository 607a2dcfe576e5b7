"""Which backups of the control database are kept, when the next one is due, and what makes a dump differ."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from viewcounter.maintenance.backup_folder import Backup, Manifest, find_verified_age, is_due, plan_removals
from viewcounter.maintenance.control_backup import Contents, find_differences
from viewcounter.maintenance.postgres_programs import format_conninfo

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLUSTER = "5c1f3d0e-2b64-4f0e-8a53-6d1b7f9f2a10"
ROWS = {"public.a": 2, "public.b": 0}


def make_backup(hour, *, verified):
    taken_at = NOON.replace(hour=hour)
    manifest = Manifest(
        taken_at=taken_at,
        cluster_id=CLUSTER,
        epoch=7,
        size_bytes=1,
        sha256="",
        row_counts=ROWS,
        verified_at=taken_at if verified else None,
    )
    return Backup(Path(str(hour)), manifest)


@pytest.mark.parametrize(
    ("verified", "keep_count", "removed"),
    [
        ("", 1, []),
        ("v", 1, []),
        ("vv", 1, [0]),
        ("vvv", 2, [0]),
        ("vu", 1, []),
        ("vvuu", 2, [0]),
        ("uuuu", 2, [0, 1]),
        ("vuuuv", 2, [0, 1, 2]),
    ],
)
def test_newest_backups_and_the_newest_verified_one_are_kept(verified, keep_count, removed):
    backups = [make_backup(hour, verified=mark == "v") for hour, mark in enumerate(verified)]
    assert plan_removals(backups, keep_count=keep_count) == [backups[number] for number in removed]


def test_backup_is_due_when_the_newest_one_is_as_old_as_the_interval():
    backups = [make_backup(3, verified=True), make_backup(6, verified=False)]
    six_hours = timedelta(hours=6)
    assert is_due([], interval=six_hours, now=NOON)
    assert is_due(backups, interval=six_hours, now=NOON)
    assert not is_due(backups, interval=six_hours, now=NOON - timedelta(seconds=1))


def test_age_is_that_of_the_newest_verified_backup():
    backups = [make_backup(3, verified=True), make_backup(6, verified=False)]
    assert find_verified_age(backups, now=NOON) == timedelta(hours=9)
    assert find_verified_age(backups[1:], now=NOON) is None


@pytest.mark.parametrize(
    ("found", "differences"),
    [
        (Contents(CLUSTER, 7, ROWS), []),
        (Contents(CLUSTER, 6, ROWS), ["topology epoch 6 instead of 7"]),
        (Contents("other", 7, ROWS), [f"cluster other instead of {CLUSTER}"]),
        (Contents(CLUSTER, 7, ROWS | {"public.a": 1}), ["public.a: 1 rows instead of 2 rows"]),
        (Contents(CLUSTER, 7, {"public.a": 2}), ["public.b: no table instead of 0 rows"]),
        (Contents(CLUSTER, 7, ROWS | {"public.c": 0}), ["public.c: 0 rows instead of no table"]),
    ],
)
def test_every_difference_between_manifest_and_restored_rows_is_named(found, differences):
    assert find_differences(make_backup(0, verified=False).manifest, found) == differences


def test_connection_string_is_quoted_and_holds_no_password():
    parameters = {"host": "db1,db2", "dbname": r"it's a \ name", "password": "secret", "prepare_threshold": None}
    assert format_conninfo(parameters) == r"host='db1,db2' dbname='it\'s a \\ name'"
