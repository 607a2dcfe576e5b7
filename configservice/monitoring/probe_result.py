"""The probe of an instance: one SQL statement, its result, and the failures since. Pure data."""

from dataclasses import dataclass, replace
from typing import Any, Self

DETACHED_HOST = "/detached-by-failover"
"""The `host` in `primary_conninfo` of a detached standby: a socket directory that does not exist. The rest of the
setting (user, passfile, TLS) is kept, so that the standby can be repointed."""

# Timeline: on a standby, of the WAL it receives; on a primary, of the WAL it writes (pg_control lags a promotion).
PROBE = f"""
SELECT pg_is_in_recovery() AS in_recovery,
       current_setting('default_transaction_read_only') = 'on' AS is_read_only,
       (CASE WHEN pg_is_in_recovery()
             THEN coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')
             ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint AS lsn,
       (CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0')
             ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint AS replay_lsn,
       CASE WHEN pg_is_in_recovery() THEN coalesce(receiver.received_tli, (pg_control_checkpoint()).timeline_id)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline,
       receiver.pid IS NOT NULL AS is_receiving,
       receiver.sender_host, receiver.sender_port,
       extract(epoch FROM clock_timestamp() - receiver.last_msg_receipt_time)::float8 AS stream_silence_seconds,
       extract(epoch FROM current_setting('wal_receiver_timeout')::interval)::float8 AS stream_timeout_seconds,
       strpos(coalesce(current_setting('primary_conninfo', true), ''), '{DETACHED_HOST}') > 0 AS is_detached,
       coalesce(current_setting('synchronous_standby_names', true), '') AS synchronous_standby_names,
       ARRAY(SELECT application_name FROM pg_stat_replication WHERE state = 'streaming') AS streaming
FROM (SELECT) AS one_row LEFT JOIN pg_stat_wal_receiver AS receiver ON true
"""  # noqa: S608 - a constant of ours


@dataclass(frozen=True, slots=True)
class InstanceState:
    """One result of PROBE. `lsn`: end of the WAL it has, `replay_lsn`: of the WAL it has applied, in bytes.

    `stream_silence_seconds`: age of the last message on the WAL stream; None without one. After half of
    `stream_timeout_seconds` (0: never) a standby requests a message. `streaming`: `application_name` of its standbys.
    """

    in_recovery: bool
    is_read_only: bool
    lsn: int
    replay_lsn: int
    timeline: int
    is_receiving: bool
    sender_host: str | None
    sender_port: int | None
    stream_silence_seconds: float | None
    stream_timeout_seconds: float
    is_detached: bool
    synchronous_standby_names: str
    streaming: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        return cls(**row | {"streaming": tuple(row["streaming"])})


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Result of the probes of an instance so far. Instants are on the monotonic clock; `answered_at` None: never.

    Failures are counted since the last answer; the first was at `failed_at`. `is_gone`: the last failure was a refused
    or closed connection, which a frozen server does not cause.
    """

    watched_since: float
    state: InstanceState | None = None
    answered_at: float | None = None
    failed_at: float | None = None
    failure_count: int = 0
    is_gone: bool = False
    failure: str = ""

    @property
    def answers(self) -> bool:
        return self.answered_at is not None and self.failure_count == 0

    def record_answer(self, state: InstanceState, *, now: float) -> "ProbeResult":
        return ProbeResult(self.watched_since, state=state, answered_at=now)

    def record_failure(self, failure: str, *, is_gone: bool, now: float) -> "ProbeResult":
        return replace(
            self,
            failed_at=now if self.failed_at is None else self.failed_at,
            failure_count=self.failure_count + 1,
            is_gone=is_gone,
            failure=failure,
        )

    def reset_after_pause(self, *, now: float) -> "ProbeResult":
        """Discards missed probes after this process was paused: silence counts from now."""
        return replace(
            self,
            watched_since=now,
            answered_at=None if self.answered_at is None else now,
            failed_at=None,
            failure_count=0,
        )
