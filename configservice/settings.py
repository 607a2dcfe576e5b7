"""Bounds of a config service process, each with its unit. `viewcounter.config` fills them in."""

from dataclasses import dataclass
from enum import StrEnum


class FailoverMode(StrEnum):
    AUTOMATIC = "automatic"
    """A dead primary is replaced without being asked for."""
    MANUAL = "manual"
    """Only on request; a second primary is still fenced."""
    EXTERNAL = "external"
    """Another manager promotes and rejoins; its roles are followed and nothing on the servers is changed."""


@dataclass(frozen=True, slots=True)
class ConfigServiceSettings:
    """A primary is dead when it is silent for `primary_silence_seconds`, or refuses twice, and a witness agrees."""

    failover_mode: FailoverMode = FailoverMode.AUTOMATIC
    tick_seconds: float = 0.25
    probe_interval_seconds: float = 0.5
    probe_seconds: float = 1.0
    reprobe_seconds: float = 0.05
    """After a failure the next probe follows this soon, so that a crash is told from a lost connection."""
    primary_silence_seconds: float = 1.5
    stream_silence_seconds: float = 2.5
    """A standby whose WAL stream has been silent this long says that its primary is dead."""
    stream_answer_seconds: float = 1.0
    """But never before this has passed since it asked, at half of its `wal_receiver_timeout`, for a sign of life."""
    first_sight_seconds: float = 5.0
    """A primary that this process has never seen alive is not judged before this."""
    lease_seconds: float = 3.0
    """A leader that has not renewed its lease for this long is put out, so that a frozen one does not stay."""
    lease_call_seconds: float = 1.0
    action_seconds: float = 2.0
    """One statement on an instance during a failover."""
    promotion_seconds: float = 30.0
    """A candidate that has not left recovery after this is given up for another one."""
    silence_patience_seconds: float = 3.0
    """An instance a failover needs may be silent this long before it goes on without it."""
    hold_seconds: float = 5.0
    """A switchover holds writes at most this long; then it is undone."""
    drain_transactions_seconds: float = 0.5
    """Transactions under way when a switchover begins may end within this."""
    switchover_max_lag_bytes: int = 16 * 1024 * 1024
    rejoin_max_lag_bytes: int = 16 * 1024 * 1024
    """A fenced or struck-off instance counts again once it streams and is no further behind than this."""
    strike_off_seconds: float = 86400.0
    """A replica that is away this long is struck off: the event log is no longer kept for it. 0: never."""
    standby_loss_seconds: float = 1.5
    """A standby that does not answer us is waited for by commits so long; then a shard that may degrade does."""
    max_parallel_actions: int = 8
    """Shards that are failed over or put in order at the same time."""
    heartbeat_seconds: float = 60.0
    """How often the process says in its log what it sees."""
