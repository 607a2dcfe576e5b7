"""Settings of the local cluster and of the replay."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from devtools.localcluster.spec import MAX_CONTROL_REPLICAS
from runtime.settings import section, setting
from viewcounter.config import Config
from viewcounter.config.reading import read_process_settings


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Local cluster (bin/up, bin/demo)."""

    shards: int = setting(2, "Number of shards of the local cluster.")
    replicas_per_shard: int = setting(1, "Number of replicas of each shard of the local cluster.", ge=0)
    control_replicas: int = setting(
        0,
        "Number of replicas of the local cluster's control database, which Patroni runs; with 0 it is one server"
        " without Patroni.",
        ge=0,
        le=MAX_CONTROL_REPLICAS,
    )
    movers: int = setting(
        1, "Number of run_mover processes of the local cluster; with 0, moves wait for `manage.py moves resume`.", ge=0
    )
    partitions: int = setting(32, "Number of partitions of the local cluster; its first start fixes it.")
    worker_processes: int = setting(
        1, "Number of Celery pool processes of the local cluster, which carry the periodic work."
    )
    ready_seconds: float = setting(
        90.0, "Time within which each server and process of the local cluster must be ready; then the start fails."
    )
    stop_seconds: float = setting(
        90.0, "Time that the processes of the local cluster have to stop; then bin/down kills them."
    )
    postgres_bin_dir: Path | None = setting(
        None, "Folder of the PostgreSQL programs of the local cluster; unset: those of the installed wheel."
    )
    valkey_server: Path | None = setting(
        None, "Valkey server program of the local cluster; unset: that of the installed wheel."
    )


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """Replay (bin/replay)."""

    seconds: float = setting(900.0, "Maximum duration of a whole replay, retries and waiting included; then it fails.")
    request_seconds: float = setting(10.0, "Maximum duration of one attempt at a request of a replay.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevtoolsConfig(Config):
    """The service's settings and those of the tools."""

    local: LocalSettings = section(LocalSettings)
    replay: ReplaySettings = section(ReplaySettings)


@cache
def get_devtools_config() -> DevtoolsConfig:
    """The settings of this process, read once. Raises InvalidSettings."""
    return read_process_settings(DevtoolsConfig)
