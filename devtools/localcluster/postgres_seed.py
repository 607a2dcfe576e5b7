"""Fills a data directory: a primary by initdb, a replica by a base backup of its primary.

Both work in `<name>.new` and rename at the end, so a directory with its own name is always complete. Files are not
synced one by one (`--no-sync`): servers run before the cluster is used, and after a power failure within the first
seconds `bin/down --purge` starts afresh.
"""

import secrets
import shutil
import signal
from pathlib import Path

from devtools.localcluster.account import give
from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.postgres_settings import PASSFILE_NAME, build_initdb_options, build_password_file
from devtools.localcluster.process import Launch, run_tool
from devtools.localcluster.spec import REPLICATION_ROLE, SUPERUSER_ROLE
from devtools.localcluster.state import write_private

SEED_SECONDS = 120.0


def seed_primary(server: PostgresServer, *, superuser_password: str) -> None:
    """Does nothing if the data directory exists."""
    if server.exists:
        return
    fresh = _prepare_fresh_dir(server)
    with_password = fresh.with_name(f".{server.name}.{secrets.token_hex(4)}")
    try:
        write_private(with_password, superuser_password)
        give(with_password, server.placement.account)
        options = build_initdb_options(major=server.placement.programs.major, password_file=with_password)
        _run(server, "initdb", "-D", str(fresh), *options)
    finally:
        with_password.unlink(missing_ok=True)
    fresh.rename(server.data_dir)


def seed_replica(server: PostgresServer, *, primary: PostgresServer, replication_password: str) -> None:
    """Create the replica's slot on the primary and take a base backup, unless the replica has usable data.

    A replica whose slot was invalidated while it was down can never catch up: its data are deleted.
    """
    if ensure_slot(primary, slot=server.name) and server.exists:
        return
    if server.exists:
        shutil.rmtree(server.data_dir)
    fresh = _prepare_fresh_dir(server)
    password_file = fresh.with_name(f".{server.name}.{secrets.token_hex(4)}")
    try:
        write_private(password_file, build_password_file(replication_password))
        give(password_file, server.placement.account)
        upstream = (
            f"host={LOOPBACK} port={primary.port} user={REPLICATION_ROLE} application_name={server.name}-seed "
            f"passfile={password_file} connect_timeout=2"
        )
        _run(
            server, "pg_basebackup", "-D", str(fresh), "-d", upstream,
            "--wal-method=stream", f"--slot={server.name}", "--checkpoint=fast", "--no-sync",
        )  # fmt: skip
    finally:
        password_file.unlink(missing_ok=True)
    for leftover in ("postmaster.pid", PASSFILE_NAME):
        (fresh / leftover).unlink(missing_ok=True)
    (fresh / "standby.signal").touch()
    give(fresh / "standby.signal", server.placement.account)
    fresh.rename(server.data_dir)


def ensure_slot(primary: PostgresServer, *, slot: str) -> bool:
    """Create the slot, or again if it was invalidated. Returns whether it existed and was usable."""
    with primary.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
        row = connection.execute(
            "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = %s", (slot,)
        ).fetchone()
        if row is not None and not row[0]:
            return True
        if row is not None:
            connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
        connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (slot,))
        return False


def _prepare_fresh_dir(server: PostgresServer) -> Path:
    fresh = server.data_dir.with_name(f"{server.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    give(fresh, server.placement.account)
    return fresh


def _run(server: PostgresServer, program: str, *arguments: str) -> None:
    run_tool(
        Launch(
            argv=(server.placement.programs.get_path(program), *arguments),
            cwd=Path("/"),
            environment=server.environment,
            death_signal=signal.SIGTERM,
            account=server.placement.account,
        ),
        within_seconds=SEED_SECONDS,
    )
