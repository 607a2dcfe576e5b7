"""Settings of partition moves."""

from dataclasses import dataclass

from runtime.settings import BIND, setting


@dataclass(frozen=True, slots=True)
class MoveSettings:
    """Partition moves."""

    lease_seconds: float = setting(10.0, "Time after which a move whose mover died is continued by another one.")
    maintenance_hold_seconds: float = setting(
        60.0, "Time for which rollups and retention of a partition wait for a mover that died; then they go on."
    )
    block_bytes: int = setting(4 * 1024 * 1024, "Maximum size of the rows that a move copies in one transaction.")
    max_lag_seconds: float = setting(5.0, "Lag of a replica beyond which a mover pauses until the replica caught up.")
    throttle_seconds: float = setting(
        300.0, "Maximum total pause of a step of a move for lagging replicas; then the step fails."
    )
    copy_seconds: float = setting(
        6 * 3600.0, "Maximum duration of copying, or of comparing, one partition; then the step fails."
    )
    ready_seconds: float = setting(
        1.0, "Estimated time to catch up below which a moving partition is handed over to its new shard."
    )
    hold_seconds: float = setting(
        5.0, "Maximum time for which a moving partition counts nothing while it is handed over; then it counts again."
    )
    release_seconds: float = setting(
        2.0, "Time for which the old shard still answers readers that do not know yet that a partition has moved."
    )
    delete_pages: int = setting(512, "Maximum number of pages of a table that a move clears in one transaction.")
    attempts_max: int = setting(10, "Number of failures of a step in a row after which a move is aborted.")
    retry_max_seconds: float = setting(15.0, "Longest pause between two attempts at a step of a move.")
    poll_seconds: float = setting(0.2, "Interval at which a mover looks for what its move waits for.")
    look_seconds: float = setting(2.0, "Interval at which a mover without a move looks for one.")
    interval_seconds: float = setting(
        10.0, "Interval at which beat looks for partitions whose mover died while handing them over."
    )
    metrics_bind: str = setting(
        "", "host:port at which run_mover serves /metrics and /healthz without a key; empty: not served.", pattern=BIND
    )
    max_items: int = setting(100, "Maximum number of moves in one list, newest first.")
