"""Makes an old primary a replica of the new one: by pg_rewind, else by a base backup.

`pg_rewind` compares the two timelines and fetches the blocks that differ, which takes a second where a base backup
copies everything. It needs the old primary's WAL back to the point of divergence; without it, or when it fails for any
other reason, a base backup is taken.

`pg_rewind` treats a server that was stopped during crash recovery as one that has nothing after its last checkpoint,
and leaves it with rows that the new primary never had (reproduced with PostgreSQL 18). So recovery is finished first.
"""

import secrets
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg

from devtools.localcluster.account import give
from devtools.localcluster.errors import ProgramFailed
from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.postgres_seed import ensure_slot, seed_replica
from devtools.localcluster.process import Launch, run_tool
from devtools.localcluster.spec import SUPERUSER_ROLE
from devtools.localcluster.state import write_private

REWIND_SECONDS = 120.0
_CLEAN_STATE = "shut down"


def rejoin(
    server: PostgresServer,
    *,
    primary: PostgresServer,
    superuser_password: str,
    replication_password: str,
    report: Callable[[str], None],
    by_copy: bool = False,
) -> None:
    """Call while `server` is down and `primary` runs; afterwards its data are those of a replica. Raises ProgramFailed.

    A server whose copy was interrupted has no data, and is copied again.
    """
    if server.exists and by_copy:
        shutil.rmtree(server.data_dir)
    if server.exists:
        try:
            _rewind(server, primary, superuser_password)
        except ProgramFailed as error:
            report(f"{server.name} cannot be rewound; copying {primary.name} instead: {str(error).splitlines()[-1]}")
            shutil.rmtree(server.data_dir)
    if not server.exists:
        seed_replica(server, primary=primary, replication_password=replication_password)
    server.forget_overrides("primary_conninfo", "primary_slot_name", "default_transaction_read_only")


def drop_idle_slots(server: PostgresServer) -> None:
    """On a replica that was a primary: unused slots would retain its WAL forever."""
    with server.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE slot_type = 'physical' AND NOT active"
        )


def is_primary_now(server: PostgresServer) -> bool:
    """Whether the server answers and is not in recovery."""
    try:
        with server.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    except psycopg.Error:
        return False


def find_missing_timeline(server: PostgresServer, *, primary: PostgresServer) -> str | None:
    """Why a replica does not follow its primary's newest timeline; None if it does."""
    try:
        with server.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
            row = connection.execute("SELECT received_tli FROM pg_stat_wal_receiver").fetchone()
    except psycopg.Error as error:
        return str(error).strip()
    return None if row == (primary.timeline,) else f"it receives timeline {row[0] if row else 'none'}"


def _finish_recovery(server: PostgresServer) -> None:
    """Single-user mode finishes crash recovery and shuts down cleanly."""
    state = _run(server, "pg_controldata", "-D", str(server.data_dir))
    if _CLEAN_STATE not in [line.partition(":")[2].strip() for line in state.splitlines()]:
        _run(server, "postgres", "--single", "-F", "-D", str(server.data_dir), "template1")


def _run(server: PostgresServer, program: str, *arguments: str) -> str:
    return run_tool(
        Launch(
            argv=(server.placement.programs.get_path(program), *arguments),
            cwd=Path("/"),
            environment=server.environment,
            death_signal=signal.SIGTERM,
            account=server.placement.account,
        ),
        within_seconds=REWIND_SECONDS,
    )


def _rewind(server: PostgresServer, primary: PostgresServer, superuser_password: str) -> None:
    _finish_recovery(server)
    ensure_slot(primary, slot=server.name)
    password_file = server.data_dir.with_name(f".{server.name}.{secrets.token_hex(4)}")
    try:
        write_private(password_file, f"*:*:*:{SUPERUSER_ROLE}:{superuser_password}\n")
        give(password_file, server.placement.account)
        source = (
            f"host={LOOPBACK} port={primary.port} user={SUPERUSER_ROLE} dbname=postgres "
            f"passfile={password_file} connect_timeout=2"
        )
        target = ("--target-pgdata", str(server.data_dir))
        _run(server, "pg_rewind", *target, "--source-server", source, "--no-sync")
    finally:
        password_file.unlink(missing_ok=True)
    (server.data_dir / "standby.signal").touch()
    give(server.data_dir / "standby.signal", server.placement.account)
