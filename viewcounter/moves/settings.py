"""Bounds of a mover."""

from dataclasses import dataclass
from typing import Self

from viewcounter.config import Config


@dataclass(frozen=True, slots=True)
class MoveSettings:
    """Described with their settings, `VIEWCOUNTER_MOVE_*`."""

    lease_seconds: float
    maintenance_hold_seconds: float
    block_bytes: int
    max_lag_seconds: float
    throttle_seconds: float
    copy_seconds: float
    ready_seconds: float
    hold_seconds: float
    release_seconds: float
    delete_pages: int
    attempts_max: int
    retry_max_seconds: float
    poll_seconds: float

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(
            lease_seconds=config.move_lease_seconds,
            maintenance_hold_seconds=config.move_maintenance_hold_seconds,
            block_bytes=config.move_block_bytes,
            max_lag_seconds=config.move_max_lag_seconds,
            throttle_seconds=config.move_throttle_seconds,
            copy_seconds=config.move_copy_seconds,
            ready_seconds=config.move_ready_seconds,
            hold_seconds=config.move_hold_seconds,
            release_seconds=config.move_release_seconds,
            delete_pages=config.move_delete_pages,
            attempts_max=config.move_attempts_max,
            retry_max_seconds=config.move_retry_max_seconds,
            poll_seconds=config.move_poll_seconds,
        )
