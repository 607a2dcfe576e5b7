"""Backups of the control database: dumped, restored and compared with real programs on a real server."""

import hashlib
import io
import math
import time
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection

from configservice.models import Shard, TopologyEpoch
from configservice.topology.publication import publish
from devtools.localcluster.binaries import find_postgres_dir
from runtime.metrics import REGISTRY
from tests.pace import limit
from tests.processes import run
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.maintenance.backup_folder import Manifest, list_backups, write_manifest
from viewcounter.maintenance.control_backup import (
    SCRATCH_SUFFIX,
    make_backup,
    open_backup_session,
    verify_backup,
)
from viewcounter.maintenance.errors import BackupFailed, BackupInProgress, BackupNotVerified, BackupProgramMissing
from viewcounter.maintenance.periodic_backup import run_periodic_backup
from viewcounter.maintenance.postgres_programs import PostgresTools, find_postgres_tools
from viewcounter.maintenance.settings import ControlBackupSettings

BIN_DIR = find_postgres_dir(None)
TOOLS = find_postgres_tools(BIN_DIR)
SETTINGS = ControlBackupSettings(bin_dir=BIN_DIR, keep_count=2, seconds_max=limit(60.0))


@pytest.fixture(autouse=True)
def control(clean_cluster, django_db_blocker):
    with django_db_blocker.unblock():
        yield clean_cluster


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backups"


def open_session(folder, tools=TOOLS):
    return open_backup_session(tools, folder, deadline_at=time.monotonic() + limit(60.0))


def back_up(folder, tools=TOOLS):
    with open_session(folder, tools) as session:
        return make_backup(session, now=datetime.now(UTC))


def list_own(folder):
    return list_backups(folder, cluster_id=get_cluster().topology.cluster_id)


def list_databases():
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        return {name for (name,) in cursor.fetchall()}


def get_newest_epoch():
    return TopologyEpoch.objects.latest("epoch").epoch


def publish_quorum(quorum):
    Shard.objects.update(quorum=quorum)
    return publish(reason="a test", actor="test").epoch


def test_command_writes_a_private_verified_dump_with_its_manifest(folder):
    out = io.StringIO()
    call_command("backup_control", "--folder", str(folder), stdout=out, stderr=io.StringIO())
    (backup,) = list_own(folder)
    manifest = backup.manifest
    assert (manifest.epoch, manifest.cluster_id) == (get_newest_epoch(), get_cluster().topology.cluster_id)
    assert manifest.row_counts["public.configservice_topologyepoch"] == TopologyEpoch.objects.count()
    assert manifest.size_bytes == backup.path.stat().st_size
    assert manifest.sha256 == hashlib.sha256(backup.path.read_bytes()).hexdigest()
    assert manifest.verified_at > manifest.taken_at
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        backup.path.name: 0o600,
        backup.path.with_suffix(".json").name: 0o600,
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    assert f"{backup.path}: verified, topology epoch {manifest.epoch}, " in out.getvalue()
    assert not [name for name in list_databases() if name.endswith(SCRATCH_SUFFIX)]


class PublishingTools(PostgresTools):
    """Something is published after the rows were counted, before pg_dump connects."""

    def dump(self, *arguments, **options):
        publish_quorum(2)
        super().dump(*arguments, **options)


def test_dump_holds_the_snapshot_that_was_counted_though_epochs_follow(folder):
    before = get_newest_epoch()
    with open_session(folder, PublishingTools(TOOLS.pg_dump, TOOLS.pg_restore)) as session:
        backup = verify_backup(session, make_backup(session, now=datetime.now(UTC)))
    after = get_newest_epoch()
    publish_quorum(1)
    assert (backup.manifest.epoch, after) == (before, before + 1)
    assert backup.is_verified


def test_dump_that_was_damaged_on_disk_is_not_verified(folder):
    backup = back_up(folder)
    with backup.path.open("r+b") as file:
        file.seek(backup.manifest.size_bytes // 2)
        file.write(b"damaged")
    with open_session(folder) as session, pytest.raises(BackupNotVerified, match="SHA-256"):
        verify_backup(session, backup)
    assert not list_own(folder)[0].is_verified


def test_dump_cut_short_before_its_digest_was_taken_is_not_verified(folder):
    backup = back_up(folder)
    data = backup.path.read_bytes()[: backup.manifest.size_bytes // 2]
    backup.path.write_bytes(data)
    manifest = msgspec.structs.replace(backup.manifest, sha256=hashlib.sha256(data).hexdigest())
    with open_session(folder) as session, pytest.raises(BackupNotVerified, match="cannot be restored"):
        verify_backup(session, write_manifest(replace(backup, manifest=manifest)))
    assert not [name for name in list_databases() if name.endswith(SCRATCH_SUFFIX)]


def test_dump_with_other_rows_than_its_manifest_is_not_verified(folder):
    backup = back_up(folder)
    counts = {**backup.manifest.row_counts, "public.configservice_shard": 3}
    manifest = msgspec.structs.replace(backup.manifest, row_counts=counts)
    expected = "public.configservice_shard: 2 rows instead of 3 rows"
    with open_session(folder) as session, pytest.raises(BackupNotVerified, match=expected):
        verify_backup(session, replace(backup, manifest=manifest))


def test_dump_holds_no_session_of_a_person_who_is_logged_in(folder):
    Session.objects.create(session_key="k" * 32, session_data="", expire_date=datetime.now(UTC))
    try:
        path = back_up(folder).path
    finally:
        Session.objects.all().delete()
    text = run([TOOLS.pg_restore, "--file=-", path], within_seconds=10).stdout
    assert "CREATE TABLE public.django_session" in text
    assert "k" * 32 not in text


def test_scratch_database_of_a_killed_process_is_replaced(folder):
    name = connection.settings_dict["NAME"] + SCRATCH_SUFFIX
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    with open_session(folder) as session:
        assert verify_backup(session, make_backup(session, now=datetime.now(UTC))).is_verified
    assert name not in list_databases()


def test_second_backup_at_the_same_time_is_refused(folder):
    with open_session(folder), pytest.raises(BackupInProgress), open_session(folder):
        pass
    assert back_up(folder).path.exists()


def test_failed_dump_leaves_no_file(folder):
    with pytest.raises(BackupFailed, match="status 1"):
        back_up(folder, replace(TOOLS, pg_dump="/bin/false"))
    assert list(folder.iterdir()) == []


def test_dump_that_takes_too_long_is_ended(folder, tmp_path):
    slow = tmp_path / "pg_dump"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o700)
    tools = replace(TOOLS, pg_dump=str(slow))
    deadline_at = time.monotonic() + limit(2.0)
    opened = open_backup_session(tools, folder, deadline_at=deadline_at)
    with opened as session, pytest.raises(BackupFailed, match="VIEWCOUNTER_CONTROL_BACKUP_SECONDS_MAX"):
        make_backup(session, now=datetime.now(UTC))
    assert list(folder.iterdir()) == []


def test_files_of_an_aborted_backup_are_removed_and_other_files_stay(folder):
    prefix = f"control-{get_cluster().topology.cluster_id[:8]}-"
    folder.mkdir()
    for name in (f"{prefix}1.dump.partial", f"{prefix}2.json", f"{prefix}3.dump", "control-other-1.dump.partial"):
        (folder / name).touch()
    made = back_up(folder).path
    kept = {f"{prefix}3.dump", "control-other-1.dump.partial", made.name, made.with_suffix(".json").name}
    assert {path.name for path in folder.iterdir()} == kept


def test_periodic_backup_is_made_when_due_and_the_last_ones_are_kept(folder):
    run_periodic_backup(folder, SETTINGS)
    (first,) = list_own(folder)
    run_periodic_backup(folder, SETTINGS)
    assert list_own(folder) == [first]
    assert 0 < REGISTRY.get_sample_value("viewcounter_control_backup_age_seconds") < SETTINGS.interval_seconds
    for _ in range(2):
        run_periodic_backup(folder, replace(SETTINGS, interval_seconds=1e-6))
    backups = list_own(folder)
    assert len(backups) == 2 and first not in backups
    assert all(backup.is_verified for backup in backups)


def test_periodic_backup_verifies_one_that_was_not_verified(folder):
    backup = back_up(folder)
    run_periodic_backup(folder, SETTINGS)
    (found,) = list_own(folder)
    assert found.path == backup.path and found.is_verified


def test_age_is_infinite_while_no_backup_can_be_verified(folder, tmp_path):
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "pg_dump").symlink_to(TOOLS.pg_dump)
    (broken / "pg_restore").symlink_to("/bin/false")
    with pytest.raises(BackupNotVerified, match="cannot be restored"):
        run_periodic_backup(folder, replace(SETTINGS, bin_dir=broken))
    assert REGISTRY.get_sample_value("viewcounter_control_backup_age_seconds") == math.inf
    assert [backup.is_verified for backup in list_own(folder)] == [False]


@pytest.fixture
def no_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_CONTROL_BACKUP_BIN_DIR", str(tmp_path))
    get_config.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    get_config.cache_clear()


def test_command_names_the_program_that_is_missing(folder, no_programs):
    with pytest.raises(CommandError, match=f"no program pg_dump in {no_programs}: install"):
        call_command("backup_control", "--folder", str(folder), stdout=io.StringIO(), stderr=io.StringIO())
    assert not folder.exists()


def test_programs_are_searched_in_path_without_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(BIN_DIR))
    assert find_postgres_tools(None) == TOOLS
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupProgramMissing, match="no program pg_dump in PATH"):
        find_postgres_tools(None)


def test_manifest_can_be_read_by_people_and_programs(folder):
    path = back_up(folder).path.with_suffix(".json")
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    assert path.read_text().startswith('{\n  "taken_at": "')
    assert manifest.row_counts["public.configservice_shard"] == Shard.objects.count()
