"""`manage.py backup_control`: back up the control database now, and verify the backup."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from commandline.command import OperatorCommand, Subject

STEPS = ("dump", "check the file", "restore into a scratch database", "compare rows")


class Command(OperatorCommand):
    subject = Subject.CLUSTER
    help = (
        "Back up the control database with pg_dump. The dump is restored into a scratch database beside the control "
        "database, and rows and topology epoch are compared; old backups are removed then. Workers do the same "
        "periodically if VIEWCOUNTER_CONTROL_BACKUP_FOLDER is set. Not possible without the control database."
    )
    examples = (
        "manage.py backup_control",
        "manage.py backup_control --folder /mnt/backups --keep 7",
        "manage.py backup_control --no-verify",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--folder",
            type=Path,
            metavar="FOLDER",
            help="where backups are kept (default: VIEWCOUNTER_CONTROL_BACKUP_FOLDER)",
        )
        parser.add_argument(
            "--keep",
            type=int,
            metavar="N",
            help="number of backups to keep (default: VIEWCOUNTER_CONTROL_BACKUP_KEEP_COUNT)",
        )
        parser.add_argument(
            "--verify",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="whether to restore the dump and compare it; needs a role that may create databases (default: verify)",
        )

    def handle(self, **options: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        from viewcounter.config import get_config
        from viewcounter.maintenance.control_backup import (
            make_backup,
            open_backup_session,
            remove_old_backups,
            verify_backup,
        )
        from viewcounter.maintenance.errors import BackupError
        from viewcounter.maintenance.postgres_programs import find_postgres_tools

        settings = get_config().control_backup
        folder: Path | None = options["folder"] or settings.folder
        if folder is None:
            raise CommandError("no folder: give --folder, or set VIEWCOUNTER_CONTROL_BACKUP_FOLDER")
        keep_count = settings.keep_count if options["keep"] is None else options["keep"]
        if keep_count < 1:
            raise CommandError("--keep must be at least 1")
        bar = Progress(
            TextColumn("{task.description:<32}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(file=self.stderr._out),
        )
        task = bar.add_task("", total=len(STEPS) if options["verify"] else 1)

        def show(step: str) -> None:
            bar.update(task, description=step, completed=STEPS.index(step))

        deadline_at = time.monotonic() + settings.seconds_max
        try:
            tools = find_postgres_tools(settings.bin_dir)
            with bar, open_backup_session(tools, folder, deadline_at=deadline_at, progress=show) as session:
                backup = make_backup(session, now=datetime.now(UTC))
                try:
                    if options["verify"]:
                        backup = verify_backup(session, backup)
                finally:
                    removed = remove_old_backups(session, keep_count=keep_count)
                bar.update(task, completed=bar.tasks[0].total)
        except BackupError as error:
            raise CommandError(str(error)) from error
        manifest = backup.manifest
        verified = "verified" if backup.is_verified else "not verified"
        self.stdout.write(
            f"{backup.path}: {verified}, topology epoch {manifest.epoch}, {sum(manifest.row_counts.values())} rows, "
            f"{manifest.size_bytes} bytes; {len(removed)} old backups removed"
        )
