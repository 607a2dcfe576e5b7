"""Turns empty databases into a cluster that can serve. Idempotent: also run at each start of a local cluster."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from viewcounter.cluster import get_cluster
from viewcounter.controlplane.shard_schema import check_primary

POLL_SECONDS = 0.1
ADMIN_NAME = "admin"


def prepare_cluster(
    *,
    partitions: int,
    instances: Path,
    set_roles: bool,
    admin_password_file: Path,
    wait_seconds: float,
    stdout: OutputWrapper,
    stderr: OutputWrapper,
) -> None:
    """Every step is idempotent.

    Waits `wait_seconds` in all for databases that are starting. Raises CommandError.
    """
    deadline_at = time.monotonic() + wait_seconds
    common: dict[str, Any] = {"stdout": stdout, "stderr": stderr}
    await_answer("the control database", connections[DEFAULT_DB_ALIAS].ensure_connection, deadline_at=deadline_at)
    if has_migrations_to_apply():
        call_command("migrate", interactive=False, verbosity=0, **common)
    call_command("init_cluster", partitions=partitions, instances=instances, set_roles=set_roles, **common)
    for shard in get_cluster().topology.shards:
        await_answer(shard.name, partial(check_primary, shard), deadline_at=deadline_at)
    call_command("migrate_shards", **common)
    ensure_administrator(admin_password_file, stdout=stdout)


def await_answer(name: str, connect: Callable[[], None], *, deadline_at: float) -> None:
    """Retries `connect` until it succeeds. Raises CommandError with its last error at the deadline."""
    while True:
        try:
            connect()
            return
        except OperationalError as error:
            if time.monotonic() >= deadline_at:
                raise CommandError(f"{name} does not answer: {error}") from error
        time.sleep(POLL_SECONDS)


def has_migrations_to_apply() -> bool:
    """For the control database. Avoids a needless `migrate`, which rewrites permissions and content types each time."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def ensure_administrator(password_file: Path, *, stdout: OutputWrapper) -> None:
    """Never changes an existing administrator: its password may have been changed in the admin site."""
    users = get_user_model()._default_manager
    if users.filter(username=ADMIN_NAME).exists():
        return
    try:
        password = password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandError(f"no password for the administrator: {error}") from error
    users.create_superuser(username=ADMIN_NAME, password=password)
    stdout.write(f"administrator {ADMIN_NAME} created, password in {password_file}")
