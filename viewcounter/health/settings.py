"""Settings of readiness and of the service registry."""

from dataclasses import dataclass
from pathlib import Path

from runtime.settings import same_as, setting


@dataclass(frozen=True, slots=True)
class ReadinessSettings:
    """Readiness (/readyz)."""

    probe_seconds: float = setting(
        1.0, "Maximum duration of the probe of one part of the cluster; the result is reused for as long."
    )
    keep_seconds: float = same_as("readiness", "probe_seconds", default=1.0)
    max_lag_seconds: float = same_as("cluster", "replica_max_lag_seconds", default=10.0)
    log_full_share: float = same_as("log", "full_share", default=0.9)
    spool_dir: Path | None = same_as("spool", "dir", default=None)
    spool_max_bytes: int = same_as("spool", "max_bytes", default=1024**3)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Service registry."""

    heartbeat_seconds: float = setting(5.0, "Interval at which each process reports to the service registry.")
    lost_seconds: float = setting(15.0, "Silence of a process after which the service registry shows it as lost.")
    forget_seconds: float = setting(600.0, "Silence of a process after which the service registry removes it.")
