"""Settings of a config service process, each with its unit. `viewcounter.config` fills them in."""

from dataclasses import dataclass
from enum import StrEnum


class FailoverMode(StrEnum):
    AUTOMATIC = "automatic"
    """A dead primary is replaced without a request."""
    MANUAL = "manual"
    """A primary is replaced on request only; a second primary is still fenced."""
    EXTERNAL = "external"
    """Another manager promotes and rejoins instances; the topology follows it and no server is changed."""


@dataclass(frozen=True, slots=True)
class ConfigServiceSettings:
    """A primary counts as dead if it is silent for `primary_silence_seconds` or refuses two connections, and a witness
    confirms it."""

    failover_mode: FailoverMode = FailoverMode.AUTOMATIC
    tick_seconds: float = 0.25
    probe_interval_seconds: float = 0.5
    probe_seconds: float = 1.0
    reprobe_seconds: float = 0.05
    """Pause before the next probe after a failure: tells a crash from a lost connection."""
    primary_silence_seconds: float = 1.5
    stream_silence_seconds: float = 2.5
    """A standby whose WAL stream has been silent this long confirms that its primary is dead."""
    stream_answer_seconds: float = 1.0
    """A standby requests a reply at half of its `wal_receiver_timeout`; the primary has this long to send it."""
    first_sight_seconds: float = 5.0
    """A primary that has never answered this process is not declared dead before this time."""
    lease_seconds: float = 3.0
    """Lease of the leader: a leader that has not renewed it for this long is replaced, also if it is frozen."""
    lease_call_seconds: float = 1.0
    action_seconds: float = 2.0
    """Timeout of one statement on an instance during a failover."""
    promotion_seconds: float = 30.0
    """A candidate that has not left recovery after this time is given up for another one."""
    silence_patience_seconds: float = 3.0
    """How long a failover waits for a silent instance before it goes on without it."""
    hold_seconds: float = 5.0
    """A switchover holds writes for at most this long; then it is undone."""
    drain_transactions_seconds: float = 0.5
    """How long transactions that are open at the start of a switchover may go on."""
    switchover_max_lag_bytes: int = 16 * 1024 * 1024
    rejoin_max_lag_bytes: int = 16 * 1024 * 1024
    """A fenced or excluded instance becomes a promotable replica once it streams and its lag is at most this."""
    strike_off_seconds: float = 86400.0
    """The event log is kept for an absent replica for at most this long; then the replica is excluded. 0: no limit."""
    standby_loss_seconds: float = 1.5
    """How long commits wait for a silent standby before a shard with `degrade` goes on without it."""
    max_parallel_actions: int = 8
    """Maximum number of shards that are reconciled at the same time."""
    heartbeat_seconds: float = 60.0
    """Interval of the summary in the process's log."""
