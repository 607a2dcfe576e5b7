"""`manage.py prepare`: from empty databases to a cluster that can serve; run at each start of the local cluster."""

import argparse
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from viewcounter.config import get_config

ADMIN_NAME = "admin"


class Command(BaseCommand):
    help = (
        "Migrate the control database, record the shards with their addresses of now, migrate every shard, and create "
        "the administrator if there is none. Safe to re-run."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--partitions", type=int, required=True, help="partition count of a new cluster")
        parser.add_argument("--instances", type=Path, required=True, help="JSON file naming shards and instances")
        parser.add_argument("--set-roles", action="store_true", help="see init_cluster")
        parser.add_argument("--admin-password-file", type=Path, help="default: secrets/admin_password of the state")

    def handle(self, **options: Any) -> None:
        common = {"stdout": self.stdout, "stderr": self.stderr}
        call_command("migrate", interactive=False, verbosity=0, **common)
        described = {name: options[name] for name in ("partitions", "instances", "set_roles")}
        call_command("init_cluster", **described, **common)
        call_command("migrate_shards", **common)
        password_file = options["admin_password_file"] or get_config().state_dir / "secrets" / "admin_password"
        self._ensure_administrator(password_file)

    def _ensure_administrator(self, password_file: Path) -> None:
        """Never changes one that exists: its password may have been changed in the admin site."""
        users = get_user_model()._default_manager
        if users.filter(username=ADMIN_NAME).exists():
            return
        try:
            password = password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CommandError(f"no password for the administrator: {error}") from error
        users.create_superuser(username=ADMIN_NAME, password=password)
        self.stdout.write(f"administrator {ADMIN_NAME} created, password in {password_file}")
