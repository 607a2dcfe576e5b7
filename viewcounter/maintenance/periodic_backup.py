"""The periodic backup: makes one when it is due, verifies the newest, removes old ones, and publishes its age."""

import logging
import math
import time
from datetime import UTC, datetime
from pathlib import Path

from runtime.metrics import CONTROL_BACKUP_AGE_SECONDS
from viewcounter.maintenance.backup_folder import find_verified_age, is_due
from viewcounter.maintenance.control_backup import (
    BackupSession,
    make_backup,
    open_backup_session,
    remove_old_backups,
    verify_backup,
)
from viewcounter.maintenance.postgres_programs import find_postgres_tools
from viewcounter.maintenance.settings import ControlBackupSettings

logger = logging.getLogger(__name__)


def run_periodic_backup(folder: Path, settings: ControlBackupSettings) -> None:
    """A newest backup that is not verified is verified again at each call. Raises BackupError."""
    tools = find_postgres_tools(settings.bin_dir)
    with open_backup_session(tools, folder, deadline_at=time.monotonic() + settings.seconds_max) as session:
        try:
            _bring_up_to_date(session, settings)
        finally:
            publish_age(session)


def _bring_up_to_date(session: BackupSession, settings: ControlBackupSettings) -> None:
    backups = session.list_backups()
    now = datetime.now(UTC)
    newest = make_backup(session, now=now) if is_due(backups, interval=settings.interval, now=now) else backups[-1]
    if newest.is_verified:
        return
    try:
        verify_backup(session, newest)
    finally:
        removed = remove_old_backups(session, keep_count=settings.keep_count)
    logger.info("backup of the control database verified: %s; %d old ones removed", newest.path, len(removed))


def publish_age(session: BackupSession) -> None:
    age = find_verified_age(session.list_backups(), now=datetime.now(UTC))
    CONTROL_BACKUP_AGE_SECONDS.set(math.inf if age is None else age.total_seconds())
