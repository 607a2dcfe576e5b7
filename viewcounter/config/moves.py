"""Settings of partition moves, and bounds of Celery tasks."""

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings

from viewcounter.config.kinds import BIND


class MovesConfig(BaseSettings):
    """Partition moves and Celery tasks."""

    move_lease_seconds: PositiveFloat = Field(10.0, description="a move whose mover died is taken up after this")
    move_maintenance_hold_seconds: PositiveFloat = Field(
        60.0, description="rollups and retention of a partition wait this long for a mover that died"
    )
    move_block_bytes: PositiveInt = Field(4 * 1024 * 1024, description="rows copied in one transaction")
    move_max_lag_seconds: PositiveFloat = Field(5.0, description="a mover pauses while a replica is further behind")
    move_throttle_seconds: PositiveFloat = Field(300.0, description="a step that has paused this long is given up")
    move_copy_seconds: PositiveFloat = Field(6 * 3600.0, description="copying, or comparing, one partition")
    move_ready_seconds: PositiveFloat = Field(1.0, description="a copy that catches up within this is handed over")
    move_hold_seconds: PositiveFloat = Field(5.0, description="a partition counts nothing so long at most; then again")
    move_release_seconds: PositiveFloat = Field(
        2.0, description="after it has moved, the old shard still answers readers that do not know"
    )
    move_delete_pages: PositiveInt = Field(512, description="pages of a table cleared in one transaction")
    move_attempts_max: PositiveInt = Field(10, description="failures of a step in a row; then the move is aborted")
    move_retry_max_seconds: PositiveFloat = Field(15.0, description="longest pause between two attempts at a step")
    move_poll_seconds: PositiveFloat = Field(0.2, description="a mover looks again at what it waits for")
    move_interval_seconds: PositiveFloat = Field(
        2.0, description="beat looks for partitions whose mover died while handing over"
    )
    mover_metrics_bind: str = Field(
        "", pattern=BIND, description="host:port of run_mover's /metrics and /healthz, without a key; empty: nowhere"
    )
    moves_listed: PositiveInt = Field(100, description="moves in one list, newest first")

    task_seconds: PositiveInt = Field(60, description="soft limit of any Celery task; killed 10 s later")
    broker_timeout_seconds: PositiveFloat = 5.0
