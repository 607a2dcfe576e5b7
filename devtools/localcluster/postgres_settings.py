"""Content of PostgreSQL's configuration files. Pure."""

from dataclasses import dataclass
from pathlib import Path

from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.spec import REPLICATION_ROLE

PASSFILE_NAME = "pgpass"
"""A file in each data directory. Relative to it, as the server's working directory, so that the folder may be moved."""


RESERVED_CONNECTIONS_SINCE = 16
"""The first PostgreSQL version that can reserve connections for a role."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server from which a replica streams."""

    port: int
    slot: str


def build_parameters(*, name: str, port: int, major: int, has_statement_statistics: bool) -> dict[str, str]:
    """Of one of several small servers on one machine. All other parameters have their defaults."""
    settings = {
        "cluster_name": name,
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": "100",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # memory and disk of a laptop that runs five of these
        "shared_buffers": "128MB",
        "work_mem": "8MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "on",
        "jit": "off",
        # replication: an outage of a replica is bridged by its slot, a pg_rewind by wal_keep_size; the bound
        # keeps a replica that never comes back from filling the disk
        "wal_level": "replica",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "wal_keep_size": "256MB",
        "max_slot_wal_keep_size": "4GB",
        "max_logical_replication_workers": "0",  # nothing subscribes: without it no launcher runs
        "hot_standby": "on",
        "hot_standby_feedback": "on",
        "wal_receiver_status_interval": "5s",
        "wal_retrieve_retry_interval": "500ms",
        # a standby pings a silent primary after half of it, which detects a frozen one
        "wal_receiver_timeout": "3s",
        "wal_sender_timeout": "10s",
        # identifies statements in the records of the session reaper
        "compute_query_id": "on",
        # what an operator wants to find in the log
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "log_min_duration_statement": "500ms",
        "log_lock_waits": "on",
        "track_io_timing": "on",
    }
    if has_statement_statistics:
        settings["shared_preload_libraries"] = "pg_stat_statements"
    if major >= RESERVED_CONNECTIONS_SINCE:
        settings["reserved_connections"] = "3"  # for the shard proxy, when other roles have taken all other connections
    if major >= 18:
        settings["io_method"] = "sync"  # worker processes of five servers would outnumber the cores
    return settings


def build_settings(
    *, name: str, port: int, major: int, has_statement_statistics: bool, upstream: Upstream | None
) -> str:
    """postgresql.conf with these parameters, and those of a replica of `upstream`."""
    settings = build_parameters(name=name, port=port, major=major, has_statement_statistics=has_statement_statistics)
    if upstream is not None:
        settings["primary_conninfo"] = (
            f"host={LOOPBACK} port={upstream.port} user={REPLICATION_ROLE} "
            f"application_name={name} passfile={PASSFILE_NAME} connect_timeout=2"
        )
        settings["primary_slot_name"] = upstream.slot
    return "# Written at each start. ALTER SYSTEM lasts.\n" + "".join(
        f"{key} = {_quote(value)}\n" for key, value in settings.items()
    )


def build_access_rules() -> str:
    """pg_hba.conf: loopback only, with a password only."""
    return (
        f"host all all {LOOPBACK}/32 scram-sha-256\nhost replication {REPLICATION_ROLE} {LOOPBACK}/32 scram-sha-256\n"
    )


def build_password_file(replication_password: str) -> str:
    return f"*:*:*:{REPLICATION_ROLE}:{replication_password}\n"


def build_initdb_options(*, major: int, password_file: Path) -> tuple[str, ...]:
    """The collation never depends on the machine's locale: indexes stay valid when the folder is moved."""
    locale = ("--locale-provider=builtin", "--locale=C.UTF-8") if major >= 17 else ("--no-locale",)
    return (
        "--username=postgres",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        *locale,
        "--data-checksums",
        "--no-sync",
    )


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
