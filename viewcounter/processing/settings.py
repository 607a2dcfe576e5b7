"""Settings of drains and pull processes, of the trimming of the log, and of the Celery processes beside them."""

from dataclasses import dataclass

from pydantic import SecretStr

from runtime.backoff import Backoff
from runtime.settings import BIND, section, setting
from viewcounter.storage.settings import DeadLetterLimits


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """One flush: the events counted in one transaction. Keys are distinct (video, type, minute): rows to upsert."""

    max_events: int = setting(40_000, "Number of events from which on a flush reads no further log entries.")
    max_bytes: int = setting(16 * 1024 * 1024, "Size of columns from which on a flush reads no further log entries.")
    max_keys: int = setting(
        20_000, "Number of distinct (video, type, minute) from which on a flush reads no further log entries."
    )
    max_seconds: float = setting(
        1.0, "Reading time after which a flush is written; one that reached the end of the log is written at once."
    )


@dataclass(frozen=True, slots=True)
class PieceLimits:
    """Stored ids of the events of a minute, which lie in pieces."""

    max_pieces: int = setting(
        64, "Number of small pieces of one minute's event ids beyond which a drain merges them into one."
    )
    small_ids: int = setting(4096, "Number of event ids from which on a piece is not small and is never merged.")


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """Drains: counting events from the log into shards."""

    linger_seconds: float = setting(
        0.4,
        "Time between the beginnings of two flushes of a shard while events come; the first one after a pause does not"
        " wait.",
    )
    budget_seconds: float = setting(5.0, "Time after which a drain ends, to be continued by the next one.")
    log_read_entries: int = setting(200, "Maximum number of entries that a drain reads from the event log at once.")
    flush: FlushLimits = section(FlushLimits)
    flush_max_conflicts: int = setting(
        100, "Maximum number of conflicting events that a flush stores; further ones are only counted.", ge=0
    )
    max_queued_batches: int = setting(2, "Maximum number of prepared flushes that wait while one is being written.")
    id_cache_max_bytes: int = setting(
        256 * 1024 * 1024,
        "Maximum memory of a worker process for known event ids, 24 bytes each; beyond it they are read from the shard"
        " again.",
    )
    id_pieces: PieceLimits = section(PieceLimits)
    dead_letters: DeadLetterLimits = section(DeadLetterLimits)


@dataclass(frozen=True, slots=True)
class PullSettings:
    """Pull processes, which drain partitions beside the pool of a Celery worker or alone (run_puller)."""

    processes: int = setting(2, "Number of pull processes that a Celery worker starts; 0: none.", ge=0)
    metrics_bind: str = setting(
        "",
        "host:port at which a pull process that runs alone (run_puller) serves /metrics and /healthz without a key;"
        " empty: not served.",
        pattern=BIND,
    )
    renew_seconds: float = setting(0.7, "Interval at which a pull process renews its lease on each shard.")
    lease_seconds: float = setting(
        2.0, "Time without renewal after which the partitions of a pull process on a shard are taken over."
    )
    ownerless_seconds: float = setting(
        5.0,
        "Time after which a partition without a living owner is claimed by any pull process, because the one that it"
        " belongs to by the shares does not claim it.",
    )
    idle_watermark_seconds: float = setting(
        5.0, "Age from which the watermark of a partition without new events is advanced, unless a reader asks before."
    )
    backoff_first_seconds: float = setting(
        0.2, "Maximum pause of the drains of a shard after its first failure; it doubles with each further failure."
    )
    backoff_max_seconds: float = setting(5.0, "Maximum pause of the drains of a shard however often it has failed.")
    stop_seconds: float = setting(
        8.0, "Time that a pull process that is told to stop has for the flushes in progress; then they are abandoned."
    )

    @property
    def backoff(self) -> Backoff:
        """Of the drains of a shard, by its failures in a row."""
        return Backoff(self.backoff_first_seconds, self.backoff_max_seconds)


@dataclass(frozen=True, slots=True)
class TrimSettings:
    """Trimming of the event log."""

    interval_seconds: float = setting(
        30.0, "Interval at which entries that every promotable copy has applied are deleted from the event log."
    )
    safety_seconds: int = setting(120, "Time for which applied entries stay in the event log.")


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Celery's broker."""

    url: SecretStr = setting(SecretStr("redis://127.0.0.1:6380/0"), "Address of Celery's broker, a Valkey server.")
    timeout_seconds: float = setting(5.0, "Maximum duration of one call to Celery's broker; then it has failed.")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Celery workers."""

    metrics_bind: str = setting(
        "",
        "host:port at which a Celery worker serves /metrics and /healthz without a key; empty: not served.",
        pattern=BIND,
    )
    task_seconds: int = setting(60, "Time after which a Celery task is interrupted; 10 s later its process is killed.")


@dataclass(frozen=True, slots=True)
class BeatSettings:
    """Celery beat."""

    metrics_bind: str = setting(
        "",
        "host:port at which Celery beat serves /metrics and /healthz without a key; empty: not served.",
        pattern=BIND,
    )
    cluster_interval_seconds: float = setting(
        15.0, "Interval at which beat has durability, services and partition moves of the cluster measured for metrics."
    )


@dataclass(frozen=True, slots=True)
class IsolationSettings:
    """Search for the bad events of a flush that a shard refuses."""

    max_seconds: float = setting(
        20.0, "Maximum duration of the search for the bad events of a flush; then the partition stops counting."
    )
    max_trials: int = setting(
        2000,
        "Maximum number of parts of a flush that the search for bad events tries; then the partition stops counting.",
    )
