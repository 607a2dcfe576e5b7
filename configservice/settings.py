"""Settings of a config service process, each with its unit."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from configservice.topology.allow_list import check_allow_list
from runtime.settings import BIND, setting


class FailoverMode(StrEnum):
    AUTOMATIC = "automatic"
    """A dead primary is replaced without a request."""
    MANUAL = "manual"
    """A primary is replaced on request only; a second primary is still fenced."""
    EXTERNAL = "external"
    """Another manager promotes and rejoins instances; the topology follows it and no server is changed."""


@dataclass(frozen=True, slots=True)
class ConfigServiceSettings:
    """Config service (run_configservice)."""

    user: str = setting(
        "",
        "Role by which config services connect to instances; it may promote, fence and rejoin them. Empty: the role of"
        " each instance.",
    )
    password_ref: str = setting(
        "",
        "Where the password of the config service's role is: env:NAME or file:/path, below"
        " VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY.",
    )
    signing_key_file: Path | None = setting(
        None, "File of the private key that signs topologies, made by make_signing_key; for config services alone."
    )
    metrics_bind: str = setting(
        "",
        "host:port at which run_configservice serves /metrics and /healthz without a key; empty: not served.",
        pattern=BIND,
    )
    failover_mode: FailoverMode = setting(
        FailoverMode.AUTOMATIC, "Failover mode of shards that state none: automatic, manual or external."
    )
    tick_seconds: float = 0.25
    """Of the loop while an instance does not answer or a shard is being changed."""
    calm_tick_seconds: float = 1.0
    """Of the loop otherwise; the lease is renewed as often. A change of an instance begins a tick at once."""
    look_seconds: float = 1.9
    """Time between two looks at the topology and at requests of operators, while nothing else calls for one."""
    probe_interval_seconds: float = setting(
        1.0,
        "Interval at which the config service probes each instance. A server that dies closes the connection, which is"
        " noticed at once.",
    )
    probe_seconds: float = setting(1.0, "Maximum duration of the config service's probe of an instance.")
    reprobe_seconds: float = 0.05
    """Pause before the next probe after a failure: tells a crash from a lost connection."""
    primary_silence_seconds: float = setting(
        1.5,
        "Silence of a primary after which the config service suspects that it is dead; a failover starts once a witness"
        " agrees.",
    )
    stream_silence_seconds: float = setting(
        2.5, "Silence of the WAL stream from its primary after which a standby testifies that the primary is dead."
    )
    stream_answer_seconds: float = 1.0
    """A standby requests a reply at half of its `wal_receiver_timeout`; the primary has this long to send it."""
    first_sight_seconds: float = 5.0
    """A primary that has never answered this process is not declared dead before this time."""
    lease_seconds: float = setting(
        3.0, "Time after which a leading config service that has not renewed its lease is replaced by another one."
    )
    lease_call_seconds: float = 1.0
    action_seconds: float = setting(2.0, "Maximum duration of one statement on an instance during a failover.")
    promotion_seconds: float = setting(
        30.0, "Time within which a promoted standby must have left recovery; then another candidate is promoted."
    )
    silence_patience_seconds: float = 3.0
    """How long a failover waits for a silent instance before it goes on without it."""
    hold_seconds: float = setting(
        5.0, "Maximum time for which a switchover holds writes of its shard; then the switchover is undone."
    )
    drain_transactions_seconds: float = setting(
        0.5, "Time that transactions under way have to end when a switchover begins; then they are ended."
    )
    switchover_max_lag_bytes: int = setting(
        16 * 1024 * 1024, "Lag beyond which an instance is refused as the target of a switchover."
    )
    rejoin_max_lag_bytes: int = setting(
        16 * 1024 * 1024, "Lag below which a fenced, excluded or added instance that streams becomes a replica."
    )
    max_absence_seconds: float = setting(
        86400.0,
        "Time that the event log is kept for an absent replica; then the replica is excluded. 0: never.",
        ge=0,
    )
    log_keep_share: float = setting(
        0.5,
        "Largest part of the event log's memory, from 0 to 1, that is kept for absent replicas of all shards;"
        " beyond it they are excluded.",
        le=1,
    )
    standby_loss_seconds: float = setting(
        1.5,
        "Silence of a synchronous standby after which commits of a shard whose durability may degrade wait for it no"
        " more.",
    )
    max_parallel_actions: int = 8
    """Maximum number of shards that are reconciled at the same time."""
    heartbeat_seconds: float = 60.0
    """Interval of the summary in the process's log."""
    instance_allow_list: str = setting(
        "",
        "Where instances may be added: NETWORK:PORTS separated by commas, PORTS being a number, a range or *. Empty:"
        " nowhere.",
        parse=check_allow_list,
    )
    instance_answer_seconds: float = setting(
        5.0, "Time within which an instance that is to be added must answer; then it is refused."
    )
