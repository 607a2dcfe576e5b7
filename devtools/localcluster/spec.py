"""Number and names of the members of a local cluster. Pure data."""

from dataclasses import dataclass
from pathlib import Path

CONTROL_SERVER = "control"
LOG_SERVER = "log"
BROKER_SERVER = "broker"
WEB = "web"
WORKER = "worker"
BEAT = "beat"
"""Of several, the first has this name, the others a number behind it."""
CONFIG_SERVICE = "configservice"
"""Prefix: a number follows, since there are several."""
SHARD_PROXY = "shardproxy"
MOVER = "mover"
"""Prefix: a number follows."""

CONTROL_DATABASE = "viewcounter_control"
SHARD_DATABASE = "viewcounter_shard"
SERVICE_ROLE = "viewcounter"
SHARD_PROXY_ROLE = "viewcounter_shardproxy"
CONFIG_SERVICE_ROLE = "viewcounter_configservice"
REPLICATION_ROLE = "replicator"
SUPERUSER_ROLE = "postgres"

STATUS_KEY = "status_key"
"""The secret that holds the API key of `bin/status`."""
TRYOUT_KEY = "tryout_key"
"""The secret that holds the API key that `bin/up` prints."""

MAX_SHARDS = 64
MAX_REPLICAS_PER_SHARD = 8
MAX_CONTROL_REPLICAS = 6


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Sizes of a cluster. `partitions` is fixed by the first start: later ones do not change it."""

    shards: int = 2
    replicas_per_shard: int = 1
    partitions: int = 32
    zone: str = "local"
    web_workers: int = 1
    worker_processes: int = 1
    pull_processes: int = 2
    beats: int = 2
    config_services: int = 2
    """0: no automatic failover; instances are promoted by hand."""
    control_replicas: int = 0
    """0: the control database is one server; otherwise Patroni runs it and this number of replicas."""
    movers: int = 0
    """0: moves are carried out by the commands that plan them only."""
    exchanges_secrets: bool = False
    """Password of the control database, keys of viewers and public keys are in files, which may be replaced."""
    log_memory_bytes: int = 2 * 1024**3
    broker_memory_bytes: int = 256 * 1024**2
    server_ready_seconds: float = 60.0
    application_ready_seconds: float = 60.0
    prepare_seconds: float = 120.0
    command_seconds: float = 60.0
    postgres_bin_dir: Path | None = None
    valkey_server: Path | None = None

    def __post_init__(self) -> None:
        if not (
            1 <= self.shards <= MAX_SHARDS
            and 0 <= self.replicas_per_shard <= MAX_REPLICAS_PER_SHARD
            and 0 <= self.control_replicas <= MAX_CONTROL_REPLICAS
            and self.partitions >= self.shards
        ):
            raise ValueError(
                f"need 1..{MAX_SHARDS} shards, 0..{MAX_REPLICAS_PER_SHARD} replicas a shard, "
                "and a partition for each shard"
            )

    @property
    def shard_names(self) -> tuple[str, ...]:
        return tuple(f"shard{number}" for number in range(1, self.shards + 1))

    @property
    def beat_names(self) -> tuple[str, ...]:
        return (BEAT, *(f"{BEAT}{number}" for number in range(2, self.beats + 1)))

    @property
    def config_service_names(self) -> tuple[str, ...]:
        return tuple(f"{CONFIG_SERVICE}{number}" for number in range(1, self.config_services + 1))

    @property
    def mover_names(self) -> tuple[str, ...]:
        return tuple(f"{MOVER}{number}" for number in range(1, self.movers + 1))

    def get_instance_names(self, shard_name: str) -> tuple[str, ...]:
        """The first one is created as the primary: `shard1a`, then `shard1b`, ..."""
        return tuple(f"{shard_name}{chr(ord('a') + index)}" for index in range(1 + self.replicas_per_shard))
